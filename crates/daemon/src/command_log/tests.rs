//! A log gives back what was appended, whatever happened in between.

mod bounds;
mod crash;
mod replay;

use std::path::{Path, PathBuf};

use protocol::Exit;
use tempfile::TempDir;

use super::*;

const EXIT: Exit = Exit { code: 7, signal: None, cause: None, duration_ms: 1234 };
const OUT: Output = Output::Stdout;
const ERR: Output = Output::Stderr;

/// What a reader read, put together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped: Offsets,
    exit: Option<Exit>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn folder() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("log");
    (dir, folder)
}

async fn read_all(log: &CommandLog, from: Offsets, follow: Follow) -> Seen {
    drain(&mut log.reader(from, follow), from).await
}

/// Reads to the end; every item goes on where the one before ended.
async fn drain(reader: &mut LogReader, mut at: Offsets) -> Seen {
    let mut seen = Seen::default();
    while let Some(item) = reader.next().await.unwrap() {
        assert_eq!(seen.exit, None, "nothing follows the end");
        match item {
            LogItem::Output { output, offset, bytes } => {
                assert_eq!(offset, at.get(output));
                assert!(!bytes.is_empty());
                *at.get_mut(output) += bytes.len() as u64;
                seen.of(output).extend_from_slice(&bytes);
            }
            LogItem::Dropped { output, bytes } => {
                *at.get_mut(output) += bytes;
                *seen.dropped.get_mut(output) += bytes;
            }
            LogItem::Ended(exit) => seen.exit = Some(exit),
        }
    }
    assert_eq!(reader.next().await.unwrap(), None, "the end stays the end");
    seen
}

impl Seen {
    fn of(&mut self, output: Output) -> &mut Vec<u8> {
        match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        }
    }
}

/// Bytes that are different at every offset of either stream.
fn bytes_at(output: Output, offset: u64, len: usize) -> Vec<u8> {
    let salt = if output == OUT { 0 } else { 77 };
    let byte = |n: u64| u8::try_from((n.wrapping_mul(0x9E37_79B9) >> 13).wrapping_add(salt) & 0xFF);
    (offset..offset + len as u64).map(|n| byte(n).unwrap()).collect()
}

/// Appends the next `len` bytes of a stream.
async fn append(writer: &mut LogWriter, output: Output, len: usize) {
    let bytes = bytes_at(output, writer.offsets().get(output), len);
    writer.append([(output, &bytes[..])]).await.unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
