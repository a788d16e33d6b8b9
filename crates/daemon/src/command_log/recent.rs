//! What was written last, in memory: who follows a command need not read it from the file.

use std::collections::VecDeque;

use bytes::Bytes;

/// The most that is kept. A reader that is alone takes what it reads, so that it is less where nobody is behind.
const BYTES_MAX: usize = 1 << 20;
/// And in how many writes: the small ones of a command that says a letter at a time are more than their bytes.
const WRITES_MAX: usize = 64;

/// The newest writes, oldest first. Whole records, which follow one another.
#[derive(Debug, Default)]
pub(super) struct Recent {
    writes: VecDeque<Write>,
    bytes: usize,
}

#[derive(Debug)]
struct Write {
    /// Of the segment.
    index: u64,
    /// In its file.
    at: u64,
    bytes: Bytes,
}

impl Recent {
    pub(super) fn push(&mut self, index: u64, at: u64, bytes: Bytes) {
        self.bytes += bytes.len();
        self.writes.push_back(Write { index, at, bytes });
        while BYTES_MAX < self.bytes || WRITES_MAX < self.writes.len() {
            self.pop();
        }
    }

    /// From there to the end of what was written with it.
    pub(super) fn get(&self, index: u64, at: u64) -> Option<Bytes> {
        self.writes.iter().find_map(|write| write.from(index, at))
    }

    /// As [`Self::get`], and neither it nor what came before it is kept any longer.
    pub(super) fn take(&mut self, index: u64, at: u64) -> Option<Bytes> {
        let found = self.get(index, at)?;
        while let Some(write) = self.pop() {
            if write.from(index, at).is_some() {
                break;
            }
        }
        Some(found)
    }

    fn pop(&mut self) -> Option<Write> {
        let write = self.writes.pop_front()?;
        self.bytes -= write.bytes.len();
        Some(write)
    }
}

impl Write {
    fn from(&self, index: u64, at: u64) -> Option<Bytes> {
        let skip = usize::try_from(at.checked_sub(self.at)?).ok()?;
        (self.index == index && skip < self.bytes.len()).then(|| self.bytes.slice(skip..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_may_be_nor_by_whom_it_was_taken() {
        let mut recent = Recent::default();
        let piece = Bytes::from(vec![7; BYTES_MAX / 4]);
        for n in 0..6 {
            recent.push(1, n * piece.len() as u64, piece.clone());
        }
        assert_eq!((recent.writes.len(), recent.bytes), (4, BYTES_MAX));
        assert_eq!(recent.get(1, 0), None);
        assert_eq!(recent.get(0, 4 * piece.len() as u64), None);
        let at = 4 * piece.len() as u64 + 5;
        assert_eq!(recent.get(1, at), Some(piece.slice(5..)));
        assert_eq!(recent.take(1, at), Some(piece.slice(5..)));
        assert_eq!((recent.writes.len(), recent.bytes), (1, piece.len()));
        recent.push(2, 36, Bytes::from(vec![7; BYTES_MAX + 1]));
        assert_eq!((recent.writes.len(), recent.bytes), (0, 0));
        for at in 0..100 {
            recent.push(2, at, Bytes::from_static(b"a"));
        }
        assert_eq!((recent.writes.len(), recent.bytes), (WRITES_MAX, WRITES_MAX));
        assert_eq!(recent.get(2, 99), Some(Bytes::from_static(b"a")));
    }
}
