//! The audit log of one session, as its gateways write it: two files that take turns, a line for each
//! event. Read from its start by as many as like, while it grows and after.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use bytes::{Bytes, BytesMut};
use egress::event::Event;

use crate::gateway::Place;

/// About so much is given at a time.
const BATCH_BYTES: usize = 64 * 1024;
/// A reader looks so often for what seems to be missing.
const RESCANS_MAX: u32 = 16;
/// A longer line is none of a gateway's.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Adds an event of the server's own. No gateway may be writing.
pub(crate) async fn append(place: &Place, event: Event) -> io::Result<()> {
    let place = place.clone();
    let appended =
        tokio::task::spawn_blocking(move || egress::gateway::append(place.open_logs()?, event));
    appended.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Reads events in their order. What was overwritten before it was read is passed over.
#[derive(Debug)]
pub(crate) struct AuditReader {
    files: [Half; 2],
    /// The last event that was given.
    last: u64,
    /// The event after the last was missed here, and is not looked for again.
    missed: Option<u64>,
    rescans: u32,
}

impl AuditReader {
    pub(crate) fn new(place: &Place) -> Self {
        Self { files: place.logs().map(Half::new), last: 0, missed: None, rescans: 0 }
    }

    /// The next lines, whole ones; empty if there are none now.
    pub(crate) async fn next(mut self) -> io::Result<(Self, Bytes)> {
        let read = tokio::task::spawn_blocking(move || {
            let lines = self.batch()?;
            Ok((self, lines))
        });
        read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn batch(&mut self) -> io::Result<Bytes> {
        let mut lines = BytesMut::new();
        while lines.len() < BATCH_BYTES {
            let last = self.last;
            let [first, second] = &mut self.files;
            let half = match (first.peek(last)?, second.peek(last)?) {
                (None, None) => break,
                (Some(_), None) => first,
                (None, Some(_)) => second,
                (Some(one), Some(other)) if one < other => first,
                (Some(_), Some(_)) => second,
            };
            let Some((seq, line)) = half.take() else { break };
            // A file may have been begun anew while it was read: what seems to be missing is looked
            // for once, from the start of both.
            let is_new = self.missed != Some(last) && self.rescans < RESCANS_MAX;
            if seq != last + 1 && is_new {
                self.missed = Some(last);
                self.rescans += 1;
                self.files.iter_mut().for_each(Half::rewind);
                continue;
            }
            self.last = seq;
            lines.extend_from_slice(&line);
            lines.extend_from_slice(b"\n");
        }
        Ok(lines.freeze())
    }
}

/// One of the two files.
#[derive(Debug)]
struct Half {
    path: PathBuf,
    file: Option<File>,
    /// Up to here it has been read.
    offset: u64,
    /// What was read and not yet looked at.
    unread: BytesMut,
    /// Whether the line that `unread` begins with is too long, and passed over to its end.
    too_long: bool,
    /// The next event.
    next: Option<(u64, Bytes)>,
}

impl Half {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0, unread: BytesMut::new(), too_long: false, next: None }
    }

    fn rewind(&mut self) {
        self.offset = 0;
        self.unread.clear();
        self.too_long = false;
        self.next = None;
    }

    /// The number of the next event after `last`.
    fn peek(&mut self, last: u64) -> io::Result<Option<u64>> {
        if self.next.as_ref().is_some_and(|(seq, _)| *seq <= last) {
            self.next = None;
        }
        while self.next.is_none() {
            let Some(line) = self.line()? else { return Ok(None) };
            // The last line of a gateway that was killed may be cut.
            let Ok(event) = serde_json::from_slice::<Event>(&line) else { continue };
            if last < event.seq {
                self.next = Some((event.seq, line));
            }
        }
        Ok(self.next.as_ref().map(|(seq, _)| *seq))
    }

    fn take(&mut self) -> Option<(u64, Bytes)> {
        self.next.take()
    }

    /// The next whole line.
    fn line(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(end + 1).freeze().slice(..end);
                if !std::mem::take(&mut self.too_long) {
                    return Ok(Some(line));
                }
                continue;
            }
            if LINE_BYTES_MAX < self.unread.len() {
                self.unread.clear();
                self.too_long = true;
            }
            if self.read()? == 0 {
                return Ok(None);
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let file = match &self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(error) => return Err(error),
            },
        };
        if file.metadata()?.len() < self.offset {
            self.offset = 0;
            self.unread.clear();
            self.too_long = false;
        }
        let mut piece = [0; 16 * 1024];
        let length = file.read_at(&mut piece, self.offset)?;
        self.offset += length as u64;
        self.unread.extend_from_slice(&piece[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
