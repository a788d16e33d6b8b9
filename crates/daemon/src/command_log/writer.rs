//! The one writer of a log.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use protocol::Exit;

use super::{
    LogError, Offsets, Output, blocking, record,
    segment::{self, Segment},
    shared::Shared,
};

/// Appends. Dropped before [`LogWriter::end`], the log ends without an exit.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
    /// The newest segment's, unless a new one is due.
    file: Option<Arc<File>>,
}

/// Records of one segment, to be written in one go.
struct Draft {
    records: Vec<u8>,
    /// Where the log stands after them.
    totals: Offsets,
    exit: Option<Exit>,
}

impl LogWriter {
    pub(super) fn new(shared: Arc<Shared>, file: Option<File>) -> Self {
        Self { shared, file: file.map(Arc::new) }
    }

    /// Where the log stands.
    pub fn offsets(&self) -> Offsets {
        self.shared.state().totals
    }

    /// Appends runs of bytes; once this returns, they outlive the process. Waits while the log is
    /// full and a reader holds its oldest segment. To be awaited to its end.
    pub fn append<'a>(
        &mut self,
        runs: impl IntoIterator<Item = (Output, &'a [u8])>,
    ) -> impl Future<Output = Result<(), LogError>> {
        let drafts = self.draft(runs);
        async move {
            let last = drafts.len() - 1;
            for (n, draft) in drafts.into_iter().enumerate() {
                self.write(draft).await?;
                if n < last {
                    self.file = None;
                }
            }
            Ok(())
        }
    }

    /// The command has ended, and all of its output was appended.
    pub async fn end(mut self, exit: Exit) -> Result<(), LogError> {
        let mut draft = Draft { records: Vec::new(), totals: self.offsets(), exit: Some(exit) };
        record::put_end(&mut draft.records, &exit);
        self.write(draft).await
    }

    /// Makes records of the runs: of the segment that is open, and of those that follow it.
    fn draft<'a>(&self, runs: impl IntoIterator<Item = (Output, &'a [u8])>) -> Vec<Draft> {
        let (used, totals) = self.stand();
        let limit = self.shared.bounds.segment_bytes;
        let longest = limit - segment::HEADER_LEN - record::HEADER_LEN;
        let (mut room, mut totals) = (limit.saturating_sub(used), totals);
        let (mut drafts, mut records) = (Vec::new(), Vec::new());
        for (output, run) in runs {
            for piece in run.chunks(longest.min(record::PAYLOAD_MAX)) {
                let needed = record::HEADER_LEN + piece.len();
                if room < needed {
                    let records = std::mem::take(&mut records);
                    drafts.push(Draft { records, totals, exit: None });
                    room = limit - segment::HEADER_LEN;
                }
                record::put_output(&mut records, output, piece);
                *totals.get_mut(output) += piece.len() as u64;
                room -= needed;
            }
        }
        drafts.push(Draft { records, totals, exit: None });
        drafts
    }

    /// How long the open segment is, or the one to be opened, and where the log stands.
    fn stand(&self) -> (usize, Offsets) {
        let state = self.shared.state();
        let newest = state.segments.back().filter(|_| self.file.is_some());
        let used = newest.map_or(segment::HEADER_LEN as u64, |newest| newest.len);
        (usize::try_from(used).unwrap_or(usize::MAX), state.totals)
    }

    async fn write(&mut self, draft: Draft) -> Result<(), LogError> {
        if draft.records.is_empty() {
            return Ok(());
        }
        match self.file.clone() {
            Some(file) => self.extend(file, draft).await?,
            None => self.begin(draft).await?,
        }
        self.shared.grown.notify_waiters();
        Ok(())
    }

    async fn extend(&self, file: Arc<File>, draft: Draft) -> Result<(), LogError> {
        let newest = self.shared.state().segments.back().copied();
        let Segment { index, len: at, .. } = newest.expect("its file is open");
        let Draft { records, totals, exit } = draft;
        let len = at + records.len() as u64;
        let records = Bytes::from(records);
        let bytes = records.clone();
        let written = blocking(move || segment::append(&file, at, &bytes)).await;
        written.map_err(|source| LogError::write(&self.path(index), source))?;
        let mut state = self.shared.state();
        state.written(index, at, records);
        (state.totals, state.exit) = (totals, exit);
        if let Some(newest) = state.segments.back_mut() {
            newest.len = len;
        }
        Ok(())
    }

    /// Begins a new segment, and drops the oldest if there are too many.
    async fn begin(&mut self, draft: Draft) -> Result<(), LogError> {
        let segments = self.shared.bounds.segments;
        let (index, start, dropped) = self
            .shared
            .wait(&self.shared.freed, |state| {
                let is_full = segments <= state.segments.len();
                let dropped = if is_full { Some(state.drop_oldest()?) } else { None };
                Some((state.next_index, state.totals, dropped))
            })
            .await;
        let (path, dropped) = (self.path(index), dropped.map(|oldest| self.path(oldest.index)));
        let mut bytes = segment::header(index, start);
        bytes.extend_from_slice(&draft.records);
        let len = bytes.len() as u64;
        let bytes = Bytes::from(bytes);
        let first = bytes.clone();
        let made = blocking(move || replace(dropped.as_deref(), &path, &first)).await;
        let file = made.map_err(|source| LogError::write(&self.path(index), source))?;
        self.file = Some(Arc::new(file));
        let mut state = self.shared.state();
        state.written(index, 0, bytes);
        state.segments.push_back(Segment { index, start, len });
        state.next_index = index + 1;
        (state.totals, state.exit) = (draft.totals, draft.exit);
        Ok(())
    }

    fn path(&self, index: u64) -> PathBuf {
        segment::path(&self.shared.folder, index)
    }
}

fn replace(dropped: Option<&Path>, path: &Path, bytes: &[u8]) -> io::Result<File> {
    if let Some(dropped) = dropped {
        std::fs::remove_file(dropped)?;
    }
    segment::create(path, bytes)
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.state().is_open = false;
        self.shared.grown.notify_waiters();
    }
}
