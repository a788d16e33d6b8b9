//! The ways to a machine's agent and to its network card, as often as the connection is lost.

use std::io;

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

    /// One connection is served at a time: the next one when the one before is closed.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        self.0.connect(AGENT).await
    }
}

/// Makes connections to one machine's network card.
#[derive(Clone, Debug)]
pub struct NetworkPort(SocketFolder);

/// More than this in one write is cut off by QEMU, which reads no more at once.
pub const NETWORK_WRITE_MAX: usize = 69_632;

impl NetworkPort {
    pub(crate) fn new(sockets: SocketFolder) -> Self {
        Self(sockets)
    }

    /// One connection is served at a time: the next one when the one before is closed.
    ///
    /// Each Ethernet frame comes after its length, four bytes, big-endian; both are one message of
    /// a `SOCK_SEQPACKET`, so each read is one frame of at most 4 + 14 + [`crate::MTU`] bytes, and
    /// must have room for it. A write may hold more than one frame, or a part of one, but no more
    /// than [`NETWORK_WRITE_MAX`] bytes.
    ///
    /// It is not a stream since QEMU does not get over one that is cut in the middle of a frame: it
    /// would send the rest to the next peer, or nothing at all any more.
    ///
    /// Whoever connects goes on reading whatever happens: QEMU waits for it, and all of the machine
    /// with it, the control socket and the agent's port included.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        self.0.connect_for_packets(NETWORK)
    }
}
