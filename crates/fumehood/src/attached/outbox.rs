//! What is on its way to a command: stdin that is not acknowledged yet, and words of ours.

use std::cell::RefCell;
use std::collections::VecDeque;

use api::attach::{ClientMessage, STDIN_WINDOW_BYTES};
use bytes::{Buf, Bytes};
use tokio::sync::Notify;

/// Outlives connections: what one lost, the next sends again.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    inner: RefCell<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    controls: VecDeque<ClientMessage>,
    /// Stdin from `acked` on.
    pieces: VecDeque<Bytes>,
    acked: u64,
    /// How much of stdin this connection has been given.
    sent: u64,
    read: u64,
    end: End,
}

/// The end of stdin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    NotReached,
    Reached,
    Sent,
}

impl Outbox {
    /// Puts a word in; it goes before any stdin that waits.
    pub(crate) fn control(&self, message: ClientMessage) {
        self.inner.borrow_mut().controls.push_back(message);
        self.changed.notify_one();
    }

    /// Puts the next piece of stdin in.
    pub(crate) fn push(&self, piece: Bytes) {
        let mut inner = self.inner.borrow_mut();
        inner.read += length(&piece);
        inner.pieces.push_back(piece);
        drop(inner);
        self.changed.notify_one();
    }

    /// Stdin has ended.
    pub(crate) fn end(&self) {
        self.inner.borrow_mut().end = End::Reached;
        self.changed.notify_one();
    }

    /// Whether more of stdin may be read.
    pub(crate) fn has_room(&self) -> bool {
        let inner = self.inner.borrow();
        let kept = usize::try_from(inner.read - inner.acked).unwrap_or(usize::MAX);
        inner.end == End::NotReached && kept < STDIN_WINDOW_BYTES
    }

    /// The command has stdin up to here. A server that says more than it was sent is not believed.
    pub(crate) fn acknowledge(&self, offset: u64) {
        let mut inner = self.inner.borrow_mut();
        let mut rest = offset.min(inner.sent).saturating_sub(inner.acked);
        inner.acked += rest;
        while rest > 0 {
            let Some(piece) = inner.pieces.front_mut() else { break };
            let part = rest.min(length(piece));
            piece.advance(usize::try_from(part).expect("no longer than the piece"));
            rest -= part;
            if piece.is_empty() {
                inner.pieces.pop_front();
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// A new connection: everything that is not acknowledged is to be sent, from this offset on.
    pub(crate) fn rewind(&self) -> u64 {
        let mut inner = self.inner.borrow_mut();
        inner.sent = inner.acked;
        if inner.end == End::Sent {
            inner.end = End::Reached;
        }
        inner.acked
    }

    /// The next word; it stays until [`Outbox::control_sent`].
    pub(crate) fn next_control(&self) -> Option<ClientMessage> {
        self.inner.borrow().controls.front().cloned()
    }

    pub(crate) fn control_sent(&self) {
        self.inner.borrow_mut().controls.pop_front();
    }

    /// The next of stdin to be sent, taken for sent from here on.
    pub(crate) fn next_stdin(&self) -> Option<Stdin> {
        let mut inner = self.inner.borrow_mut();
        let mut at = inner.acked;
        for piece in &inner.pieces {
            let end = at + length(piece);
            if end > inner.sent {
                let mut unsent = piece.clone();
                unsent.advance(usize::try_from(inner.sent - at).expect("inside the piece"));
                inner.sent = end;
                return Some(Stdin::Data(unsent));
            }
            at = end;
        }
        if inner.end == End::Reached {
            inner.end = End::Sent;
            return Some(Stdin::End);
        }
        None
    }

    /// Something may have come in since it was last asked.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A piece of stdin, or its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    Data(Bytes),
    End,
}

fn length(piece: &Bytes) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(outbox: &Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Stdin::Data(piece)) = outbox.next_stdin() {
            all.extend_from_slice(&piece);
        }
        all
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_and_nothing_else() {
        let outbox = Outbox::default();
        for piece in ["abc", "def", "ghi"] {
            outbox.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(sent(&outbox), b"abcdefghi");
        assert_eq!(sent(&outbox), b"");
        outbox.acknowledge(4);
        outbox.acknowledge(2);
        assert_eq!(outbox.rewind(), 4);
        outbox.push(Bytes::from_static(b"jkl"));
        assert_eq!(sent(&outbox), b"efghijkl");
        outbox.acknowledge(12);
        assert_eq!(outbox.rewind(), 12);
        assert_eq!(sent(&outbox), b"");
    }

    #[test]
    fn the_end_comes_after_the_data_and_again_after_a_lost_connection() {
        let outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"a"));
        outbox.end();
        assert_eq!(outbox.next_stdin(), Some(Stdin::Data(Bytes::from_static(b"a"))));
        assert_eq!(outbox.next_stdin(), Some(Stdin::End));
        assert_eq!(outbox.next_stdin(), None);
        outbox.acknowledge(1);
        outbox.rewind();
        assert_eq!(outbox.next_stdin(), Some(Stdin::End));
    }

    #[test]
    fn a_server_cannot_acknowledge_what_it_was_not_sent() {
        let outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"abc"));
        outbox.acknowledge(u64::MAX);
        assert_eq!(sent(&outbox), b"abc");
        outbox.acknowledge(u64::MAX);
        outbox.push(Bytes::from_static(b"d"));
        assert_eq!(sent(&outbox), b"d");
    }

    #[test]
    fn a_server_that_takes_nothing_stops_the_reading() {
        let outbox = Outbox::default();
        let piece = Bytes::from(vec![0; STDIN_WINDOW_BYTES / 2]);
        outbox.push(piece.clone());
        assert!(outbox.has_room());
        outbox.push(piece);
        assert!(!outbox.has_room());
        sent(&outbox);
        assert!(!outbox.has_room());
        outbox.acknowledge(1);
        assert!(outbox.has_room());
        outbox.end();
        assert!(!outbox.has_room());
    }
}
