//! The first file system of a guest: the agent as `/init`, and the modules that reach its disks.
//!
//! ```text
//! /init                      the agent
//! /modules/load              one file name a line, in the order of loading
//! /modules/virtio_blk.ko.xz  …
//! /dev/console, and empty /dev /proc /sys /run /newroot
//! ```
//!
//! The archive is cpio's `newc` form, not compressed: the kernel copies it, and a compressed one
//! costs boot time. Its size is a multiple of [`PAGE_BYTES`].

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::kernel::Kernel;

/// QEMU's `microvm` loads the archive so that it ends in the last page of memory, where the ACPI
/// tables are; only one of whole pages ends before that page. Any other overwrites the tables, and
/// the kernel hangs as it reads them.
pub const PAGE_BYTES: usize = 4096;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_000;
const FOLDERS: [&str; 6] = ["dev", "proc", "sys", "run", "newroot", "modules"];
/// Character device 5, 1.
const CONSOLE: (u32, u32) = (5, 1);

#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    #[error("could not read the module {path}")]
    Module { path: PathBuf, source: io::Error },
    #[error("{name} is too large for an initramfs")]
    TooLarge { name: String },
}

/// The same agent and kernel give the same bytes.
pub fn build(agent: &[u8], kernel: &Kernel) -> Result<Vec<u8>, InitramfsError> {
    let mut modules = Vec::new();
    for path in kernel.boot_modules() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let content = fs::read(&path).map_err(|source| InitramfsError::Module { path, source })?;
        modules.push((name, content));
    }
    archive(agent, &modules)
}

fn archive(agent: &[u8], modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>, InitramfsError> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, DIRECTORY | 0o755, (0, 0), b"")?;
    }
    archive.add("dev/console", CHAR_DEVICE | 0o600, CONSOLE, b"")?;
    archive.add("init", FILE | 0o755, (0, 0), agent)?;
    let mut order = String::new();
    for (name, content) in modules {
        archive.add(&format!("modules/{name}"), FILE | 0o644, (0, 0), content)?;
        order.push_str(name);
        order.push('\n');
    }
    archive.add("modules/load", FILE | 0o644, (0, 0), order.as_bytes())?;
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(
        &mut self,
        name: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> Result<(), InitramfsError> {
        let too_large = |_| InitramfsError::TooLarge { name: name.to_owned() };
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        self.entries += 1;
        let links = if mode & DIRECTORY == 0 { 1 } else { 2 };
        let (inode, owner, group, time) = (self.entries, 0, 0, 0);
        let (file_system, checksum) = (0, 0);
        let fields = [
            inode,
            mode,
            owner,
            group,
            links,
            time,
            size,
            file_system,
            file_system,
            device.0,
            device.1,
            name_size,
            checksum,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad(4);
        self.bytes.extend_from_slice(content);
        self.pad(4);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, InitramfsError> {
        self.entries = 0;
        self.add("TRAILER!!!", 0, (0, 0), b"")?;
        self.pad(PAGE_BYTES);
        Ok(self.bytes)
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

#[cfg(test)]
mod tests;
