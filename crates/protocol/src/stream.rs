//! Reliable streams: bytes numbered from zero, kept by the sender until acknowledged, sent again in
//! a new epoch, and never more under way than the receiver has room for.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    chunk::Chunk,
    frame::{self, Ack, Data, Epoch, HEADER_LEN, Header, StreamId},
    lent::{Filled, PLACE_LEN},
};

/// Longest run of bytes in one frame, so that no stream waits long behind another. A guest's write
/// to its port takes 32 KiB at a time.
pub const CHUNK_MAX: usize = (32 << 10) - HEADER_LEN;

/// How many bytes a stream may have under way: what a new stream may send before the first
/// acknowledgement, and the most that its sender must keep. Whole chunks, 1 KiB short of 1 MiB.
pub const WINDOW: u64 = 32 * CHUNK_MAX as u64;

/// Fewer bytes are put together with others, so that none keeps much more room than it needs; so many
/// are sent from where they are.
pub const ALONE: usize = CHUNK_MAX / 2;

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

/// How a chunk's bytes go to the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// In the frame.
    #[default]
    Along,
    /// The receiver reads them where they are, if they are in a [`Slot`](crate::Slot).
    Lent,
}

/// The sending end of a stream.
#[derive(Debug)]
pub struct Outbox {
    stream: StreamId,
    /// What is not acknowledged, from offset `acked` on.
    kept: VecDeque<Run>,
    /// The last frame that was made of loose bytes.
    frame: Vec<u8>,
    acked: u64,
    sent: u64,
    written: u64,
    limit: u64,
    end: End,
    /// In a new epoch nothing is sent until the receiver has said where it stands.
    waiting: bool,
}

/// At most [`CHUNK_MAX`] bytes that follow each other.
#[derive(Debug)]
struct Run {
    offset: u64,
    bytes: Kept,
}

#[derive(Debug)]
enum Kept {
    /// Sent as a whole, from where it is.
    Chunk(Chunk),
    /// Little was pushed at a time, and more may be appended after a part was sent.
    Loose(BytesMut),
}

impl Run {
    fn len(&self) -> usize {
        match &self.bytes {
            Kept::Chunk(chunk) => chunk.len(),
            Kept::Loose(bytes) => bytes.len(),
        }
    }

    fn end(&self) -> u64 {
        self.offset + self.len() as u64
    }

    fn drop_until(&mut self, offset: u64) {
        let Some(count) = offset.checked_sub(self.offset) else { return };
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.len());
        match &mut self.bytes {
            Kept::Chunk(chunk) => chunk.advance(count),
            Kept::Loose(bytes) => bytes.advance(count),
        }
        self.offset += count as u64;
    }
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
            kept: VecDeque::new(),
            frame: Vec::new(),
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
        for bytes in bytes.as_ref().chunks(CHUNK_MAX) {
            if bytes.len() < ALONE {
                self.push_loose(bytes);
            } else {
                let mut chunk = Chunk::new();
                chunk.append(bytes);
                self.push_chunk(chunk);
            }
        }
    }

    /// The same for what is in a chunk, which is not copied if it is well filled.
    pub fn push_chunk(&mut self, chunk: Chunk) {
        if chunk.len() < ALONE {
            self.push_loose(chunk.bytes());
        } else {
            self.append(Kept::Chunk(chunk));
        }
    }

    fn push_loose(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.end > End::Open {
            return;
        }
        match self.kept.back_mut() {
            Some(Run { bytes: Kept::Loose(loose), .. })
                if loose.len() + bytes.len() <= CHUNK_MAX =>
            {
                loose.extend_from_slice(bytes);
                self.written += bytes.len() as u64;
            }
            Some(_) | None => self.append(Kept::Loose(bytes.into())),
        }
    }

    fn append(&mut self, bytes: Kept) {
        if self.end == End::Open {
            let run = Run { offset: self.written, bytes };
            self.written = run.end();
            self.kept.push_back(run);
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

    /// Whether [`Outbox::next_frame`] has something to send.
    pub fn is_ready(&self) -> bool {
        self.next_bytes().is_some()
    }

    /// How many bytes go with the next frame. A chunk waits until the receiver has room for all of
    /// it, as one that keeps to the rules has for what is pushed by them.
    fn next_bytes(&self) -> Option<usize> {
        if self.waiting {
            return None;
        }
        let room = usize::try_from(self.limit.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        match self.kept.get(self.next_run()) {
            Some(Run { bytes: Kept::Chunk(chunk), .. }) => {
                Some(chunk.len()).filter(|len| *len <= room)
            }
            Some(run) => {
                let unsent = usize::try_from(run.end() - self.sent).unwrap_or(usize::MAX);
                Some(unsent.min(room)).filter(|len| *len > 0)
            }
            None => (self.end == End::Ended).then_some(0),
        }
    }

    /// Length of the next frame.
    pub fn next_len(&self, way: Way) -> Option<usize> {
        let bytes = self.next_bytes()?;
        let payload = match self.kept.get(self.next_run()) {
            Some(Run { bytes: Kept::Chunk(chunk), .. }) if goes_lent(way, chunk) => {
                chunk.places().count() * PLACE_LEN
            }
            Some(_) | None => bytes,
        };
        Some(HEADER_LEN + payload)
    }

    fn next_run(&self) -> usize {
        self.kept.partition_point(|run| run.end() <= self.sent)
    }

    /// The next frame to send, whole, with at most [`CHUNK_MAX`] bytes of the stream.
    pub fn next_frame(&mut self, epoch: Epoch, way: Way) -> Option<&[u8]> {
        let (len, next, offset) = (self.next_bytes()?, self.next_run(), self.sent);
        let mut header = self.begin_frame(len);
        self.frame.clear();
        let frame = match self.kept.get_mut(next) {
            Some(Run { bytes: Kept::Chunk(chunk), .. }) if goes_lent(way, chunk) => {
                header = header.lent();
                self.frame.resize(HEADER_LEN, 0);
                chunk.places().for_each(|place| place.put(&mut self.frame));
                &mut self.frame
            }
            Some(Run { bytes: Kept::Chunk(chunk), .. }) => chunk.frame(),
            loose => {
                self.frame.resize(HEADER_LEN, 0);
                if let Some(Run { bytes: Kept::Loose(bytes), offset: start }) = loose {
                    let skip = usize::try_from(offset - *start).unwrap_or(usize::MAX);
                    self.frame.extend_from_slice(&bytes[skip..skip + len]);
                }
                &mut self.frame
            }
        };
        frame::seal(frame, epoch, header);
        Some(frame)
    }

    /// The bytes of the next frame, if they are those of a chunk: put into a slot of the receiver's, they are
    /// sent by [`Outbox::next_filled`].
    pub fn next_chunk(&self) -> Option<&[u8]> {
        self.next_bytes()?;
        match &self.kept.get(self.next_run())?.bytes {
            Kept::Chunk(chunk) => Some(chunk.bytes()),
            Kept::Loose(_) => None,
        }
    }

    /// The next frame for a receiver who has its bytes in this slot.
    pub fn next_filled(&mut self, epoch: Epoch, slot: u16) -> Option<&[u8]> {
        let (len, offset) = (self.next_bytes()?, self.sent);
        let bytes = u16::try_from(len).ok()?;
        let header = self.begin_frame(len).filled();
        let filled = Filled { stream: self.stream, offset, slot, bytes, last: false };
        self.frame.clear();
        self.frame.resize(HEADER_LEN, 0);
        filled.put(&mut self.frame);
        frame::seal(&mut self.frame, epoch, header);
        Some(&self.frame)
    }

    fn begin_frame(&mut self, len: usize) -> Header {
        let header = Header::of_data(self.stream, self.sent);
        self.sent += len as u64;
        if self.end == End::Ended && self.sent == self.written {
            self.end = End::Sent;
            return header.last();
        }
        header
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

    fn drop_until(&mut self, offset: u64) {
        while self.kept.front().is_some_and(|run| run.end() <= offset) {
            self.kept.pop_front();
        }
        match self.kept.front_mut() {
            Some(run) => run.drop_until(offset),
            // An idle stream holds no memory.
            None => (self.kept, self.frame) = (VecDeque::new(), Vec::new()),
        }
        self.acked = self.acked.max(offset);
    }
}

fn goes_lent(way: Way, chunk: &Chunk) -> bool {
    way == Way::Lent && chunk.is_placed()
}

/// Bytes of a stream, wherever they are: so many from `offset` on; `last` when none follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: u64,
    pub len: usize,
    pub last: bool,
}

impl Span {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.len as u64)
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
        let span = Span { offset: data.offset, len: data.bytes.len(), last: data.last };
        let known = self.known(span)?;
        self.receive(span);
        Ok(data.bytes.slice(known..))
    }

    /// How many of these bytes it has received before.
    pub fn known(&self, span: Span) -> Result<usize, Violation> {
        if self.received < span.offset {
            return Err(Violation::Gap);
        }
        if self.told < span.end() {
            return Err(Violation::Flood);
        }
        if self.is_ended() && self.received < span.end() {
            return Err(Violation::AfterEnd);
        }
        let known = usize::try_from(self.received - span.offset).unwrap_or(usize::MAX);
        Ok(known.min(span.len))
    }

    /// It has received these bytes, of which [`Inbox::known`] said that they may come.
    pub fn receive(&mut self, span: Span) {
        self.received = self.received.max(span.end());
        if span.last && span.end() == self.received {
            self.end = self.end.max(InboxEnd::Ended);
        }
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
