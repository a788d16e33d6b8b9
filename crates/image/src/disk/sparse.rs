//! Files with holes, in the four forms that GNU tar has had for them.
//!
//! The oldest has its map in the header and in blocks behind it; PAX has it in records (0.0 and 0.1)
//! or before the content (1.0). All become a list of pieces between which there are zeros.

use std::io::{self, Read};

use super::tar::BLOCK_BYTES;

/// A megabyte of 1.0's map has some hundred thousand.
const PIECES_MAX: usize = 1 << 19;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// What is there of a file, in order and apart from one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    pieces: Vec<Piece>,
    /// With the holes.
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    offset: u64,
    len: u64,
}

#[derive(Debug)]
pub(super) enum SparseFault {
    Read(io::Error),
    /// The map is none.
    Map,
    Version,
}

impl From<io::Error> for SparseFault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Map {
    fn new(pieces: Vec<Piece>, bytes: u64) -> Result<Self, SparseFault> {
        let mut end = 0;
        for Piece { offset, len } in &pieces {
            if *offset < end {
                return Err(SparseFault::Map);
            }
            end = offset.checked_add(*len).ok_or(SparseFault::Map)?;
        }
        if end > bytes { Err(SparseFault::Map) } else { Ok(Self { pieces, bytes }) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Without the holes.
    pub(super) fn stored(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// The whole file out of what is stored of it.
    pub(super) fn expand<'a, R: Read>(&'a self, source: &'a mut R) -> impl Read + 'a {
        Expanded { map: self, source, next: 0, at: 0 }
    }

    /// Of the oldest form: its map begins in the header and goes on in blocks of the stream.
    pub(super) fn of_header(
        block: &[u8; BLOCK_BYTES],
        number: impl Fn(&[u8]) -> Option<u64>,
        source: &mut impl Read,
    ) -> Result<Self, SparseFault> {
        let mut pieces = Vec::new();
        let bytes = number(&block[483..495]).ok_or(SparseFault::Map)?;
        add(&mut pieces, &block[386..482], &number)?;
        let mut goes_on = block[482] != 0;
        let mut further = [0; BLOCK_BYTES];
        while goes_on {
            source.read_exact(&mut further)?;
            add(&mut pieces, &further[..504], &number)?;
            goes_on = further[504] != 0;
        }
        Self::new(pieces, bytes)
    }
}

/// The pieces of one block, up to an empty place.
fn add(
    pieces: &mut Vec<Piece>,
    places: &[u8],
    number: impl Fn(&[u8]) -> Option<u64>,
) -> Result<(), SparseFault> {
    for place in places.as_chunks::<24>().0 {
        if place[0] == 0 {
            return Ok(());
        }
        let (offset, len) = (number(&place[..12]), number(&place[12..]));
        let (Some(offset), Some(len)) = (offset, len) else { return Err(SparseFault::Map) };
        if pieces.len() == PIECES_MAX {
            return Err(SparseFault::Map);
        }
        pieces.push(Piece { offset, len });
    }
    Ok(())
}

/// What PAX records have said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    major: Option<u64>,
    minor: Option<u64>,
    bytes: Option<u64>,
    pieces: Vec<Piece>,
    offset: Option<u64>,
}

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `key` is without its prefix `GNU.sparse.`; nothing for a value that it cannot have.
    pub(super) fn set(&mut self, key: &str, value: &[u8]) -> Option<()> {
        let text = str::from_utf8(value).ok()?;
        let number = || text.parse::<u64>().ok();
        match key {
            "major" => self.major = Some(number()?),
            "minor" => self.minor = Some(number()?),
            "size" | "realsize" => self.bytes = Some(number()?),
            "offset" => self.offset = Some(number()?),
            "numbytes" => {
                let offset = self.offset.take()?;
                self.pieces.push(Piece { offset, len: number()? });
            }
            "map" => {
                let numbers: Option<Vec<u64>> = match text {
                    "" => Some(Vec::new()),
                    text => text.split(',').map(|word| word.parse().ok()).collect(),
                };
                self.pieces = paired(&numbers?)?;
            }
            // How many pieces there are is seen from the pieces.
            _ => {}
        }
        Some(())
    }

    /// The map, and how much of the `stored` bytes of the entry it took.
    pub(super) fn map(
        self,
        source: &mut impl Read,
        stored: u64,
    ) -> Result<(Map, u64), SparseFault> {
        let bytes = self.bytes.ok_or(SparseFault::Map)?;
        match (self.major, self.minor) {
            (None | Some(0), _) => Ok((Map::new(self.pieces, bytes)?, 0)),
            (Some(1), Some(0)) => {
                let (numbers, taken) = leading_numbers(source, stored)?;
                let pieces = paired(&numbers).ok_or(SparseFault::Map)?;
                Ok((Map::new(pieces, bytes)?, taken))
            }
            (Some(_), _) => Err(SparseFault::Version),
        }
    }
}

fn paired(numbers: &[u64]) -> Option<Vec<Piece>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    let pieces = pairs.iter().map(|[offset, len]| Piece { offset: *offset, len: *len });
    rest.is_empty().then(|| pieces.collect())
}

/// Lines of decimal numbers at the start of the content, the first saying how many pairs follow, up
/// to the end of a block.
fn leading_numbers(source: &mut impl Read, stored: u64) -> Result<(Vec<u64>, u64), SparseFault> {
    let mut numbers = Vec::new();
    let mut wanted = None;
    let mut line: Option<u64> = None;
    let mut block = [0; BLOCK_BYTES];
    let mut taken = 0;
    while taken + BLOCK <= stored {
        source.read_exact(&mut block)?;
        taken += BLOCK;
        for byte in block {
            match (byte, line) {
                (b'0'..=b'9', _) => {
                    let tens = line.unwrap_or(0).checked_mul(10);
                    let sum = tens.and_then(|tens| tens.checked_add(u64::from(byte - b'0')));
                    line = Some(sum.ok_or(SparseFault::Map)?);
                }
                (b'\n', Some(number)) if wanted.is_none() => {
                    let pairs = usize::try_from(number).ok().filter(|pairs| *pairs <= PIECES_MAX);
                    wanted = Some(2 * pairs.ok_or(SparseFault::Map)?);
                    line = None;
                }
                (b'\n', Some(number)) => {
                    numbers.push(number);
                    line = None;
                }
                _ => return Err(SparseFault::Map),
            }
            if wanted == Some(numbers.len()) {
                return Ok((numbers, taken));
            }
        }
    }
    Err(SparseFault::Map)
}

struct Expanded<'a, R> {
    map: &'a Map,
    source: &'a mut R,
    /// The piece that is being read or comes next.
    next: usize,
    at: u64,
}

impl<R: Read> Read for Expanded<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(buf.len());
        loop {
            let piece = self.map.pieces.get(self.next);
            let hole_end = piece.map_or(self.map.bytes, |piece| piece.offset);
            if self.at < hole_end {
                let len = room(hole_end - self.at);
                buf[..len].fill(0);
                self.at += len as u64;
                return Ok(len);
            }
            let Some(Piece { offset, len }) = piece else { return Ok(0) };
            let left = offset + len - self.at;
            if left == 0 {
                self.next += 1;
                continue;
            }
            let len = room(left);
            let got = self.source.read(&mut buf[..len])?;
            self.at += got as u64;
            return Ok(got);
        }
    }
}
