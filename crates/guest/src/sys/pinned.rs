//! Memory in large pages, and memory whose pages stay where they are.

use std::{
    io, mem,
    ptr::{self, NonNull},
    slice,
};

use rustix::{
    fd::AsRawFd,
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
};

use super::check;

pub(crate) const PAGE: usize = 4096;
/// Where so many bytes begin at a multiple of themselves, the kernel has one page for them, if it has one.
const LARGE: usize = 2 << 20;
/// What a pipe can hold by the kernel's default.
const PIPE_MAX: usize = 1 << 20;

/// Memory of zeros in large pages, where the kernel has some, until it is dropped. No child gets it, so none of it
/// is copied for one.
#[derive(Debug)]
pub(crate) struct Large {
    mapping: NonNull<u8>,
    mapped: usize,
    /// Where its bytes begin in the mapping.
    start: usize,
}

impl Large {
    /// As many bytes, or more, up to the end of a large page.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(LARGE);
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let mapped = len + LARGE;
        // SAFETY: a new mapping, which touches nothing that is there.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), mapped, protection, flags, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(mapping.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let start = mapping.as_ptr().align_offset(LARGE).min(LARGE);
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_DONTFORK] {
            let bytes = mapping.as_ptr().wrapping_add(start);
            // SAFETY: it is within the mapping. A kernel without large pages says so, and goes on.
            let _is_taken = unsafe { libc::madvise(bytes.cast(), len, advice) };
        }
        Ok(Self { mapping, mapped, start })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let bytes = self.mapping.as_ptr().wrapping_add(self.start);
        // SAFETY: within the mapping, which is nobody else's, and there as long as this is.
        unsafe { slice::from_raw_parts_mut(bytes, self.mapped - LARGE) }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference to it any more.
        let _is_gone = unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapped) };
    }
}

/// Makes it, for good. A pipe holds on to its pages, and nobody can move what somebody holds on to.
pub(crate) fn pinned(len: usize) -> io::Result<&'static mut [u8]> {
    let bytes = &mut Box::leak(Box::new(Large::new(len)?)).bytes()[..len];
    // A page is there once it was written.
    bytes.fill(0);
    bytes.chunks(PIPE_MAX).try_for_each(hold)?;
    Ok(bytes)
}

fn hold(bytes: &[u8]) -> io::Result<()> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&writer, bytes.len())?;
    let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let writer_fd = writer.as_raw_fd();
    // SAFETY: the pipe refers to the pages, which are never taken away; nobody reads it.
    let held = unsafe { libc::vmsplice(writer_fd, &raw const piece, 1, libc::SPLICE_F_NONBLOCK) };
    if usize::try_from(held) != Ok(bytes.len()) {
        check(i32::try_from(held).unwrap_or(-1))?;
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // For good.
    mem::forget((reader, writer));
    Ok(())
}
