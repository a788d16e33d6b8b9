//! The machine's root file system: found by its disk's serial, mounted, moved into.

use std::{
    ffi::CStr,
    fs, io,
    path::{Path, PathBuf},
};

use protocol::{Refusal, RefusalCode};
use rustix::{
    fd::OwnedFd,
    fs::{CWD, Mode, OFlags, open},
    mount::{
        MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_move, mount_remount,
        move_mount, open_tree, unmount,
    },
};

use crate::{boot::say, refusal::refuse, sys};

const NEW_ROOT: &str = "/newroot";
const MODULES: &str = "/lib/modules";
/// Without these, a root that can be written gets a thread that reads the block bitmaps of all groups and
/// clears inode tables. A sandbox writes to few groups and starts often; see docs/decisions/0024.
const OPTIONS: &CStr = c"no_prefetch_block_bitmaps,noinit_itable";

/// The root file system, and what is to be mounted in it.
#[derive(Debug)]
pub(crate) struct Root {
    state: State,
    /// The kernel's modules, until they have their place.
    modules: Option<OwnedFd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The initramfs.
    Absent,
    /// The file system can be written, and its mount cannot: programs change nothing, and to let them takes
    /// a flag. To make a file system writable is work that each clone would do again; see
    /// docs/decisions/0026.
    Guarded,
    Writable,
}

/// What the kernel's file systems are mounted on.
const FOLDERS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Why it did not get further.
#[derive(Debug, thiserror::Error)]
enum RootError {
    #[error("no disk has the serial {0}")]
    NoDisk(&'static str),
    #[error("the root has no folder {0}")]
    NoFolder(&'static str),
    #[error("{what}")]
    Step { what: &'static str, source: io::Error },
}

impl Root {
    /// What can be done before there is a root.
    pub(crate) fn prepare() -> Self {
        let modules = prepare_modules().unwrap_or_else(|error| {
            say(&format!("kernel modules: {error}"));
            None
        });
        Self { state: State::Absent, modules }
    }

    /// Has programs that run from the root write nothing to it.
    pub(crate) fn guard(&mut self) -> Result<(), Refusal> {
        if self.state == State::Writable {
            set_access(MountFlags::RDONLY).map_err(|error| refuse_root(&error))?;
            self.state = State::Guarded;
        }
        Ok(())
    }

    /// Makes the root writable, mounting it if it is not there yet.
    pub(crate) fn writable(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Absent => self.mount()?,
            State::Guarded => {
                set_access(MountFlags::empty()).map_err(|error| refuse_root(&error))?;
            }
            State::Writable => {}
        }
        self.state = State::Writable;
        Ok(())
    }

    fn mount(&mut self) -> Result<(), Refusal> {
        mount_root().map_err(|error| refuse_root(&error))?;
        if let Some(modules) = self.modules.take()
            && let Err(error) = place_modules(&modules)
        {
            say(&format!("kernel modules: {error}"));
        }
        Ok(())
    }

    /// A `/tmp` in memory, for as long as the root cannot be written.
    pub(crate) fn mount_tmp() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        if let Err(error) = mount(c"tmpfs", c"/tmp", c"tmpfs", flags, c"mode=1777") {
            say(&format!("/tmp: {error}"));
        }
    }

    pub(crate) fn unmount_tmp() {
        if let Err(error) = unmount(c"/tmp", UnmountFlags::DETACH) {
            say(&format!("/tmp: {error}"));
        }
    }
}

fn refuse_root(error: &RootError) -> Refusal {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    refuse(RefusalCode::Io, message)
}

fn step<T>(what: &'static str, result: io::Result<T>) -> Result<T, RootError> {
    result.map_err(|source| RootError::Step { what, source })
}

/// Says whether programs can write to the root, of which the file system knows nothing.
fn set_access(access: MountFlags) -> Result<(), RootError> {
    let flags = MountFlags::BIND | MountFlags::NOATIME | access;
    step("set the root's access", mount_remount(c"/", flags, c"").map_err(Into::into))
}

/// Puts the kernel's modules where `modprobe` looks for them. A guest can do without.
fn place_modules(modules: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    fs::create_dir_all(MODULES)?;
    Ok(move_mount(modules, c"", CWD, MODULES, flags)?)
}

fn mount_root() -> Result<(), RootError> {
    let disk = disk("root").ok_or(RootError::NoDisk("root"))?;
    // A template has seen another disk here.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let device = step("open the disk", open(&disk, flags, Mode::empty()).map_err(Into::into))?;
    step("flush the disk's cache", sys::flush_block_cache(&device))?;
    drop(device);
    step("make the mount point", fs::create_dir_all(NEW_ROOT))?;
    let mounted = mount(&disk, NEW_ROOT, c"ext4", MountFlags::NOATIME, OPTIONS);
    step("mount the disk", mounted.map_err(Into::into))?;
    for tree in FOLDERS {
        let target = format!("{NEW_ROOT}{tree}");
        // It is there already, or cannot be made.
        let _is_there = fs::create_dir(&target).is_ok();
        if !Path::new(&target).is_dir() {
            step("unmount the disk", unmount(NEW_ROOT, UnmountFlags::empty()).map_err(Into::into))?;
            return Err(RootError::NoFolder(tree));
        }
    }
    for tree in FOLDERS {
        let target = format!("{NEW_ROOT}{tree}");
        step("move the kernel's file systems", mount_move(tree, target).map_err(Into::into))?;
    }
    step("enter the root", enter().map_err(Into::into))
}

fn enter() -> rustix::io::Result<()> {
    rustix::process::chdir(NEW_ROOT)?;
    mount_move(c".", c"/")?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// A folder in memory that holds the modules' disk under the name of the running kernel, mounted
/// nowhere yet.
fn prepare_modules() -> io::Result<Option<OwnedFd>> {
    const FOLDER: &str = "/kernel-modules";
    let Some(disk) = disk("modules") else { return Ok(None) };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    fs::create_dir_all(FOLDER)?;
    mount(c"tmpfs", FOLDER, c"tmpfs", safe, c"mode=755,size=64k")?;
    let target = Path::new(FOLDER).join(release);
    fs::create_dir(&target)?;
    mount(&disk, &target, c"ext4", safe | MountFlags::RDONLY, c"noload")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, FOLDER, flags)?;
    unmount(FOLDER, UnmountFlags::DETACH)?;
    Ok(Some(tree))
}

/// The device of the disk with this serial.
pub(crate) fn disk(serial: &str) -> Option<PathBuf> {
    let disks = fs::read_dir("/sys/block").ok()?;
    let is_it = |disk: &fs::DirEntry| {
        let found = fs::read_to_string(disk.path().join("serial")).unwrap_or_default();
        found.trim_end() == serial
    };
    let disk = disks.filter_map(Result::ok).find(is_it)?;
    Some(Path::new("/dev").join(disk.file_name()))
}
