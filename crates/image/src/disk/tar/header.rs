//! One 512-byte tar header.

use super::super::tree::Time;
use super::{BLOCK_BYTES, whole_seconds};

pub(super) const FILE: u8 = b'0';
pub(super) const HARD_LINK: u8 = b'1';
pub(super) const SYMLINK: u8 = b'2';
pub(super) const CHAR_DEVICE: u8 = b'3';
pub(super) const BLOCK_DEVICE: u8 = b'4';
pub(super) const DIRECTORY: u8 = b'5';
pub(super) const FIFO: u8 = b'6';
pub(super) const GNU_SPARSE: u8 = b'S';

/// What follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    PaxLocal,
    PaxGlobal,
    LongPath,
    LongLink,
    /// An entry of the tree, of the kind that the byte says.
    Content(u8),
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: EntryKind,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) device: (u32, u32),
}

/// The name of the field that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeaderFault(pub(super) &'static str);

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self, HeaderFault> {
        if number(&block[148..156]) != Some(checksum(block)) {
            return Err(HeaderFault("checksum"));
        }
        let kind = match block[156] {
            b'x' => EntryKind::PaxLocal,
            b'g' => EntryKind::PaxGlobal,
            b'L' => EntryKind::LongPath,
            b'K' => EntryKind::LongLink,
            // Old archives have a zero; `7` is a file that was contiguous on some systems.
            0 | b'7' => EntryKind::Content(FILE),
            other => EntryKind::Content(other),
        };
        let is_device = matches!(kind, EntryKind::Content(CHAR_DEVICE | BLOCK_DEVICE));
        let device = if is_device {
            (field(block, 329..337, "device")?, field(block, 337..345, "device")?)
        } else {
            (0, 0)
        };
        let mode: u64 = field(block, 100..108, "mode")?;
        Ok(Self {
            kind,
            path: path(block),
            link: text(&block[157..257]).to_vec(),
            mode: u16::try_from(mode & 0o7777).or(Err(HeaderFault("mode")))?,
            uid: field(block, 108..116, "uid")?,
            gid: field(block, 116..124, "gid")?,
            size: field(block, 124..136, "size")?,
            mtime: whole_seconds(field(block, 136..148, "mtime")?),
            device,
        })
    }
}

/// The sum of all bytes, those of the sum itself taken as blanks.
fn checksum(block: &[u8; BLOCK_BYTES]) -> i64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
    sum(&block[..148]) + 8 * i64::from(b' ') + sum(&block[156..])
}

fn path(block: &[u8; BLOCK_BYTES]) -> Vec<u8> {
    let name = text(&block[..100]);
    // GNU has other things where POSIX has the prefix.
    let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500]) } else { b"" };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn field<T: TryFrom<i64>>(
    block: &[u8; BLOCK_BYTES],
    at: std::ops::Range<usize>,
    name: &'static str,
) -> Result<T, HeaderFault> {
    let number = number(&block[at]).ok_or(HeaderFault(name))?;
    T::try_from(number).or(Err(HeaderFault(name)))
}

/// One that is not negative.
pub(super) fn size(field: &[u8]) -> Option<u64> {
    u64::try_from(number(field)?).ok()
}

/// Octal digits, or GNU's big-endian two's complement behind a set top bit. Blank is zero.
fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Of the first byte one bit is the mark and the next one is the sign.
        let start = if first & 0x40 != 0 { -1 } else { 0 };
        let head = (start << 6) | i64::from(first & 0x3f);
        return rest
            .iter()
            .try_fold(head, |sum, byte| Some(sum.checked_mul(256)? | i64::from(*byte)));
    }
    let text = text(field).trim_ascii();
    text.iter().try_fold(0_i64, |sum, byte| match byte {
        b'0'..=b'7' => Some(sum.checked_mul(8)? + i64::from(byte - b'0')),
        _ => None,
    })
}
