//! What is heard of a session's machine.

use machine::{Machine, MachineId};
use tokio::sync::{broadcast, watch};

use super::{EndReason, ending};

/// Of the machine that the session has, whichever that is.
#[derive(Debug, Default)]
pub(super) struct Watched {
    machine: Option<MachineId>,
    events: Option<broadcast::Receiver<machine::Event>>,
    exited: Option<watch::Receiver<Option<machine::Exit>>>,
}

impl Watched {
    pub(super) fn follow(&mut self, machine: Option<&Machine>) {
        if self.machine != machine.map(Machine::id) {
            self.machine = machine.map(Machine::id);
            self.events = machine.map(Machine::events);
            self.exited = machine.map(Machine::exited);
        }
    }
}

/// Waits until the machine is of no more use.
pub(super) async fn gone(machine: Option<&Machine>, watched: &mut Watched) -> EndReason {
    let Watched { events: Some(events), exited: Some(exited), .. } = watched else {
        return std::future::pending().await;
    };
    let Some(machine) = machine else { return std::future::pending().await };
    loop {
        let event = tokio::select! {
            // What the machine said of its end comes before the end itself.
            biased;
            event = events.recv() => Some(event),
            _ = exited.wait_for(Option::is_some) => None,
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
    let exit = exited.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
    tracing::info!(?exit, "the machine's process has ended");
    ending::end_of_process(machine)
}
