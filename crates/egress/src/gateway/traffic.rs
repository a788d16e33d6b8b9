//! How many bytes have passed since the gateway started.

use std::{cell::Cell, rc::Rc};

/// Counts of all connections together; clones count the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Traffic {
    /// Bytes from the guest.
    pub(crate) fn add_sent(&self, bytes: u64) {
        self.0.sent.set(self.0.sent.get().saturating_add(bytes));
    }

    /// Bytes to the guest.
    pub(crate) fn add_received(&self, bytes: u64) {
        self.0.received.set(self.0.received.get().saturating_add(bytes));
    }

    /// Sent and received.
    pub(crate) fn now(&self) -> (u64, u64) {
        (self.0.sent.get(), self.0.received.get())
    }
}
