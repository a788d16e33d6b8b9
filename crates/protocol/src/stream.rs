//! Reliable streams: bytes numbered from zero, kept by the sender until acknowledged, sent again in
//! a new epoch, and never more under way than the receiver has room for.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::{Ack, Data, StreamId};

/// How many bytes a stream may have under way: what a new stream may send before the first
/// acknowledgement, and the most that its sender must keep.
pub const WINDOW: u64 = 256 << 10;

/// Longest run of bytes in one frame, so that no stream waits long behind another. A guest's write
/// to its port takes 32 KiB at a time.
pub const CHUNK_MAX: usize = (32 << 10) - crate::HEADER_LEN;

/// What the peer may not do. The stream is reset; everything else goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("bytes are missing before the ones received")]
    Gap,
    #[error("more bytes were sent than there was room for")]
    Flood,
    #[error("bytes were sent after the end")]
    AfterEnd,
    #[error("bytes were acknowledged that were never sent")]
    AckOfUnsent,
}

/// The sending end of a stream.
#[derive(Debug)]
pub struct Outbox {
    stream: StreamId,
    /// What is not acknowledged, from offset `acked` on. In one piece: a program that writes byte
    /// by byte costs no more than another.
    kept: BytesMut,
    acked: u64,
    sent: u64,
    written: u64,
    limit: u64,
    end: End,
    /// In a new epoch nothing is sent until the receiver has said where it stands.
    waiting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Open,
    Ended,
    Sent,
    Acked,
}

impl Outbox {
    pub fn new(stream: StreamId) -> Self {
        Self {
            stream,
            kept: BytesMut::new(),
            acked: 0,
            sent: 0,
            written: 0,
            limit: WINDOW,
            end: End::Open,
            waiting: false,
        }
    }

    /// A stream of an earlier process, whose receiver has everything before `offset`.
    pub fn resume(stream: StreamId, offset: u64) -> Self {
        let limit = offset.saturating_add(WINDOW);
        Self { acked: offset, sent: offset, written: offset, limit, ..Self::new(stream) }
    }

    /// How many bytes may be pushed now.
    pub fn room(&self) -> usize {
        if self.end > End::Open {
            return 0;
        }
        usize::try_from(WINDOW.saturating_sub(self.written - self.acked)).unwrap_or(0)
    }

    /// Appends bytes; the caller keeps to [`Outbox::room`]. After [`Outbox::end`] they are dropped.
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) {
        if self.end == End::Open {
            self.written += bytes.as_ref().len() as u64;
            self.kept.extend_from_slice(bytes.as_ref());
        }
    }

    /// No more bytes follow.
    pub fn end(&mut self) {
        self.end = self.end.max(End::Ended);
    }

    /// Everything before this is with the receiver.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Offset of what is pushed next.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether the receiver has all of it.
    pub fn is_done(&self) -> bool {
        self.end == End::Acked
    }

    /// Whether [`Outbox::next_data`] has something to send.
    pub fn is_ready(&self) -> bool {
        !self.waiting
            && (self.sent < self.written.min(self.limit)
                || (self.end == End::Ended && self.sent == self.written))
    }

    /// The next frame to send, at most [`CHUNK_MAX`] bytes.
    pub fn next_data(&mut self) -> Option<Data> {
        if !self.is_ready() {
            return None;
        }
        let room = self.limit.saturating_sub(self.sent).min(CHUNK_MAX as u64);
        let room = usize::try_from(room).unwrap_or(CHUNK_MAX);
        let bytes = self.unsent(room);
        let offset = self.sent;
        self.sent += bytes.len() as u64;
        let last = self.end == End::Ended && self.sent == self.written;
        if last {
            self.end = End::Sent;
        }
        Some(Data { stream: self.stream, offset, bytes, last })
    }

    /// What the receiver says it has and has room for.
    pub fn on_ack(&mut self, ack: &Ack) -> Result<(), Violation> {
        if self.written < ack.offset || (ack.last && self.end < End::Ended) {
            return Err(Violation::AckOfUnsent);
        }
        self.drop_until(ack.offset);
        self.limit = self.limit.max(ack.limit);
        // Behind a new epoch: what was sent and not received is sent again.
        if self.waiting {
            self.waiting = false;
            self.limit = ack.limit;
            self.sent = self.acked;
        }
        self.sent = self.sent.max(self.acked);
        if ack.last {
            self.end = End::Acked;
        }
        Ok(())
    }

    /// A new epoch: wait until the receiver says where it stands.
    pub fn on_epoch(&mut self) {
        if self.end != End::Acked {
            self.waiting = true;
            self.sent = self.acked;
            self.end = self.end.min(End::Ended);
        }
    }

    fn unsent(&self, room: usize) -> Bytes {
        let skip = usize::try_from(self.sent - self.acked).unwrap_or(usize::MAX);
        let unsent = self.kept.get(skip..).unwrap_or_default();
        Bytes::copy_from_slice(&unsent[..unsent.len().min(room)])
    }

    fn drop_until(&mut self, offset: u64) {
        let drop = usize::try_from(offset.saturating_sub(self.acked)).unwrap_or(usize::MAX);
        let drop = drop.min(self.kept.len());
        self.kept.advance(drop);
        self.acked += drop as u64;
        if self.kept.is_empty() {
            // An idle stream holds no memory.
            self.kept = BytesMut::new();
        }
    }
}

/// The receiving end of a stream.
#[derive(Debug)]
pub struct Inbox {
    stream: StreamId,
    received: u64,
    handled: u64,
    /// The limit that was last told to the sender.
    told: u64,
    end: InboxEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum InboxEnd {
    Open,
    Ended,
    Handled,
    Told,
}

impl Inbox {
    pub fn new(stream: StreamId) -> Self {
        Self::resume(stream, 0)
    }

    /// A stream of which all before `offset` was handled by an earlier process.
    pub fn resume(stream: StreamId, offset: u64) -> Self {
        Self {
            stream,
            received: offset,
            handled: offset,
            told: offset + WINDOW,
            end: InboxEnd::Open,
        }
    }

    /// Takes a frame in and returns what of it is new.
    pub fn on_data(&mut self, data: &Data) -> Result<Bytes, Violation> {
        if self.received < data.offset {
            return Err(Violation::Gap);
        }
        let end = data.offset.saturating_add(data.bytes.len() as u64);
        if self.told < end {
            return Err(Violation::Flood);
        }
        if self.is_ended() && self.received < end {
            return Err(Violation::AfterEnd);
        }
        let known = usize::try_from(self.received - data.offset).unwrap_or(usize::MAX);
        let fresh = data.bytes.slice(known.min(data.bytes.len())..);
        self.received += fresh.len() as u64;
        if data.last && end == self.received {
            self.end = self.end.max(InboxEnd::Ended);
        }
        Ok(fresh)
    }

    /// The first `count` of the bytes received and not yet handled need not be kept by the sender.
    pub fn handle(&mut self, count: usize) {
        self.handled = (self.handled + count as u64).min(self.received);
    }

    /// Whether the end has come and all before it is received.
    pub fn is_ended(&self) -> bool {
        self.end > InboxEnd::Open
    }

    /// How many bytes were handled.
    pub fn handled(&self) -> u64 {
        self.handled
    }

    /// The receiver is through with the stream, its end included.
    pub fn handle_end(&mut self) {
        if self.end == InboxEnd::Ended && self.handled == self.received {
            self.end = InboxEnd::Handled;
        }
    }

    /// An acknowledgement, once there is enough to say.
    pub fn due_ack(&mut self) -> Option<Ack> {
        let due = self.told < self.handled + WINDOW * 3 / 4 || self.end == InboxEnd::Handled;
        due.then(|| self.ack())
    }

    /// Where the receiver stands: sent for every open stream when an epoch begins.
    pub fn ack(&mut self) -> Ack {
        self.told = self.handled + WINDOW;
        let last = self.end >= InboxEnd::Handled;
        if last {
            self.end = InboxEnd::Told;
        }
        Ack { stream: self.stream, offset: self.handled, limit: self.told, last }
    }
}
