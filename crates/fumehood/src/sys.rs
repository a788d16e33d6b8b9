//! What needs the kernel and `unsafe`.
#![expect(unsafe_code, reason = "closing descriptors that nobody in this process owns")]

use std::fs;
use std::io;
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
