//! What the guest writes to its console: kept by QEMU in a ring buffer until it is fetched, and by
//! us in a file of bounded size.
//!
//! The guest can say anything here at any speed. What comes faster than it is fetched is lost;
//! nothing waits for it and nothing grows.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use tokio::sync::watch;

use crate::{ControlError, arguments::CONSOLE_BYTES, qmp::Qmp};

/// The log is two files of at most this size.
const FILE_BYTES_MAX: u64 = 512 * 1024;
const TAIL_BYTES_MAX: usize = 64 * 1024;
pub(crate) const LOG: &str = "console.log";
pub(crate) const OLDER_LOG: &str = "console.log.1";

#[derive(Debug)]
pub(crate) struct Console {
    folder: PathBuf,
    kept: Mutex<Kept>,
    fetched: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    log: File,
    log_bytes: u64,
    tail: VecDeque<u8>,
}

impl Console {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut log = open_log(folder)?;
        let log_bytes = log.metadata()?.len();
        let mut tail = Vec::new();
        log.seek(SeekFrom::Start(log_bytes.saturating_sub(TAIL_BYTES_MAX as u64)))?;
        (&log).take(TAIL_BYTES_MAX as u64).read_to_end(&mut tail)?;
        let kept = Mutex::new(Kept { log, log_bytes, tail: tail.into() });
        Ok(Self { folder: folder.to_owned(), kept, fetched: watch::Sender::new(0) })
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    pub(crate) fn fetched(&self) -> watch::Receiver<u64> {
        self.fetched.subscribe()
    }

    /// The last bytes of what has been fetched.
    pub(crate) fn tail(&self, bytes: usize) -> Vec<u8> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tail.iter().skip(kept.tail.len().saturating_sub(bytes)).copied().collect()
    }

    /// Fetches what the guest has written since the last time.
    pub(crate) async fn fetch(&self, qmp: &Qmp) -> Result<(), ControlError> {
        let arguments = json!({ "device": "console", "size": CONSOLE_BYTES, "format": "base64" });
        let text = qmp.ask("ringbuf-read", arguments).await?;
        let bytes = text.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
        // It is the guest's word only: that its file cannot be written keeps nobody from its machine.
        if let Err(error) = self.keep(&bytes.unwrap_or_default()) {
            tracing::warn!(%error, "some of a guest's console is not kept");
        }
        Ok(())
    }

    fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tail.extend(bytes);
        let surplus = kept.tail.len().saturating_sub(TAIL_BYTES_MAX);
        kept.tail.drain(..surplus);
        if kept.log_bytes + bytes.len() as u64 > FILE_BYTES_MAX {
            // It is put aside already if its successor could not be opened.
            if self.log().exists() {
                std::fs::rename(self.log(), self.folder.join(OLDER_LOG))?;
            }
            kept.log = open_log(&self.folder)?;
            kept.log_bytes = 0;
        }
        kept.log.write_all(bytes)?;
        kept.log_bytes += bytes.len() as u64;
        drop(kept);
        self.fetched.send_modify(|fetched| *fetched += bytes.len() as u64);
        Ok(())
    }
}

fn open_log(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).open(folder.join(LOG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_its_end_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let console = Console::open(folder.path()).unwrap();
        let line = [b'x'; 1023];
        for _ in 0..2000 {
            console.keep(&line).unwrap();
            console.keep(b"\n").unwrap();
        }
        console.keep(b"the end\n").unwrap();
        let sizes = [LOG, OLDER_LOG].map(|name| folder.path().join(name).metadata().unwrap().len());
        assert!(sizes.iter().all(|size| *size <= FILE_BYTES_MAX), "{sizes:?}");
        assert!(sizes.iter().sum::<u64>() > FILE_BYTES_MAX, "{sizes:?}");
        assert_eq!(console.tail(usize::MAX).len(), TAIL_BYTES_MAX);
        assert_eq!(console.tail(8), b"the end\n");
        assert_eq!(*console.fetched().borrow(), 2000 * 1024 + 8);
        drop(console);
        let again = Console::open(folder.path()).unwrap();
        assert_eq!(again.tail(10), b"x\nthe end\n");
    }
}
