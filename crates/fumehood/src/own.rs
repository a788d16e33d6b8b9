//! Which build this is.

use std::os::unix::fs::MetadataExt;

use api::Version;

/// The running binary, also after another one took its place in the file system.
pub(crate) const EXECUTABLE: &str = "/proc/self/exe";

/// Version and build of this binary, as a server tells them and a command line compares them.
pub(crate) fn version() -> Version {
    let build = std::fs::metadata(EXECUTABLE).map_or(0, |meta| {
        let seconds = u64::try_from(meta.mtime()).unwrap_or(0);
        let nanos = u64::try_from(meta.mtime_nsec()).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    });
    Version { version: env!("CARGO_PKG_VERSION").to_owned(), build, api: api::API }
}
