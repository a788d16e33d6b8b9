//! Reading a tar stream, a header at a time: ustar, GNU and PAX. Memory is bounded whatever comes.

use std::io::{self, ErrorKind, Read};

use tar::Header;

use super::pipe::Pieces;

const BLOCK: usize = 512;
/// Longest long name or set of PAX records.
const EXTENSION_MAX: u64 = 1 << 20;
const NAME_MAX: usize = 4096;

/// What is wrong with an archive, in words.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
    #[error("the archive holds {0}")]
    NotSupported(String),
    #[error("the archive stopped coming")]
    Io(#[from] io::Error),
}

/// An entry; its content, if it has any, is read next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it is in the archive.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// With its target.
    Link(Vec<u8>),
    /// With the name of another entry.
    HardLink(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Archive<R> {
    source: R,
    /// Bytes of the present entry's content that are not read.
    left: u64,
    /// Zeros behind it.
    padding: u64,
}

/// What extension headers say about the entry behind them.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<i64>,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0 }
    }

    /// The next entry; what was not read of the one before is passed over. Behind the last one the
    /// source is read to its end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        let mut is_extended = false;
        loop {
            self.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                if is_extended {
                    return Err(ArchiveError::Damaged("it ends before an entry"));
                }
                io::copy(&mut self.source, &mut io::sink())?;
                return Ok(None);
            };
            let old = header.as_old();
            let size = number(&old.size).and_then(|size| u64::try_from(size).ok());
            self.begin_content(size.ok_or(ArchiveError::Damaged("a size that is no number"))?);
            let kind = header.entry_type();
            if kind.is_gnu_longname() {
                extensions.name = Some(self.long_name()?);
            } else if kind.is_gnu_longlink() {
                extensions.link = Some(self.long_name()?);
            } else if kind.is_pax_local_extensions() {
                extensions.read(&self.extension()?)?;
            } else if !kind.is_pax_global_extensions() {
                return self.entry(&header, extensions).map(Some);
            }
            is_extended |= !kind.is_pax_global_extensions();
        }
    }

    /// How many bytes the present entry's content has left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn begin_content(&mut self, size: u64) {
        self.left = size;
        self.padding = padding(size);
    }

    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut block = [0; BLOCK];
        if !self.fill(&mut block)? || block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        let field: u32 = header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum();
        // The field itself counts as spaces.
        let expected = sum - field + 8 * u32::from(b' ');
        if number(&header.as_old().cksum) != Some(i64::from(expected)) {
            return Err(ArchiveError::Damaged("a header has a wrong sum"));
        }
        Ok(Some(header))
    }

    /// Fills the block. False if the source has ended before it.
    fn fill(&mut self, block: &mut [u8]) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(ArchiveError::Damaged("it ends in a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn skip(&mut self, count: u64) -> Result<(), ArchiveError> {
        let skipped = io::copy(&mut (&mut self.source).take(count), &mut io::sink())?;
        if skipped < count {
            return Err(ArchiveError::Damaged("it ends in an entry"));
        }
        Ok(())
    }

    fn extension(&mut self) -> Result<Vec<u8>, ArchiveError> {
        if self.left > EXTENSION_MAX {
            return Err(ArchiveError::Damaged("an extension header is too long"));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn long_name(&mut self) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.extension()?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, ArchiveError> {
        let old = header.as_old();
        let name = extensions.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.link.or_else(|| header.link_name_bytes().map(Into::into));
        let link = link.unwrap_or_default();
        if name.len() > NAME_MAX || link.len() > NAME_MAX {
            return Err(ArchiveError::Damaged("a name is too long"));
        }
        if name.contains(&0) || link.contains(&0) {
            return Err(ArchiveError::Damaged("a name holds a zero byte"));
        }
        let kind = match header.entry_type().as_byte() {
            // Before there was a type for folders.
            0 | b'0' if name.ends_with(b"/") => Kind::Folder,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Link(link),
            b'5' => Kind::Folder,
            other => {
                let (name, other) = (String::from_utf8_lossy(&name), char::from(other));
                let what = format!("an entry of a kind that is not taken ({other:?}): {name}");
                return Err(ArchiveError::NotSupported(what));
            }
        };
        match kind {
            Kind::File => self.begin_content(extensions.size.unwrap_or(self.left)),
            // These have no content, whatever the size says.
            Kind::Folder | Kind::Link(_) | Kind::HardLink(_) => {
                self.begin_content(0);
            }
        }
        let small = |field: &[u8]| number(field).and_then(|number| u32::try_from(number).ok());
        let damaged = ArchiveError::Damaged("an owner or mode that is no number");
        let (Some(uid), Some(gid), Some(mode)) = (
            extensions.uid.or_else(|| small(&old.uid)),
            extensions.gid.or_else(|| small(&old.gid)),
            small(&old.mode),
        ) else {
            return Err(damaged);
        };
        let mtime = extensions.mtime.or_else(|| number(&old.mtime)).unwrap_or(0);
        Ok(Entry { name, kind, mode: mode & 0o7777, uid, gid, mtime })
    }
}

/// Reads the present entry's content.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl<R: Pieces> Archive<R> {
    /// What there is of the present entry's content, where it is; at least something if any is left.
    pub(super) fn pieces(&mut self) -> io::Result<Vec<&[u8]>> {
        let mut left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut pieces = self.source.pieces()?;
        if pieces.is_empty() && left > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        pieces.retain_mut(|piece| {
            let len = piece.len().min(left);
            left -= len;
            *piece = &piece[..len];
            len > 0
        });
        Ok(pieces)
    }

    /// The first `count` of these bytes are read.
    pub(super) fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.source.consume(count);
    }
}

impl Extensions {
    /// PAX records: `LENGTH KEY=VALUE\n`, the length counting all of it.
    fn read(&mut self, mut records: &[u8]) -> Result<(), ArchiveError> {
        while !records.is_empty() {
            let damaged = || ArchiveError::Damaged("a PAX record is not of its form");
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(damaged)?;
            let len: usize =
                text(&records[..space]).and_then(|n| n.parse().ok()).ok_or_else(damaged)?;
            let record = records.get(space + 1..len).ok_or_else(damaged)?;
            let record = record.strip_suffix(b"\n").ok_or_else(damaged)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(damaged)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key.starts_with(b"GNU.sparse.") {
                return Err(ArchiveError::NotSupported("a sparse file".into()));
            }
            self.set(key, value).ok_or_else(damaged)?;
            records = &records[len..];
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.name = Some(value.to_owned()),
            b"linkpath" => self.link = Some(value.to_owned()),
            b"size" => self.size = Some(text(value)?.parse().ok()?),
            b"uid" => self.uid = Some(text(value)?.parse().ok()?),
            b"gid" => self.gid = Some(text(value)?.parse().ok()?),
            // Whole seconds are enough.
            b"mtime" => self.mtime = Some(text(value)?.split('.').next()?.parse().ok()?),
            _ => {}
        }
        Some(())
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// What content of so many bytes is filled up with, to whole blocks.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// A number: octal text, or big-endian behind a set first bit.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        let digits = text(field)?.trim_matches([' ', '\0']);
        let digits = digits.split(['\0', ' ']).next()?;
        return if digits.is_empty() { Some(0) } else { i64::from_str_radix(digits, 8).ok() };
    }
    // The second bit is the sign.
    let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(first) - 256 };
    let value = field[1..].iter().try_fold(start, |value, byte| {
        let value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
        i64::try_from(value).is_ok().then_some(value)
    })?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests;
