//! What is heard of a session's machine.

use machine::{Machine, MachineId};
use tokio::sync::broadcast;

use super::{EndReason, NotRunning, ending};

/// Of the machine that the session has, whichever that is.
#[derive(Debug, Default)]
pub(super) struct Watched {
    machine: Option<MachineId>,
    events: Option<broadcast::Receiver<machine::Event>>,
    /// Why it is of no more use, once that is heard.
    gone: Option<EndReason>,
}

impl Watched {
    pub(super) fn follow(&mut self, machine: Option<&Machine>) {
        if self.machine != machine.map(Machine::id) {
            self.machine = machine.map(Machine::id);
            self.events = machine.map(Machine::events);
            self.gone = None;
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Waits until the machine is of no more use; once it is, it stays so.
    pub(super) async fn gone(&mut self, machine: Option<&Machine>) -> EndReason {
        if let Some(reason) = self.gone {
            return reason;
        }
        let (Some(machine), Some(events)) = (machine, &mut self.events) else {
            return std::future::pending().await;
        };
        let reason = end(machine, events).await;
        self.gone = Some(reason);
        reason
    }

    /// Something that the guest has a part in, which does not come to its end without its machine.
    pub(super) async fn unless_gone<T>(
        &mut self,
        machine: &Machine,
        done: impl Future<Output = T>,
    ) -> Result<T, NotRunning> {
        tokio::select! {
            done = done => Ok(done),
            reason = self.gone(Some(machine)) => Err(NotRunning::Stopped(reason)),
        }
    }
}

async fn end(machine: &Machine, events: &mut broadcast::Receiver<machine::Event>) -> EndReason {
    let process = machine.process();
    loop {
        let event = tokio::select! {
            // What the machine said of its end comes before the end itself.
            biased;
            event = events.recv() => Some(event),
            _ = process.exited() => None,
        };
        match event {
            Some(Ok(event)) => {
                if let Some(reason) = ending::session_end_of(machine, &event) {
                    return reason;
                }
            }
            Some(Err(broadcast::error::RecvError::Lagged(_))) => {}
            Some(Err(broadcast::error::RecvError::Closed)) | None => break,
        }
    }
    let exit = process.exited().await;
    tracing::info!(?exit, "the machine's process has ended");
    ending::end_of_process(machine)
}
