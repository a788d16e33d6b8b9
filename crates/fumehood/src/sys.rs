//! What needs the kernel and `unsafe`.
#![expect(unsafe_code, reason = "descriptors that nobody in this process owns yet")]

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

/// Gives up everything inherited that could hold another process back: the terminal and session of
/// whoever started us, and descriptors beyond stdin, stdout and stderr, such as the pipe of a
/// script that waits for its end.
///
/// Call it first, with one thread and nothing opened.
pub(crate) fn detach() -> io::Result<()> {
    let descriptors = Path::new("/proc/self/fd");
    let listed: Vec<i32> = fs::read_dir(descriptors)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in listed {
        // The listing's own is closed by now.
        let is_open = descriptors.join(descriptor.to_string()).symlink_metadata().is_ok();
        if descriptor > 2 && is_open {
            // SAFETY: it was inherited, since we opened nothing, so nothing in this process owns it.
            unsafe { rustix::io::close(descriptor) };
        }
    }
    rustix::process::setsid()?;
    // Started as /proc/self/exe, it would be listed as `exe`.
    rustix::thread::set_name(c"fumehood")?;
    Ok(())
}

/// Takes a descriptor that whoever started us left open for us under this number, so that nothing
/// started from here has it.
///
/// Call it once for a number, before anything is opened.
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    let is_open = Path::new("/proc/self/fd").join(number.to_string()).symlink_metadata().is_ok();
    if number <= 2 || !is_open {
        return Err(io::Error::other(format!("descriptor {number} was not handed over")));
    }
    // SAFETY: it is open and was inherited, so nothing in this process owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
}
