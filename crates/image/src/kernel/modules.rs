//! The kernel's modules: their index, the few for the initramfs, and the disk with all of them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::disk::ext4::{self, ContentDigest, Layout, WriteError};
use crate::disk::tar::{self, TarError};
use crate::disk::tree::{Limits, Time, Tree};
use crate::program::{DEPMOD, ProgramError, TAR};

/// What reaches the root disk and the network; what they need in turn is found in the index.
const BOOT_MODULES: [&str; 2] = ["virtio_blk", "virtio_net"];
/// The folders that packages have the modules in, new and old.
const MODULES_FOLDERS: [&str; 2] = ["usr/lib/modules", "lib/modules"];

const DISK_LABEL: &str = "modules";
const DISK_STEP_BYTES: u64 = 4 << 20;
/// The smallest journal that ext4 allows: nobody ever writes to this disk.
const JOURNAL_BLOCKS: u32 = 1024;
const BLOCK_BYTES: u64 = 4096;
/// Group descriptors, reserved inodes, `lost+found`.
const SLACK_BYTES: u64 = 8 << 20;
const SLACK_INODES: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    #[error("the package has no modules, or those of several releases")]
    NotOneRelease,
    #[error("the module {name} is neither in the index nor built in")]
    NoModule { name: String },
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("could not read the modules back")]
    Tar(#[from] TarError),
    #[error("could not write the modules disk")]
    Disk(#[from] WriteError),
}

/// The modules of an unpacked kernel package.
#[derive(Debug)]
pub(super) struct Modules<'a> {
    package: &'a Path,
    folder: PathBuf,
    release: String,
}

impl<'a> Modules<'a> {
    pub(super) fn find(package: &'a Path) -> Result<Self, ModulesError> {
        let mut found = MODULES_FOLDERS.into_iter().filter(|name| package.join(name).is_dir());
        let folder = package.join(found.next().ok_or(ModulesError::NotOneRelease)?);
        let items = fs::read_dir(&folder).map_err(fault("list", &folder))?;
        let names: Vec<_> =
            items.filter_map(|item| item.ok()?.file_name().into_string().ok()).collect();
        match names.as_slice() {
            [release] => {
                Ok(Self { package, folder: folder.join(release), release: release.clone() })
            }
            _ => Err(ModulesError::NotOneRelease),
        }
    }

    pub(super) fn release(&self) -> &str {
        &self.release
    }

    /// Makes the index that `modprobe` reads. Debian makes it when the package is installed.
    pub(super) fn index(&self) -> Result<(), ModulesError> {
        // Which of the two folders depmod looks in depends on its version: let it find both.
        let old = self.package.join("lib");
        let new = self.package.join("usr/lib");
        if !old.exists() {
            symlink("usr/lib", &old).map_err(fault("link", &old))?;
        } else if !new.exists() {
            let parent = self.package.join("usr");
            fs::create_dir_all(&parent).map_err(fault("make", &parent))?;
            symlink("../lib", &new).map_err(fault("link", &new))?;
        }
        let package = self.package.as_os_str();
        DEPMOD.run(self.package, ["-b".as_ref(), package, self.release.as_ref()])?;
        Ok(())
    }

    /// Puts what the initramfs needs into the new folder `target`; gives the order of loading.
    pub(super) fn copy_boot_modules(&self, target: &Path) -> Result<Vec<String>, ModulesError> {
        let read = |name: &str| {
            let path = self.folder.join(name);
            fs::read_to_string(&path).map_err(fault("read", &path))
        };
        let paths = load_order(&read("modules.dep")?, &read("modules.builtin")?, &BOOT_MODULES)?;
        fs::create_dir(target).map_err(fault("make", target))?;
        let mut names = Vec::new();
        for path in paths {
            let (_, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let from = self.folder.join(&path);
            fs::copy(&from, target.join(name)).map_err(fault("copy", &from))?;
            names.push(name.to_owned());
        }
        Ok(names)
    }

    /// Writes `modules.ext4` into `target`.
    pub(super) fn write_disk(&self, target: &Path) -> Result<ContentDigest, ModulesError> {
        let spool = tempfile::tempfile_in(target).map_err(fault("make a file in", target))?;
        let mut tree = Tree::new(spool, Limits::default());
        // Nothing of who unpacked it, and how careful they are with their files, may show.
        let flags = [
            "--sort=name",
            "--mode=u=rwX,go=rX",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--format=pax",
        ];
        let prepare = |command: &mut std::process::Command| {
            command.current_dir(&self.folder).args(flags).args(["-c", "-f", "-", "."]);
        };
        TAR.stream(
            prepare,
            |_| {},
            |stdout| tar::lay(stdout, &mut tree).map_err(ModulesError::from),
        )?;
        let package = fs::metadata(self.package).map_err(fault("look at", self.package))?;
        tree.settle_times(Time { seconds: package.ctime(), nanoseconds: 0 });
        let layout = Layout {
            label: DISK_LABEL,
            size_bytes: disk_bytes(tree.content_bytes(), tree.inodes() as u64),
            journal_blocks: JOURNAL_BLOCKS,
            inodes: u32::try_from(tree.inodes() + SLACK_INODES).unwrap_or(u32::MAX),
        };
        Ok(ext4::write(&tree, &target.join("modules.ext4"), layout)?)
    }
}

/// Enough for every file to end in a half-filled block, and for the file system's own needs.
fn disk_bytes(content_bytes: u64, inodes: u64) -> u64 {
    let journal = u64::from(JOURNAL_BLOCKS) * BLOCK_BYTES;
    // A tenth for what grows with the size: bitmaps, copies of the superblock, the reserve.
    let used = content_bytes + content_bytes / 10 + inodes * 2 * BLOCK_BYTES;
    (used + journal + SLACK_BYTES).next_multiple_of(DISK_STEP_BYTES)
}

/// Paths of the modules with all that they need, each after what it needs.
///
/// A line of `modules.dep` is `MODULE: NEEDED…`, complete, and the last needed is the first to load.
fn load_order(index: &str, builtin: &str, wanted: &[&str]) -> Result<Vec<String>, ModulesError> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        let mut lines = index.lines().filter_map(|line| line.split_once(':'));
        let Some((module, needed)) = lines.find(|(module, _)| module_name(module) == *name) else {
            if builtin.lines().any(|module| module_name(module) == *name) {
                continue;
            }
            return Err(ModulesError::NoModule { name: (*name).to_owned() });
        };
        for path in needed.split_whitespace().rev().chain([module]) {
            if seen.insert(path) {
                order.push(path.to_owned());
            }
        }
    }
    Ok(order)
}

/// `virtio_blk` of `kernel/drivers/block/virtio-blk.ko.xz`.
fn module_name(path: &str) -> String {
    let (_, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (name, _) = file.split_once(".ko").unwrap_or((file, ""));
    name.replace('-', "_")
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ModulesError {
    let path = path.to_owned();
    move |source| ModulesError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "kernel/drivers/block/virtio_blk.ko.xz:\n\
        kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz \
        kernel/net/core/failover.ko.xz\n\
        kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz\n";

    #[test]
    fn what_is_needed_loads_first_and_once() {
        let order = load_order(INDEX, "", &["virtio_blk", "virtio_net", "net_failover"]).unwrap();
        let names: Vec<_> = order.iter().map(|path| module_name(path)).collect();
        assert_eq!(names, ["virtio_blk", "failover", "net_failover", "virtio_net"]);
    }

    #[test]
    fn built_in_needs_no_loading_and_missing_is_an_error() {
        let builtin = "kernel/drivers/virtio/virtio-pci.ko\n";
        assert!(load_order(INDEX, builtin, &["virtio_pci"]).unwrap().is_empty());
        let error = load_order(INDEX, builtin, &["virtio_gpu"]).unwrap_err();
        assert!(matches!(error, ModulesError::NoModule { name } if name == "virtio_gpu"));
    }
}
