//! What connections use of the gateway's memory, and how much the next one may.

use std::{cell::Cell, rc::Rc};

use super::LIMITS;

/// What connections use, those included that are over and still held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub connections: usize,
    /// Of buffers, as they would be if all were full.
    pub bytes: usize,
}

/// The account of all connections.
#[derive(Debug, Default)]
pub(super) struct Shares {
    taken: Cell<Taken>,
}

/// What one connection uses; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    /// Of the buffer of what is sent to the guest,
    pub(super) sent_bytes: usize,
    /// and of what has come from it.
    pub(super) received_bytes: usize,
    shares: Rc<Shares>,
}

impl Shares {
    pub(super) fn taken(&self) -> Taken {
        self.taken.get()
    }

    /// The next connection's: a part of what is left, so that a few are fast and many are possible.
    pub(super) fn take(self: &Rc<Self>) -> Share {
        let Taken { connections, bytes } = self.taken.get();
        let left = LIMITS.buffer_bytes.saturating_sub(bytes) / LIMITS.buffer_part;
        let each = 1 << left.clamp(LIMITS.buffer_bytes_min, LIMITS.buffer_bytes_max).ilog2();
        let share = Share {
            sent_bytes: each,
            received_bytes: each.min(LIMITS.received_bytes_max),
            shares: Rc::clone(self),
        };
        self.taken.set(Taken { connections: connections + 1, bytes: bytes + share.bytes() });
        share
    }
}

impl Share {
    fn bytes(&self) -> usize {
        self.sent_bytes + self.received_bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Taken { connections, bytes } = self.shares.taken.get();
        let left = Taken { connections: connections - 1, bytes: bytes - self.bytes() };
        self.shares.taken.set(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_get_much_and_many_get_the_least() {
        let shares = Rc::new(Shares::default());
        let taken: Vec<_> = (0..LIMITS.connections).map(|_| shares.take()).collect();
        assert_eq!(taken[0].sent_bytes, LIMITS.buffer_bytes_max);
        assert_eq!(taken[1].sent_bytes, LIMITS.buffer_bytes_max / 2);
        assert_eq!(taken[47].sent_bytes, LIMITS.buffer_bytes_max / 8);
        assert_eq!(taken[511].sent_bytes, LIMITS.buffer_bytes_min);
        assert!(taken.is_sorted_by(|one, next| next.bytes() <= one.bytes()));
        let bytes: usize = taken.iter().map(Share::bytes).sum();
        assert_eq!(shares.taken(), Taken { connections: LIMITS.connections, bytes });
        assert!(bytes < LIMITS.buffer_bytes + (28 << 20), "{bytes}");
        drop(taken);
        assert_eq!(shares.taken(), Taken::default());
        assert_eq!(shares.take().sent_bytes, LIMITS.buffer_bytes_max);
    }
}
