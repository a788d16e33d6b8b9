//! The memory of another process. `/proc/PID/mem` gives it page by page by way of one of the kernel's own:
//! for runs of pages this takes 0.6 of the time, for single ones a third.

use std::{io, ops::Range, ptr};

/// What the kernel takes at once, of pieces,
const PIECES_MAX: usize = 1024;
/// and of bytes 2 GiB: so many pieces of this size are half of that.
pub(crate) const PIECE_BYTES_MAX: usize = 1 << 20;

/// A stretch of another process's memory, at most [`PIECE_BYTES_MAX`] long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) address: u64,
    pub(crate) bytes: usize,
}

/// Reads these pieces, one behind the other: all of them or an error. A pid says no more than a number
/// does: who reads makes sure afterwards that it still is the same process.
pub(crate) fn read(pid: u32, pieces: &[Piece], mut into: &mut [u8]) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    for pieces in pieces.chunks(PIECES_MAX) {
        let theirs: Vec<_> = pieces.iter().map(Piece::there).collect();
        let total = pieces.iter().map(|piece| piece.bytes).sum();
        let (now, rest) = into.split_at_mut_checked(total).ok_or(io::ErrorKind::InvalidInput)?;
        let ours = libc::iovec { iov_base: now.as_mut_ptr().cast(), iov_len: total };
        let (ours, count) = (&raw const ours, theirs.len() as u64);
        // SAFETY: it writes into `now` alone, which is as long as it is told; the other addresses are
        // looked up in the other process.
        let read = unsafe { libc::process_vm_readv(pid, ours, 1, theirs.as_ptr(), count, 0) };
        match usize::try_from(read) {
            Ok(read) if read == total => into = rest,
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

/// The addresses of a line of a process's maps, which begins with them: `start-end`, and a blank.
pub(crate) fn addresses(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(hex(start)?..hex(end)?)
}

impl Piece {
    /// As the kernel is told. Nothing is at an address that is none.
    fn there(&self) -> libc::iovec {
        let address = usize::try_from(self.address).unwrap_or(0);
        libc::iovec { iov_base: ptr::without_provenance_mut(address), iov_len: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_one_behind_the_other() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3000 * 16).collect();
        let address = bytes.as_ptr().addr() as u64;
        // More than the kernel takes at once.
        let pieces: Vec<_> = (0..1500)
            .map(|n| Piece {
                address: address + n * 32,
                bytes: 1 + usize::try_from(n % 16).unwrap(),
            })
            .collect();
        let expected: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| {
                let start = usize::try_from(piece.address - address).unwrap();
                bytes[start..start + piece.bytes].to_vec()
            })
            .collect();
        let mut read_bytes = vec![0; expected.len()];
        read(std::process::id(), &pieces, &mut read_bytes).unwrap();
        assert_eq!(read_bytes, expected);
        read(std::process::id(), &[], &mut []).unwrap();
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let mut into = [0; 16];
        let nowhere = Piece { address: 8, bytes: 16 };
        assert!(read(std::process::id(), &[nowhere], &mut into).is_err());
        let bytes = [7; 16];
        let here = Piece { address: bytes.as_ptr().addr() as u64, bytes: 16 };
        assert!(read(std::process::id(), &[here, nowhere], &mut [0; 32]).is_err());
        assert!(read(std::process::id(), &[here, here], &mut into).is_err(), "no room");
    }
}
