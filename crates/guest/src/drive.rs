//! Drives: disks of a user's that are mounted beneath the root.
//!
//! What is on one was written by another guest, so it brings no devices and no set-user-ID programs,
//! and a file system that turns out to be damaged becomes read-only.

use std::{io, path::Path};

use protocol::{Access, Mount, Refusal, RefusalCode};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Gid, Uid, chownat, unlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};

use crate::{
    accounts::Account,
    refusal::{refuse, refuse_errno, refuse_io},
    root,
    tree::Tree,
};

/// Mounts the disk where it is wanted; before any program of the user's runs.
pub(crate) fn mount(wanted: &Mount, user: &Account) -> Result<(), Refusal> {
    let Some(device) = root::disk(&wanted.serial) else {
        let text = format!("no disk has the serial {}", wanted.serial);
        return Err(refuse(RefusalCode::NotFound, text));
    };
    let folder = folder(&wanted.path).map_err(|error| refuse_folder(&error, &wanted.path))?;
    let mounted = open(&device, wanted.access)
        .map_err(|errno| refuse_errno(errno, "the drive's file system cannot be mounted"))?;
    if wanted.access == Access::New {
        give(&mounted, user)
            .map_err(|errno| refuse_errno(errno, "giving the drive to its user"))?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mounted, c"", &folder, c"", flags)
        .map_err(|errno| refuse_errno(errno, &wanted.path))
}

/// The folder to mount on, made if it is missing.
fn folder(path: &str) -> io::Result<OwnedFd> {
    let path = path.trim_matches('/');
    let tree = Tree::open(Path::new("/"))?;
    if !tree.has_folder(path) {
        tree.make_folder(path)?;
    }
    tree.open_folder(path)
}

fn refuse_folder(error: &io::Error, path: &str) -> Refusal {
    match Errno::from_io_error(error) {
        Some(Errno::XDEV) => {
            let text = format!("{path}: a drive is mounted on the root file system alone");
            refuse(RefusalCode::Invalid, text)
        }
        _ => refuse_io(error, path),
    }
}

/// The file system, mounted nowhere yet.
fn open(device: &Path, access: Access) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"source", device)?;
    fsconfig_set_string(context.as_fd(), c"errors", c"remount-ro")?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    match access {
        Access::ReadOnly => {
            // The disk itself can be written: a journal that was left full is played back.
            fsconfig_set_flag(context.as_fd(), c"ro")?;
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        // What is deleted takes no space on the host any more.
        Access::Writable | Access::New => fsconfig_set_flag(context.as_fd(), c"discard")?,
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A new file system is its user's, and empty.
fn give(mounted: &OwnedFd, user: &Account) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    chownat(mounted, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    match unlinkat(mounted, c"lost+found", AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
