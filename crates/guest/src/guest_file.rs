//! Files that belong to the guest: it may have put anything in their place, a FIFO nobody writes to
//! or a text without end, and the agent may not wait for it.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// More of a file is not read.
const READ_MAX: u64 = 1 << 20;

/// The text of a file; empty if it cannot be read. Bytes that are no text spoil their line alone.
pub(crate) fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let file = never_waiting().read(true).open(path);
    if file.and_then(|file| file.take(READ_MAX).read_to_end(&mut bytes)).is_err() {
        bytes.clear();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn never_waiting() -> OpenOptions {
    let mut options = File::options();
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

#[cfg(test)]
mod tests;
