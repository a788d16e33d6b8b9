//! Readers of a log: from any offset, to its present end or to the command's.

use std::{fs::File, io, sync::Arc};

use bytes::{Buf, Bytes};
use protocol::Exit;

use super::{
    LogError, Offsets, Output, blocking,
    record::{self, Found},
    segment::{self, Segment},
    shared::{Shared, State},
};

/// How much of a file is read at once.
const READ_BYTES: usize = 256 << 10;

/// Whether a reader waits for what is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Until the command's end.
    ToTheEnd,
    /// Only what is there now.
    No,
}

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

#[derive(Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
    /// Its place among the readers.
    id: u64,
    follow: Follow,
    /// Where a reader that does not follow stops.
    stop: Place,
    /// What the one who reads has seen, or asked not to see.
    seen: Offsets,
    /// Where the records in `chunk` stand.
    at: Offsets,
    place: Place,
    file: Option<Arc<File>>,
    /// Read and not yet given out.
    chunk: Bytes,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The chunk was just read: what it begins with is all there is of it.
    Fresh,
    /// The chunk may end within a record.
    Going,
    Over,
}

/// A point in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    index: u64,
    /// In the segment's file.
    at: u64,
}

/// What there is to do next.
enum Step {
    /// There are records in this segment up to `end`.
    Read {
        end: u64,
    },
    Enter(Segment),
    /// Nothing will follow.
    Stop,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>, from: Offsets, follow: Follow) -> Self {
        let mut state = shared.state();
        let is_before = |segment: &&Segment| {
            segment.start.stdout <= from.stdout && segment.start.stderr <= from.stderr
        };
        let first = state.segments.iter().rev().find(is_before).or(state.segments.front());
        let index = first.map_or(state.next_index, |segment| segment.index);
        let newest = state.segments.back();
        let stop =
            newest.map_or(Place::default(), |newest| Place { index: newest.index, at: newest.len });
        let id = state.hold(index);
        drop(state);
        Self {
            shared,
            id,
            follow,
            stop,
            seen: from,
            at: from,
            place: Place { index, at: 0 },
            file: None,
            chunk: Bytes::new(),
            progress: Progress::Going,
        }
    }

    /// The next item; `None` at the end, which without [`LogItem::Ended`] is an end for another
    /// reason than the command's exit. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<LogItem>, LogError> {
        loop {
            if let Some(item) = self.take()? {
                return Ok(Some(item));
            }
            if self.progress == Progress::Over {
                return Ok(None);
            }
            match self.step().await {
                Step::Read { end } => self.read(end).await?,
                Step::Enter(segment) => self.enter(segment).await?,
                Step::Stop => self.stop(),
            }
        }
    }

    /// Gives out what is in `chunk`.
    fn take(&mut self) -> Result<Option<LogItem>, LogError> {
        loop {
            if let Some(dropped) = self.missing() {
                return Ok(Some(dropped));
            }
            let len = self.chunk.len();
            if len == 0 {
                return Ok(None);
            }
            let progress = std::mem::replace(&mut self.progress, Progress::Going);
            let found = record::take(&mut self.chunk);
            self.place.at += (len - self.chunk.len()) as u64;
            match found {
                Found::Output(output, bytes) => {
                    if let Some(item) = self.unseen(output, bytes) {
                        return Ok(Some(item));
                    }
                }
                Found::End(exit) => {
                    self.stop();
                    return Ok(Some(LogItem::Ended(exit)));
                }
                // The rest is read with what follows it, unless it is the front of all there is.
                Found::Cut if progress != Progress::Fresh => {
                    self.chunk.clear();
                }
                Found::Cut | Found::Damaged => self.skip_segment()?,
            }
        }
    }

    /// What the segment that was entered begins behind.
    fn missing(&mut self) -> Option<LogItem> {
        [Output::Stdout, Output::Stderr].into_iter().find_map(|output| {
            let (seen, at) = (self.seen.get(output), self.at.get(output));
            *self.seen.get_mut(output) = seen.max(at);
            (seen < at).then(|| LogItem::Dropped { output, bytes: at - seen })
        })
    }

    /// The part of a record that was not seen before.
    fn unseen(&mut self, output: Output, mut bytes: Bytes) -> Option<LogItem> {
        let start = self.at.get(output);
        let end = start + bytes.len() as u64;
        *self.at.get_mut(output) = end;
        let offset = self.seen.get(output).max(start);
        if end <= offset {
            return None;
        }
        *self.seen.get_mut(output) = end;
        bytes.advance(usize::try_from(offset - start).unwrap_or(usize::MAX));
        Some(LogItem::Output { output, offset, bytes })
    }

    async fn step(&self) -> Step {
        self.shared.wait(&self.shared.grown, |state| self.find_step(state)).await
    }

    fn find_step(&self, state: &State) -> Option<Step> {
        let end = match self.follow {
            Follow::No => self.stop,
            Follow::ToTheEnd => Place { index: u64::MAX, at: u64::MAX },
        };
        let here = state.segments.iter().find(|segment| segment.index == self.place.index);
        if let Some(here) = here.filter(|_| self.file.is_some()) {
            let end = if here.index == end.index { end.at } else { here.len };
            if self.place.at < end {
                return Some(Step::Read { end });
            }
        }
        let next = self.place.index + u64::from(self.file.is_some());
        match state.segment_from(next).filter(|segment| segment.index <= end.index) {
            Some(segment) => Some(Step::Enter(segment)),
            None if self.follow == Follow::No || !state.is_open => Some(Step::Stop),
            None => None,
        }
    }

    async fn read(&mut self, end: u64) -> Result<(), LogError> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        let Place { index, at } = self.place;
        let len = usize::try_from(end - at).unwrap_or(usize::MAX);
        let recent = self.shared.state().recent(index, at);
        self.chunk = match recent {
            Some(mut bytes) => {
                bytes.truncate(len);
                bytes
            }
            None => {
                let len = len.min(READ_BYTES);
                let read = blocking(move || segment::read_at(&file, at, len)).await;
                Bytes::from(read.map_err(|source| self.failed(source))?)
            }
        };
        self.progress = Progress::Fresh;
        Ok(())
    }

    async fn enter(&mut self, segment: Segment) -> Result<(), LogError> {
        let path = segment::path(&self.shared.folder, segment.index);
        let opened = blocking(move || File::open(path)).await;
        self.place = Place { index: segment.index, at: segment::HEADER_LEN as u64 };
        self.file = Some(Arc::new(opened.map_err(|source| self.failed(source))?));
        self.at = segment.start;
        self.shared.hold_from(self.id, segment.index);
        Ok(())
    }

    /// Goes on behind a damaged segment, if another follows.
    fn skip_segment(&mut self) -> Result<(), LogError> {
        self.chunk.clear();
        let next = self.place.index + 1;
        if self.shared.state().segment_from(next).is_none() {
            return Err(self.failed(io::ErrorKind::InvalidData.into()));
        }
        self.place = Place { index: next, at: 0 };
        self.file = None;
        Ok(())
    }

    fn stop(&mut self) {
        self.progress = Progress::Over;
        self.chunk.clear();
        self.file = None;
        self.shared.release(self.id);
    }

    fn failed(&self, source: io::Error) -> LogError {
        LogError::read(&segment::path(&self.shared.folder, self.place.index), source)
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.shared.release(self.id);
    }
}
