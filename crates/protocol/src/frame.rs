//! Frames: a 32-byte header and a payload, both under one checksum, the lower half of an XXH64. CRC-32C would be as good, but the
//! instruction for it is among the slowest that QEMU emulates: a bit at a time.
//!
//! ```text
//! magic u32 | epoch u32 | kind u8 | flags u8 | zero u16 | stream u32 | offset u64 | len u32 | sum u32
//! ```
//!
//! All numbers are little-endian. `offset` is the byte offset of a stream frame, or the id of a
//! request and its reply.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use twox_hash::XxHash64;

use crate::{
    lent::{self, Filled, Lent},
    message::{CommandId, Event, Hello, Refusal, Request, Response, Welcome},
};

/// The first bytes of every frame: `FHM2`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FHM2");
/// Length of a frame's header in bytes.
pub const HEADER_LEN: usize = 32;
/// Longest payload in bytes: room for a command with a long script in its arguments.
pub const PAYLOAD_MAX: usize = 1 << 20;

const SUM_AT: usize = 28;
const FLAG_LAST: u8 = 1;
const DATA: u8 = 6;
const LENT: u8 = 9;
const FILLED: u8 = 10;
const RETURNED: u8 = 11;
const BACK: u32 = 1 << 31;
/// So many false frames in a row are looked into before all that was received is dropped.
const STRIKES_MAX: u8 = 16;

/// One connection of the host to the agent. A frame of another epoch is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

/// One direction of bytes. Ids are derived, so that both ends know them after a restart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize,
)]
pub struct StreamId(pub u32);

impl StreamId {
    /// Standard input of a command, host to guest.
    pub fn stdin(command: CommandId) -> Self {
        Self(command.0 << 2)
    }

    /// Standard output of a command (or all output of its pty), guest to host.
    pub fn stdout(command: CommandId) -> Self {
        Self(command.0 << 2 | 1)
    }

    /// Standard error of a command, guest to host.
    pub fn stderr(command: CommandId) -> Self {
        Self(command.0 << 2 | 2)
    }

    /// A file on its way in or out, or a connection to a port; numbered by the host.
    pub fn transfer(number: u32) -> Self {
        Self(number << 2 | 3)
    }

    /// The other direction of a connection to a port, guest to host. Numbers of transfers stay
    /// below 2^29.
    pub fn back(self) -> Self {
        Self(self.0 | BACK)
    }

    /// The direction to the guest of what this is the one or the other of.
    pub fn forth(self) -> Self {
        Self(self.0 & !BACK)
    }

    /// Whether this stream is a file's or a connection's and not a command's.
    pub fn is_transfer(self) -> bool {
        self.0 & 3 == 3
    }

    /// The command whose stream this is, if it is one.
    pub fn command(self) -> Option<CommandId> {
        (!self.is_transfer()).then_some(CommandId(self.0 >> 2))
    }
}

/// One message on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub epoch: Epoch,
    pub body: Body,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Host to guest: a new epoch begins.
    Hello(Hello),
    /// Guest to host: the epoch is accepted.
    Welcome(Welcome),
    Request {
        id: u64,
        request: Request,
    },
    Reply {
        id: u64,
        reply: Result<Response, Refusal>,
    },
    Event(Event),
    Data(Data),
    /// Guest to host, after [`Request::Lend`] was answered in this epoch.
    Lent(Lent),
    /// Host to guest, after the same answer.
    Filled(Filled),
    /// Guest to host: these slots may be filled again.
    Returned {
        slots: Vec<u16>,
    },
    Ack(Ack),
    Reset(Reset),
}

/// Bytes of a stream, from `offset` on; `last` when none follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub stream: StreamId,
    pub offset: u64,
    pub bytes: Bytes,
    pub last: bool,
}

/// All before `offset` is handled and need not be kept; bytes up to `limit` may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub stream: StreamId,
    pub offset: u64,
    pub limit: u64,
    /// The end of the stream was handled as well.
    pub last: bool,
}

/// The sender of this frame no longer knows the stream or gave it up: it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    pub stream: StreamId,
}

/// What the decoder passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// This many bytes that were no frame, or one damaged on the way.
    Garbage(usize),
    /// A whole frame whose kind or message this version does not know.
    Unknown { kind: u8 },
}

#[derive(Clone, Copy)]
pub(crate) struct Header {
    kind: u8,
    flags: u8,
    stream: u32,
    offset: u64,
}

impl Header {
    pub(crate) fn of_data(stream: StreamId, offset: u64) -> Self {
        Self { kind: DATA, flags: 0, stream: stream.0, offset }
    }

    /// The same for bytes that are in the guest's memory.
    pub(crate) fn lent(self) -> Self {
        Self { kind: LENT, ..self }
    }

    /// The same for bytes that were put there.
    pub(crate) fn filled(self) -> Self {
        Self { kind: FILLED, ..self }
    }

    /// The same, if nothing follows.
    pub(crate) fn last(self) -> Self {
        Self { flags: FLAG_LAST, ..self }
    }
}

/// Makes a frame of the payload in it, which stands behind the header's room.
pub(crate) fn seal(frame: &mut [u8], epoch: Epoch, header: Header) {
    let len = frame.len() - HEADER_LEN;
    assert!(len <= PAYLOAD_MAX, "a message of {len} bytes is over the limit");
    let mut head = &mut frame[..HEADER_LEN];
    head.put_u32_le(MAGIC);
    head.put_u32_le(epoch.0);
    head.put_u8(header.kind);
    head.put_u8(header.flags);
    head.put_u16_le(0);
    head.put_u32_le(header.stream);
    head.put_u64_le(header.offset);
    head.put_u32_le(u32::try_from(len).expect("bounded above"));
    let sum = checksum(&frame[..SUM_AT], &frame[HEADER_LEN..]);
    frame[SUM_AT..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
}

impl Frame {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If a message is larger than [`PAYLOAD_MAX`]; who makes messages bounds them before.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_bytes(0, HEADER_LEN);
        let header = self.put_body(out);
        seal(&mut out[start..], self.epoch, header);
    }

    fn put_body(&self, out: &mut BytesMut) -> Header {
        let mut header = Header { kind: self.kind(), flags: 0, stream: 0, offset: 0 };
        match &self.body {
            Body::Hello(hello) => put(out, hello),
            Body::Welcome(welcome) => put(out, welcome),
            Body::Request { id, request } => {
                header.offset = *id;
                put(out, request);
            }
            Body::Reply { id, reply } => {
                header.offset = *id;
                put(out, reply);
            }
            Body::Event(event) => put(out, event),
            Body::Data(data) => {
                header = Header::of_data(data.stream, data.offset);
                header = if data.last { header.last() } else { header };
                out.extend_from_slice(&data.bytes);
            }
            Body::Lent(lent) => {
                header = Header::of_data(lent.stream, lent.offset).lent();
                header = if lent.last { header.last() } else { header };
                lent.places.iter().for_each(|place| place.put(out));
            }
            Body::Filled(filled) => {
                header = Header::of_data(filled.stream, filled.offset).filled();
                header = if filled.last { header.last() } else { header };
                filled.put(out);
            }
            Body::Returned { slots } => slots.iter().for_each(|slot| out.put_u16_le(*slot)),
            Body::Ack(ack) => {
                header.stream = ack.stream.0;
                header.offset = ack.offset;
                header.flags = u8::from(ack.last) * FLAG_LAST;
                out.put_u64_le(ack.limit);
            }
            Body::Reset(reset) => header.stream = reset.stream.0,
        }
        header
    }

    fn kind(&self) -> u8 {
        match self.body {
            Body::Hello(_) => 1,
            Body::Welcome(_) => 2,
            Body::Request { .. } => 3,
            Body::Reply { .. } => 4,
            Body::Event(_) => 5,
            Body::Data(_) => DATA,
            Body::Lent(_) => LENT,
            Body::Filled(_) => FILLED,
            Body::Returned { .. } => RETURNED,
            Body::Ack(_) => 7,
            Body::Reset(_) => 8,
        }
    }
}

fn put<T: Serialize>(out: &mut BytesMut, message: &T) {
    let bytes = postcard::to_stdvec(message).expect("messages are plain data");
    out.extend_from_slice(&bytes);
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is kept")]
fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    XxHash64::oneshot(XxHash64::oneshot(0, head), payload) as u32
}

/// Cuts a byte stream into frames. Whatever comes in, it goes on with the next whole frame, and it
/// never holds more than one frame of the greatest length.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    strikes: u8,
}

impl Decoder {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Forgets a frame that was cut off, as on a hang-up.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.strikes = 0;
    }

    /// The next frame, what was passed over, or `None` until more is pushed.
    pub fn next_frame(&mut self) -> Option<Result<Frame, Skipped>> {
        let skip = self.distance_to_magic();
        if skip > 0 {
            self.buffer.advance(skip);
            return Some(Err(Skipped::Garbage(skip)));
        }
        let mut head = self.buffer.get(..HEADER_LEN)?;
        head.advance(4);
        let epoch = Epoch(head.get_u32_le());
        let header = Header {
            kind: head.get_u8(),
            flags: head.get_u8(),
            stream: {
                head.advance(2);
                head.get_u32_le()
            },
            offset: head.get_u64_le(),
        };
        let len = usize::try_from(head.get_u32_le()).ok().filter(|len| *len <= PAYLOAD_MAX);
        let sum = head.get_u32_le();
        let Some(len) = len else { return Some(Err(self.skip_magic())) };
        let payload = self.buffer.get(HEADER_LEN..HEADER_LEN + len)?;
        if checksum(&self.buffer[..SUM_AT], payload) != sum {
            return Some(Err(self.skip_magic()));
        }
        self.strikes = 0;
        self.buffer.advance(HEADER_LEN);
        let payload = self.buffer.split_to(len).freeze();
        let body = body(header, payload).ok_or(Skipped::Unknown { kind: header.kind });
        Some(body.map(|body| Frame { epoch, body }))
    }

    /// A frame that is none may hide the start of a true one: look again one byte further on. Who
    /// nests false frames to make us sum the same bytes over and over loses all of them.
    fn skip_magic(&mut self) -> Skipped {
        self.strikes += 1;
        let mut skip = 1;
        if self.strikes == STRIKES_MAX {
            self.strikes = 0;
            skip = self.buffer.len();
        }
        self.buffer.advance(skip);
        Skipped::Garbage(skip)
    }

    fn distance_to_magic(&self) -> usize {
        let magic = MAGIC.to_le_bytes();
        let found = self.buffer.windows(4).position(|window| window == magic);
        found.unwrap_or_else(|| {
            // What is left may be the first bytes of a magic that is not whole yet.
            let tail = (0..4).rev().find(|n| self.buffer.ends_with(&magic[..*n])).unwrap_or(0);
            self.buffer.len() - tail
        })
    }
}

fn body(header: Header, payload: Bytes) -> Option<Body> {
    let stream = StreamId(header.stream);
    let last = header.flags & FLAG_LAST != 0;
    Some(match header.kind {
        1 => Body::Hello(get(&payload)?),
        2 => Body::Welcome(get(&payload)?),
        3 => Body::Request { id: header.offset, request: get(&payload)? },
        4 => Body::Reply { id: header.offset, reply: get(&payload)? },
        5 => Body::Event(get(&payload)?),
        DATA => Body::Data(Data { stream, offset: header.offset, bytes: payload, last }),
        7 => {
            let limit = u64::from_le_bytes(payload.as_ref().try_into().ok()?);
            Body::Ack(Ack { stream, offset: header.offset, limit, last })
        }
        8 => Body::Reset(Reset { stream }),
        LENT => {
            let places = Lent::places(&payload)?;
            Body::Lent(Lent { stream, offset: header.offset, places, last })
        }
        FILLED => {
            let (slot, bytes) = Filled::get(&payload)?;
            Body::Filled(Filled { stream, offset: header.offset, slot, bytes, last })
        }
        RETURNED => Body::Returned { slots: lent::numbers(&payload)? },
        _ => return None,
    })
}

fn get<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    postcard::from_bytes(payload).ok()
}
