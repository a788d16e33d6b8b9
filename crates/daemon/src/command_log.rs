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
//! When the disk is full, `append` fails. What is not in the log by then stays unacknowledged, so
//! the agent keeps it and the command waits. Once there is room, the log can be opened again and
//! the command adopted again, and nothing is lost.
//!
//! All file work is done in blocking threads: a disk that stalls, or a kernel that slows down a
//! flood, stalls one command and not the tasks of the others.

mod reader;
mod recent;
mod record;
mod recovery;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::Exit;

use self::shared::{Bounds, Shared};
pub use self::{
    reader::{Follow, LogItem, LogReader},
    writer::LogWriter,
};

/// The most that is kept of one command's output, in bytes of its files.
pub const LOG_BYTES_MAX: u64 = 64 << 20;

/// A command's log: a cheap handle to make readers of. Only one is made for a folder at a time.
#[derive(Clone, Debug)]
pub struct CommandLog {
    shared: Arc<Shared>,
}

/// Standard output or standard error.
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

/// A folder's log, and its writer if the command has not ended.
#[derive(Debug)]
pub struct Opened {
    pub log: CommandLog,
    pub writer: Option<LogWriter>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the disk is full")]
    DiskFull(#[source] io::Error),
    #[error("cannot write the log {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read the log {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the log {} is of another version", path.display())]
    Version { path: PathBuf },
}

impl CommandLog {
    /// A new log; the folder is made and must not be there.
    pub async fn create(folder: &Path) -> Result<(Self, LogWriter), LogError> {
        Self::create_bounded(folder, Bounds::DEFAULT).await
    }

    /// The log of an earlier process. What a crash cut off at its end is removed.
    pub async fn open(folder: &Path) -> Result<Opened, LogError> {
        Self::open_bounded(folder, Bounds::DEFAULT).await
    }

    async fn create_bounded(folder: &Path, bounds: Bounds) -> Result<(Self, LogWriter), LogError> {
        let path = folder.to_path_buf();
        let made = blocking(move || std::fs::create_dir(path)).await;
        made.map_err(|source| LogError::write(folder, source))?;
        let shared = Arc::new(Shared::new(folder, bounds, recovery::Recovered::default()));
        let log = Self { shared: Arc::clone(&shared) };
        Ok((log, LogWriter::new(shared, None)))
    }

    async fn open_bounded(folder: &Path, bounds: Bounds) -> Result<Opened, LogError> {
        let path = folder.to_path_buf();
        let (recovered, file) = blocking(move || recovery::recover(&path)).await?;
        let has_ended = recovered.exit.is_some();
        let shared = Arc::new(Shared::new(folder, bounds, recovered));
        let log = Self { shared: Arc::clone(&shared) };
        // Made in either case: if it is not given out, its drop says that nothing follows.
        let writer = LogWriter::new(shared, file);
        Ok(Opened { log, writer: (!has_ended).then_some(writer) })
    }

    /// Where the log stands.
    pub fn offsets(&self) -> Offsets {
        self.shared.state().totals
    }

    /// How the command ended, once that is in the log.
    pub fn exit(&self) -> Option<Exit> {
        self.shared.state().exit
    }

    /// Reads from these offsets on; [`Offsets::default`] is the start. From here on the reader
    /// holds what it has not read.
    pub fn reader(&self, from: Offsets, follow: Follow) -> LogReader {
        LogReader::new(Arc::clone(&self.shared), from, follow)
    }
}

impl Offsets {
    pub fn get(self, output: Output) -> u64 {
        match output {
            Output::Stdout => self.stdout,
            Output::Stderr => self.stderr,
        }
    }

    fn get_mut(&mut self, output: Output) -> &mut u64 {
        match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        }
    }
}

impl LogError {
    fn write(path: &Path, source: io::Error) -> Self {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&source.kind()) {
            return Self::DiskFull(source);
        }
        Self::Write { path: path.to_path_buf(), source }
    }

    fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_path_buf(), source }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
