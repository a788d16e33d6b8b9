//! Saying nothing on the connection, and hearing nothing, for a moment.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    Agent, AgentError,
    ask::Ask,
    in_time,
    session::{Session, Status},
};

/// The connection is still until this is dropped.
#[derive(Debug)]
pub struct Quiet(
    #[expect(dead_code, reason = "its drop is what is waited for")] oneshot::Sender<()>,
);

/// What the task is told.
#[derive(Debug)]
pub(super) struct BeQuiet {
    pub(super) begun: oneshot::Sender<()>,
    /// Ends when the other end is dropped.
    pub(super) over: oneshot::Receiver<()>,
}

impl Agent {
    /// Has nothing said to the agent, nor taken from it, once this returns. What is asked waits.
    pub async fn quiet(&self, within: Duration) -> Result<Quiet, AgentError> {
        let (begun, has_begun) = oneshot::channel();
        let (held, over) = oneshot::channel();
        in_time(within, async {
            self.send(Ask::Quiet(BeQuiet { begun, over })).await?;
            has_begun.await.map_err(|_gone| self.over())
        })
        .await?;
        Ok(Quiet(held))
    }
}

impl Session {
    /// Takes in what is asked, after the quiet if that is what is asked.
    pub(super) async fn hear(&mut self, ask: Ask) -> Result<(), Status> {
        let Ask::Quiet(BeQuiet { begun, over }) = ask else {
            self.on_ask(ask);
            return Ok(());
        };
        if begun.send(()).is_err() {
            return Ok(());
        }
        tokio::select! {
            _dropped = over => Ok(()),
            () = self.ends.close.cancelled() => Err(Status::Gone),
        }
    }
}
