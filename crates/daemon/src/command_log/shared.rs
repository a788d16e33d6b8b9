//! What a log's writer and readers know of each other.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use protocol::Exit;
use tokio::sync::Notify;

use super::{LOG_BYTES_MAX, Offsets, recent::Recent, recovery::Recovered, segment::Segment};

/// How large a log may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// A segment's file, the end record aside.
    pub(super) segment_bytes: usize,
    pub(super) segments: usize,
}

impl Bounds {
    const SEGMENT_BYTES: usize = 4 << 20;
    pub(super) const DEFAULT: Self = Self { segment_bytes: Self::SEGMENT_BYTES, segments: 16 };
}

const _: () = assert!(Bounds::SEGMENT_BYTES as u64 * 16 == LOG_BYTES_MAX);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) bounds: Bounds,
    state: Mutex<State>,
    /// There is more to read, or nothing will follow.
    pub(super) grown: Notify,
    /// A reader let go of a segment.
    pub(super) freed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    /// Oldest first.
    pub(super) segments: VecDeque<Segment>,
    /// Index of the segment to be made next.
    pub(super) next_index: u64,
    pub(super) totals: Offsets,
    pub(super) exit: Option<Exit>,
    /// Whether more may be written.
    pub(super) is_open: bool,
    recent: Recent,
    /// The oldest segment that each reader has not read.
    readers: HashMap<u64, u64>,
    next_reader: u64,
}

impl Shared {
    pub(super) fn new(folder: &Path, bounds: Bounds, recovered: Recovered) -> Self {
        let state = State {
            segments: recovered.segments,
            next_index: recovered.next_index,
            totals: recovered.totals,
            exit: recovered.exit,
            is_open: true,
            recent: Recent::default(),
            readers: HashMap::new(),
            next_reader: 0,
        };
        Self {
            folder: folder.to_path_buf(),
            bounds,
            state: Mutex::new(state),
            grown: Notify::new(),
            freed: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` says something; it is asked again whenever `notify` was notified.
    pub(super) async fn wait<T>(
        &self,
        notify: &Notify,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        loop {
            let mut notified = std::pin::pin!(notify.notified());
            notified.as_mut().enable();
            if let Some(value) = ready(&mut self.state()) {
                return value;
            }
            notified.await;
        }
    }

    /// The reader has come as far as segment `index`.
    pub(super) fn hold_from(&self, reader: u64, index: u64) {
        self.state().readers.insert(reader, index);
        self.freed.notify_waiters();
    }

    pub(super) fn release(&self, reader: u64) {
        let mut state = self.state();
        state.readers.remove(&reader);
        if state.readers.is_empty() {
            state.recent = Recent::default();
        }
        drop(state);
        self.freed.notify_waiters();
    }
}

impl State {
    /// A reader that holds everything from segment `index` on.
    pub(super) fn hold(&mut self, index: u64) -> u64 {
        let reader = self.next_reader;
        self.next_reader += 1;
        self.readers.insert(reader, index);
        reader
    }

    /// Drops the oldest segment unless a reader holds it.
    pub(super) fn drop_oldest(&mut self) -> Option<Segment> {
        let oldest = self.segments.front()?.index;
        if self.readers.values().any(|held| *held <= oldest) {
            return None;
        }
        self.segments.pop_front()
    }

    /// These bytes were written to a segment, at `at` of its file.
    pub(super) fn written(&mut self, index: u64, at: u64, bytes: Bytes) {
        if !self.readers.is_empty() {
            self.recent.push(index, at, bytes);
        }
    }

    /// What was written there, if that is still in memory: some of what follows it.
    pub(super) fn recent(&mut self, index: u64, at: u64) -> Option<Bytes> {
        match self.readers.len() {
            1 => self.recent.take(index, at),
            _ => self.recent.get(index, at),
        }
    }

    /// The first segment from `index` on.
    pub(super) fn segment_from(&self, index: u64) -> Option<Segment> {
        self.segments.iter().find(|segment| index <= segment.index).copied()
    }
}
