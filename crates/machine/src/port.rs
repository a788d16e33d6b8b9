//! The ways to a machine's agent and to its network card, as often as the connection is lost.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

use crate::{
    SocketFolder,
    machine::{AGENT, NETWORK},
};

/// Makes connections to one machine's agent, also for who does not hold the machine.
#[derive(Clone, Debug)]
pub struct AgentPort(SocketFolder);

impl AgentPort {
    pub(crate) fn new(sockets: SocketFolder) -> Self {
        Self(sockets)
    }

    /// Of the machine whose folder this is, whichever that will be.
    pub fn of_folder(folder: &Path) -> io::Result<Self> {
        SocketFolder::open(folder).map(Self)
    }

    pub(crate) fn folder(&self) -> io::Result<PathBuf> {
        self.0.path()
    }

    /// One connection is served at a time: the next one when the one before is closed.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        self.0.connect(AGENT).await
    }
}

/// Makes connections to one machine's network card.
#[derive(Clone, Debug)]
pub struct NetworkPort(SocketFolder);

/// More than this in one message is cut off by QEMU, which reads no more at once.
pub const NETWORK_MESSAGE_MAX: usize = 69_632;

impl NetworkPort {
    pub(crate) fn new(sockets: SocketFolder) -> Self {
        Self(sockets)
    }

    /// A new connection, not blocking: a `SOCK_SEQPACKET`. One is served at a time: the next one
    /// when the one before is closed.
    ///
    /// Each message from the guest is one Ethernet frame of at most 14 + [`crate::MTU`] bytes after
    /// its length, four bytes, big-endian. Messages to the guest are of the same form; one may hold
    /// several frames, but no more than [`NETWORK_MESSAGE_MAX`] bytes.
    ///
    /// It is no stream since QEMU does not get over one that ends in the middle of a frame: it sends
    /// the next peer the rest of it, or nothing at all any more. So it is nothing for tokio's
    /// `UnixStream` either, which takes a read that does not fill its buffer for the last one.
    ///
    /// Whoever connects goes on reading whatever happens: QEMU waits for it, and all of the machine
    /// with it, the control socket and the agent's port included.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        self.0.connect_for_packets(NETWORK)
    }
}
