//! The way to a machine's agent, as often as the connection is lost.

use std::io;

use tokio::net::UnixStream;

use crate::{SocketFolder, machine::AGENT};

/// Makes connections to one machine's agent, also for who does not hold the machine.
#[derive(Clone, Debug)]
pub struct AgentPort(SocketFolder);

impl AgentPort {
    pub(crate) fn new(sockets: SocketFolder) -> Self {
        Self(sockets)
    }

    /// One connection is served at a time: the next one when the one before is closed.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        self.0.connect(AGENT).await
    }
}
