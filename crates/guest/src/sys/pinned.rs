//! Memory whose pages stay where they are.

use std::{io, mem, ptr, slice};

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

/// Makes it, for good. A pipe holds on to its pages, and nobody can move what somebody holds on to; no child
/// gets them, so none of them is copied for one.
pub(crate) fn pinned(len: usize) -> io::Result<&'static mut [u8]> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which touches nothing that is there.
    let start = unsafe { libc::mmap(ptr::null_mut(), len + LARGE, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start: *mut u8 = start.cast();
    let start = start.wrapping_add(start.align_offset(LARGE));
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_DONTFORK] {
        // SAFETY: it is within the mapping. A kernel without large pages says so, and goes on.
        let _is_taken = unsafe { libc::madvise(start.cast(), len, advice) };
    }
    // SAFETY: within the mapping, of zeros, and nobody else's; it is never taken away.
    let bytes = unsafe { slice::from_raw_parts_mut(start, len) };
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
