//! The output of one command, on disk: bounded, and replayed by many readers.
//!
//! A log is a folder of segments. Its writer appends what came on standard output and standard
//! error in the order of arrival, and at the end the command's exit. What was appended is in the
//! page cache: it outlives the server, not a crash of the host.
//!
//! The newest [`LOG_BYTES_MAX`] are kept. An open reader holds what it has not read: rather than
//! drop that, [`LogWriter::append`] waits, and with it the command. With no reader in the way the
//! oldest segment is dropped, and later readers are told how much is missing.
//!
//! When the disk is full, `append` fails and nothing of it is in the log: the bytes stay
//! unacknowledged, so the agent keeps them and the command waits. Once there is room, the log can
//! be opened again and the command adopted again, and nothing is lost.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use protocol::Exit;

/// The most that is kept of one command's output, in bytes of its files.
pub const LOG_BYTES_MAX: u64 = 64 << 20;

/// A command's log: a cheap handle to make readers of. One is made for a folder at a time.
#[derive(Clone, Debug)]
pub struct CommandLog;

/// Standard output and standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// Bytes of each stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub stdout: u64,
    pub stderr: u64,
}

/// Whether a reader waits for what is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Until the command's end.
    ToTheEnd,
    /// Only what is there now.
    No,
}

/// A folder's log, and its writer if the command has not ended.
#[derive(Debug)]
pub struct Opened {
    pub log: CommandLog,
    pub writer: Option<LogWriter>,
}

/// Appends. Dropped before [`LogWriter::end`], the log ends without an exit.
#[derive(Debug)]
pub struct LogWriter;

#[derive(Debug)]
pub struct LogReader;

/// What a reader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// Bytes of a stream; `offset` is that of the first.
    Output { output: Output, offset: u64, bytes: Bytes },
    /// This much is no longer kept, or was damaged.
    Dropped { output: Output, bytes: u64 },
    /// The command ended; nothing follows.
    Ended(Exit),
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the disk is full")]
    DiskFull(#[source] io::Error),
    #[error("cannot write the log {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the log {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the log {path} is of another version")]
    Version { path: PathBuf },
}

impl CommandLog {
    /// A new log; the folder is made and must not be there.
    pub async fn create(_folder: &Path) -> Result<(Self, LogWriter), LogError> {
        todo!()
    }

    /// The log of an earlier process. What a crash cut off at its end is removed.
    pub async fn open(_folder: &Path) -> Result<Opened, LogError> {
        todo!()
    }

    /// Where the log stands.
    pub fn offsets(&self) -> Offsets {
        todo!()
    }

    /// How the command ended, once that is in the log.
    pub fn exit(&self) -> Option<Exit> {
        todo!()
    }

    /// Reads from these offsets on; [`Offsets::default`] is the start.
    pub fn reader(&self, _from: Offsets, _follow: Follow) -> LogReader {
        todo!()
    }
}

impl LogReader {
    /// The next item; `None` at the end, which without [`LogItem::Ended`] is an end for another
    /// reason than the command's exit.
    pub async fn next(&mut self) -> Result<Option<LogItem>, LogError> {
        todo!()
    }
}
