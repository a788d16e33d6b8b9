//! Who has filled the disk can see that, and make room again.

use std::{
    ffi::CStr,
    fs::{self, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::hood::{Hood, wait_until};

const MIB: u64 = 1 << 20;
const FULL: &str = "the host's disk is full";

/// A file system of its own under a state folder.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// None where that is not allowed.
    #[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
    fn mount(folder: &Path, options: &CStr) -> Option<Self> {
        match mount("none", folder, "tmpfs", MountFlags::empty(), options) {
            Ok(()) => Some(Self { folder: folder.to_owned() }),
            Err(error) => {
                eprintln!("skipped: a file system cannot be mounted: {error}");
                None
            }
        }
    }

    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.folder).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves so much free.
    fn leave(&self, bytes: u64) {
        let filler = OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        let len = filler.metadata().unwrap().len() + self.free() - bytes;
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
    }

    /// Leaves nothing.
    fn fill(&self) {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        let chunk = vec![1; 64 << 10];
        let error = (0..).find_map(|_| filler.write_all(&chunk).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Processes may be left in it, which end with the hood.
        unmount(&self.folder, UnmountFlags::DETACH).unwrap();
    }
}

/// It becomes full under a server that sees it, and under none; those that come later find no room at all.
#[test]
fn who_has_filled_the_disk_sees_it_and_makes_room() {
    let hood = Hood::new();
    let Some(disk) = SmallDisk::mount(hood.state(), c"size=1300m,mode=700") else { return };
    let create = || hood.create(&["--memory", "512"]);
    let write = "echo begun; head -c 300000000 /dev/zero | tr '\\0' '\\252' > x; sync; sleep 1000";

    let seen = create();
    disk.leave(96 * MIB);
    let mut child = hood.spawn(&["exec", &seen, "--", "sh", "-c", write]);
    wait_until("its command is over", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(245), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(FULL), "{output:?}");
    wait_until("it has ended", || hood.end_reason(&seen).as_deref() == Some(FULL));

    fs::remove_file(disk.filler()).unwrap();
    // One that was there before would have ended too, if its kernel wrote anything meanwhile.
    let unseen = create();
    disk.leave(96 * MIB);
    let mut child = hood.spawn(&["exec", &unseen, "--", "sh", "-c", write]);
    let begun = child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]);
    assert!(begun.is_ok(), "{:?}", child.wait_with_output());
    child.kill().unwrap();
    child.wait().unwrap();
    hood.kill_server();
    wait_until("the disk is full", || disk.free() < MIB);
    disk.fill();
    wait_until("it has ended", || hood.end_reason(&unseen).as_deref() == Some(FULL));
    assert!(hood.machines().is_empty());

    disk.fill();
    hood.kill_server();
    disk.fill();
    assert_eq!(hood.end_reason(&seen).as_deref(), Some(FULL));
    for args in [&["create"][..], &["exec", &seen, "--", "true"]] {
        let ran = hood.run(args);
        assert_eq!(ran.code, Some(243), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("0 MiB of disk are free"), "{args:?}: {ran:?}");
    }
    disk.fill();
    hood.ok(&["rm", "-f", &seen]);
    assert!(64 * MIB < disk.free(), "{}", disk.free());
    hood.ok(&["rm", "-f", &unseen]);
    let ballast = || fs::metadata(hood.state().join("store.ballast")).unwrap().len();
    wait_until("room is kept again", || ballast() == 8 * MIB);
    fs::remove_file(disk.filler()).unwrap();
    assert_eq!(hood.ok(&["run", "--", "echo", "on"]), "on");
    hood.assert_nothing_left();
}

/// Nothing can be kept for what has never run.
#[test]
fn a_server_that_has_no_room_to_begin_says_so() {
    let hood = Hood::new();
    let Some(disk) = SmallDisk::mount(hood.state(), c"size=256k,mode=700") else { return };
    disk.fill();
    let ran = hood.run(&["ls"]);
    assert_eq!(ran.code, Some(243), "{ran:?}");
    assert!(ran.stderr.contains("is full: make room there"), "{ran:?}");
    fs::remove_file(disk.filler()).unwrap();
    hood.ok(&["ls"]);
}

/// Neither its own words nor those of what it is made of end a server or keep it from starting.
#[test]
fn a_server_whose_log_takes_nothing_serves() {
    let hood = Hood::new();
    symlink("/dev/full", hood.state().join("server.log")).unwrap();
    assert_eq!(hood.ok(&["run", "--", "echo", "on"]), "on");
    assert_eq!(hood.servers().len(), 1);
    hood.stop_server();

    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut server = hood.command(["serve"]).stderr(full).spawn().unwrap();
    wait_until("it listens", || {
        assert!(server.try_wait().unwrap().is_none(), "it has ended");
        hood.state().join("api.sock").exists()
    });
    assert_eq!(hood.ok(&["run", "--", "echo", "on"]), "on");
    assert!(server.try_wait().unwrap().is_none());
    hood.stop_server();
    server.wait().unwrap();
}
