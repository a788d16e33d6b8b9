//! A segment: one file of a log.
//!
//! ```text
//! magic u32 | version u32 | index u64 | stdout u64 | stderr u64 | crc u32 | records
//! ```
//!
//! `stdout` and `stderr` are how many bytes of each came before this segment.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut};

use super::Offsets;

pub(super) const HEADER_LEN: usize = 36;

const MAGIC: u32 = u32::from_le_bytes(*b"FHL1");
const VERSION: u32 = 1;

/// What is known of a segment without reading its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) index: u64,
    /// Bytes of each stream before it.
    pub(super) start: Offsets,
    /// Length of the file as far as it is written.
    pub(super) len: u64,
}

/// What a file's header says.
pub(super) enum Header {
    Whole { index: u64, start: Offsets },
    Damaged,
    OtherVersion,
}

pub(super) fn path(folder: &Path, index: u64) -> PathBuf {
    folder.join(format!("{index:04}.log"))
}

/// The index that a file's name gives, if it is a segment's.
pub(super) fn index_of(name: &str) -> Option<u64> {
    let index = name.strip_suffix(".log")?.parse().ok()?;
    (format!("{index:04}.log") == name).then_some(index)
}

pub(super) fn header(index: u64, start: Offsets) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.put_u32_le(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u64_le(index);
    out.put_u64_le(start.stdout);
    out.put_u64_le(start.stderr);
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out
}

pub(super) fn read_header(file: &mut File) -> io::Result<Header> {
    let mut bytes = [0; HEADER_LEN];
    match file.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Header::Damaged),
        Err(error) => return Err(error),
    }
    let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
    let mut head = &bytes[..];
    let magic = head.get_u32_le();
    let version = head.get_u32_le();
    let index = head.get_u64_le();
    let start = Offsets { stdout: head.get_u64_le(), stderr: head.get_u64_le() };
    Ok(if magic != MAGIC || head.get_u32_le() != crc {
        Header::Damaged
    } else if version != VERSION {
        Header::OtherVersion
    } else {
        Header::Whole { index, start }
    })
}

/// A new segment with its first records, or nothing at all.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    if let Err(error) = file.write_all_at(bytes, 0) {
        drop(std::fs::remove_file(path));
        return Err(error);
    }
    Ok(file)
}

/// Writes at the end `at`, or nothing at all.
pub(super) fn append(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let written = file.write_all_at(bytes, at);
    if written.is_err() {
        // What cannot be cut off now is cut off when the log is opened again.
        drop(file.set_len(at));
    }
    written
}

/// Up to `len` bytes from `at` on; all of them are there.
pub(super) fn read_at(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
