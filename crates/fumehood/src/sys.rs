//! What needs the kernel and `unsafe`.
#![expect(unsafe_code, reason = "closing descriptors that nobody in this process owns")]

use std::fs;
use std::io;

/// Gives up everything inherited that could hold another process back: the terminal and session of
/// whoever started us, and descriptors beyond stdin, stdout and stderr, such as the pipe of a
/// script that waits for its end.
///
/// Call it first, with one thread and nothing opened.
pub(crate) fn detach() -> io::Result<()> {
    let inherited: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in inherited {
        // SAFETY: nothing in this process owns it: we opened nothing yet, and the folder that was
        // read above is closed, which makes its own number an unused one here.
        unsafe { rustix::io::close(descriptor) };
    }
    rustix::process::setsid()?;
    Ok(())
}
