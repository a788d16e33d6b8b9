//! The way to a machine's agent, as often as the connection is lost.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use tokio::net::UnixStream;

use crate::{machine::AGENT, sys};

/// Makes connections to one machine's agent, also for who does not hold the machine.
#[derive(Clone, Debug)]
pub struct AgentPort {
    /// The machine's folder, opened, so that its socket has a short name.
    dir: Arc<OwnedFd>,
}

impl AgentPort {
    pub(crate) fn new(dir: OwnedFd) -> Self {
        Self { dir: Arc::new(dir) }
    }

    /// One connection is served at a time: the next one when the one before is closed.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(sys::proc_path(self.dir.as_fd(), AGENT)).await
    }
}
