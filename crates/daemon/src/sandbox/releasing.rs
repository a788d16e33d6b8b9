//! The end of a session: what it held is given back.

use std::time::Duration;

use super::{
    Owner, drives,
    prepare::{machine_folder, remove_if_there},
    state::State,
};
use crate::{clock, failpoint, store::Phase};

/// A machine that does not answer is not waited for.
const CONSOLE_DEADLINE: Duration = Duration::from_millis(500);

impl Owner {
    pub(super) async fn release(&mut self) {
        if let State::Stopping { reason } = self.state {
            self.session.reason = Some(reason);
        }
        self.session.phase = Phase::Stopping;
        self.session.stop_requested_at.get_or_insert_with(clock::now_ms);
        self.save_at = None;
        self.record().await;
        failpoint::pass("stop-recorded");
        self.end_machine().await;
        if let Err(error) = self.context.drives.detach(&self.session.id).await {
            tracing::error!(error = crate::causes(&error), "drives are kept until the next start");
        }
        let folder = machine_folder(&self.context, &self.session.id);
        self.commands.keep_console(&folder.join("console.log")).await;
        if let Err(error) = remove_if_there(&folder).await {
            tracing::error!(%error, path = %folder.display(), "a folder was left behind");
        }
        if let Err(error) = self.memory_place().forget() {
            tracing::error!(%error, "a saved memory was left behind");
        }
        failpoint::pass("released");
    }

    /// Kills the machine, and ends what belongs to it; done already it is done.
    pub(super) async fn end_machine(&mut self) {
        self.fetch_console().await;
        let agent = self.agent.send_replace(None);
        // A guest whose disk is kept has written everything, and stands still.
        if let Some(agent) = agent.as_ref().filter(|_| self.session.phase == Phase::Stopping)
            && self.context.drives.has_writer(&self.session.id)
        {
            self.watched.follow(self.machine.as_ref());
            if let Some(machine) = &self.machine {
                // Without its machine there is nothing more to be written.
                drop(self.watched.unless_gone(machine, drives::flush(agent)).await);
            }
        }
        self.end_processes().await;
        if let Some(agent) = agent {
            agent.close().await;
        }
        failpoint::pass("machine-killed");
    }

    /// Those of the machine and of its gateway, once what they have used is read.
    pub(super) async fn end_processes(&mut self) {
        self.meter.read_ms();
        let machine = self.machine.take();
        let killed = async {
            if let Some(machine) = machine {
                machine.kill().await;
            }
        };
        // The gateway sees its machine go and writes what is left to be told.
        tokio::join!(killed, self.end_gateway());
    }

    pub(super) async fn close(&mut self) {
        self.session.phase = Phase::Stopped;
        self.session.stopped_at = Some(clock::now_ms());
        self.record().await;
        self.context.snapshots.leave(&self.session.id);
    }

    pub(super) async fn fetch_console(&self) {
        let Some(machine) = &self.machine else { return };
        match tokio::time::timeout(CONSOLE_DEADLINE, machine.fetch_console()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the console was not fetched"),
            Err(_elapsed) => tracing::debug!("the console was not fetched in time"),
        }
    }
}
