//! Signals that ask us to end.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// Interrupt, terminate and hang-up, from now on ours to handle.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    /// The number of the next one. Nothing is lost when this is dropped half-way.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT.as_raw(),
            _ = self.terminate.recv() => Signal::TERM.as_raw(),
            _ = self.hang_up.recv() => Signal::HUP.as_raw(),
        }
    }

    /// Resolves when somebody asks again: a window that closes hangs up more than once.
    pub(crate) async fn insisted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
