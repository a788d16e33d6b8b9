//! The contract between the host and the guest agent: frames, messages and reliable streams over
//! one byte channel that may lose what is under way.
//!
//! The channel is a virtio-serial port. Across a stop, a restore or a new host process the guest
//! may see no hang-up, and bytes in flight are gone. So every connection of the host has an
//! [`Epoch`]; frames of another epoch are dropped; a decoder finds the next frame by magic and
//! checksum after any loss; and each stream numbers its bytes, so that the sender keeps what is not
//! acknowledged and sends it again in the next epoch.
//!
//! Much of a stream need not pass the channel: the guest lends memory for it ([`Request::Lend`], [`Lent`],
//! [`Filled`]).
//!
//! This crate does no I/O and links no runtime: bytes in, messages out. Both ends use the same
//! bookkeeping ([`Outbox`], [`Inbox`]).

mod chunk;
mod frame;
mod lent;
mod message;
pub mod network;
mod stream;
pub mod trust;

pub use chunk::{Chunk, SLOT_LEN, Slot, provide, take_returned};
pub use frame::{
    Ack, Body, Data, Decoder, Epoch, Frame, HEADER_LEN, MAGIC, PAYLOAD_MAX, Reset, Skipped,
    StreamId,
};
pub use lent::{Filled, Lent, Place, within};
pub use message::{
    Access, Claim, CommandId, CommandState, Entropy, Entry, EntryKind, Event, Exit, ExitCause,
    Hello, Io, Mount, Owner, Parents, Phase, Progress, Refusal, RefusalCode, RemoveMode, Request,
    Response, StartCommand, Stat, Stdin, User, VERSION, Wake, Warm, Welcome,
};
pub use stream::{ALONE, CHUNK_MAX, Inbox, Outbox, Span, Violation, WINDOW, Way};

/// Name of the virtio-serial port that the agent speaks on.
pub const PORT_NAME: &str = "fumehood.agent";

#[cfg(test)]
mod tests;
