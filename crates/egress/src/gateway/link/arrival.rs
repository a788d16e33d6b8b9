//! A connection that the guest asks for, and that nobody has decided about yet.

use std::{net::SocketAddr, rc::Rc};

use super::{Flow, connection::Ends, hub::Hub};

/// The guest waits for an answer until this is accepted, refused or dropped; that may take as long
/// as it takes to reach somebody.
#[derive(Debug)]
pub struct Arrival {
    hub: Rc<Hub>,
    ends: Ends,
    number: u64,
    decided: bool,
}

/// The guest has given up, or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest does not wait for the connection any more")]
pub struct Gone;

impl Arrival {
    pub(super) fn new(hub: Rc<Hub>, ends: Ends, number: u64) -> Self {
        Self { hub, ends, number, decided: false }
    }

    /// Where the guest wants to go.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        self.ends.to
    }

    /// The port of the guest's end.
    #[must_use]
    pub fn guest_port(&self) -> u16 {
        self.ends.guest_port
    }

    /// Whether the guest has given up.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.hub.is_waiting(self.ends, self.number)
    }

    /// Tells the guest that it is connected.
    pub fn accept(mut self) -> Result<Flow, Gone> {
        self.decided = true;
        let connection = self.hub.accept(self.ends, self.number).ok_or(Gone)?;
        Ok(Flow::new(Rc::clone(&self.hub), connection))
    }

    /// Tells the guest that nobody is there. Dropping does the same.
    pub fn refuse(self) {}

    /// It has not been told of.
    pub(super) fn forget(mut self) {
        self.decided = true;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.decided {
            self.hub.refuse(self.ends, self.number);
        }
    }
}
