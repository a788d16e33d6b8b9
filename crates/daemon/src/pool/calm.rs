//! Whether the host has something to spare for machines that nobody has asked for yet.

use std::path::Path;

use crate::limits::Host;

/// A quarter of the memory and of a modest disk is left alone.
const SHARE: u64 = 4;
const DISK_MIB: u64 = 4096;

pub(super) fn has_room(folder: &Path) -> bool {
    Host::now(folder).is_ok_and(leaves_enough)
}

fn leaves_enough(host: Host) -> bool {
    host.memory_mib / SHARE < host.available_mib && DISK_MIB < host.disk_free_mib
}

/// Whether a processor has nothing to do.
pub(super) fn is_idle() -> bool {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    running().is_some_and(|running| running <= processors)
}

/// How many threads run or are about to, this one among them.
fn running() -> Option<usize> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("procs_running ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_keeps_a_quarter_for_itself() {
        let host = Host {
            memory_mib: 8000,
            available_mib: 2001,
            disk_free_mib: 4097,
            processors: 2,
            open_files: 1024,
        };
        assert!(leaves_enough(host));
        assert!(!leaves_enough(Host { available_mib: 2000, ..host }));
        assert!(!leaves_enough(Host { disk_free_mib: 4096, ..host }));
        assert!(running().unwrap() >= 1);
    }
}
