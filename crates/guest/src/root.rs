//! The machine's root file system: found by its disk's serial, mounted, moved into.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use protocol::{Refusal, RefusalCode};
use rustix::{
    fs::{Mode, OFlags, open},
    mount::{MountFlags, UnmountFlags, mount, mount_move, mount_remount, unmount},
};

use crate::{
    boot::{self, say},
    refusal::refuse,
    sys,
};

const NEW_ROOT: &str = "/newroot";
const MODULES: &str = "/lib/modules";

/// How far the root file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// The initramfs.
    Absent,
    ReadOnly,
    Writable,
}

/// Why it did not get further.
#[derive(Debug, thiserror::Error)]
enum RootError {
    #[error("no disk has the serial {0}")]
    NoDisk(&'static str),
    #[error("{what}")]
    Step { what: &'static str, source: io::Error },
    #[error("the kernel's file systems")]
    Kernel(#[from] boot::BootError),
}

impl Root {
    /// Mounts the root read-only, so that programs can be run from it and nothing is written.
    pub(crate) fn read_only(&mut self) -> Result<(), Refusal> {
        if *self == Self::Absent {
            mount_root(MountFlags::RDONLY).map_err(|error| refuse_root(&error))?;
            mount_modules();
            *self = Self::ReadOnly;
        }
        Ok(())
    }

    /// Makes the root writable, mounting it if it is not there yet.
    pub(crate) fn writable(&mut self) -> Result<(), Refusal> {
        let result = match self {
            Self::Absent => mount_root(MountFlags::empty()),
            Self::ReadOnly => step(
                "remount the root writable",
                mount_remount("/", MountFlags::NOATIME, c"").map_err(io::Error::from),
            ),
            Self::Writable => Ok(()),
        };
        result.map_err(|error| refuse_root(&error))?;
        *self = Self::Writable;
        mount_modules();
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

fn mount_root(access: MountFlags) -> Result<(), RootError> {
    let disk = disk("root").ok_or(RootError::NoDisk("root"))?;
    // A template has seen another disk here.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let device = step("open the disk", open(&disk, flags, Mode::empty()).map_err(Into::into))?;
    step("flush the disk's cache", sys::flush_block_cache(&device))?;
    drop(device);
    step("make the mount point", fs::create_dir_all(NEW_ROOT))?;
    let flags = access | MountFlags::NOATIME;
    step("mount the disk", mount(&disk, NEW_ROOT, c"ext4", flags, c"").map_err(Into::into))?;
    boot::mount_kernel_file_systems(NEW_ROOT)?;
    step("enter the root", enter().map_err(Into::into))
}

fn enter() -> rustix::io::Result<()> {
    rustix::process::chdir(NEW_ROOT)?;
    mount_move(c".", c"/")?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// The kernel's modules, where `modprobe` looks for them. A guest can do without.
fn mount_modules() {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let target = Path::new(MODULES).join(&release);
    if target.join("modules.dep").exists() {
        return;
    }
    let Some(disk) = disk("modules") else { return };
    let mounted = (|| -> io::Result<()> {
        // While the root is read-only the folder is there or not.
        let _is_there = fs::create_dir_all(MODULES).is_ok();
        let safe = MountFlags::NOSUID | MountFlags::NODEV;
        mount(c"tmpfs", MODULES, c"tmpfs", safe, c"mode=755,size=64k")?;
        fs::create_dir(&target)?;
        mount(&disk, &target, c"ext4", safe | MountFlags::RDONLY, c"noload")?;
        Ok(())
    })();
    if let Err(error) = mounted {
        say(&format!("kernel modules: {error}"));
    }
}

/// The device of the disk with this serial.
fn disk(serial: &str) -> Option<PathBuf> {
    let disks = fs::read_dir("/sys/block").ok()?;
    let is_it = |disk: &fs::DirEntry| {
        let found = fs::read_to_string(disk.path().join("serial")).unwrap_or_default();
        found.trim_end() == serial
    };
    let disk = disks.filter_map(Result::ok).find(is_it)?;
    Some(Path::new("/dev").join(disk.file_name()))
}
