//! A tree of files with all that is odd, through GNU tar and our writer onto a mounted disk, and
//! compared with the kernel as the judge on both ends.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use ::tar::EntryType;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, makedev,
    mknodat, setxattr, utimensat,
};
use sha2::{Digest, Sha256};

use super::*;

/// File capabilities, revision 2: `cap_net_raw+ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ACL_FILE: &str = "with-acl";

/// As the kernel's interface has it: owner rw-, user 1234 r--, group r--, mask r--, others ---.
fn access_list() -> Vec<u8> {
    let entry = |tag: u16, rights: u16, id: u32| {
        [tag.to_le_bytes().as_slice(), &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let nobody = u32::MAX;
    [
        2_u32.to_le_bytes().to_vec(),
        entry(0x01, 6, nobody),
        entry(0x02, 4, 1234),
        entry(0x04, 4, nobody),
        entry(0x10, 4, nobody),
        entry(0x20, 0, nobody),
    ]
    .concat()
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(crate) fn make_source(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::write(at("setuid"), "s").unwrap();
    chown(at("setuid"), Some(33), Some(4_000_000_000)).unwrap();
    fs::set_permissions(at("setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(at("setuid"), at("also-setuid")).unwrap();
    fs::write(at("capable"), vec![7; 5000]).unwrap();
    setxattr(at("capable"), "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
    setxattr(at("capable"), "user.small", b"value", XattrFlags::empty()).unwrap();
    setxattr(at("capable"), "user.large", &[b'l'; 2000], XattrFlags::empty()).unwrap();
    setxattr(at("capable"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    fs::write(at(ACL_FILE), "acl").unwrap();
    setxattr(at(ACL_FILE), "system.posix_acl_access", &access_list(), XattrFlags::empty()).unwrap();
    for (name, kind, device) in [
        ("char", FileType::CharacterDevice, makedev(4, 300)),
        ("block", FileType::BlockDevice, makedev(254, 17)),
        ("fifo", FileType::Fifo, 0),
    ] {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o620), device).unwrap();
    }
    symlink("a", at("short-link")).unwrap();
    symlink("/".repeat(300), at("long-link")).unwrap();
    lchown(at("long-link"), Some(5), Some(6)).unwrap();
    fs::hard_link(at("long-link"), at("second-long-link")).unwrap();
    let deep = root.join("d".repeat(255)).join("é".repeat(120)).join("e".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("in the deep\n"), "x").unwrap();
    fs::create_dir(at("many")).unwrap();
    for index in 0..3000 {
        fs::write(at(&format!("many/{index}-and-more-of-a-name")), index.to_string()).unwrap();
    }
    for (name, seconds, nanoseconds) in
        [("before", -1_000_000_000, 250_000_000), ("after", 10_000_000_000, 999_999_999)]
    {
        fs::write(at(name), "").unwrap();
        set_time(&at(name), seconds, nanoseconds);
    }
    fs::write(at("big"), (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())
        .unwrap();
    fs::create_dir(at("sticky")).unwrap();
    fs::set_permissions(at("sticky"), fs::Permissions::from_mode(0o3777)).unwrap();
    set_time(root, 1_234_567_890, 5);
}

/// All that a program can see of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    size: u64,
    pub(crate) mtime: (i64, i64),
    /// For a directory both file systems count in their own way.
    links: Option<u64>,
    first_name: PathBuf,
    target: Option<PathBuf>,
    content: Option<[u8; 32]>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    let mut paths = Vec::new();
    while let Some(path) = todo.pop() {
        if fs::symlink_metadata(root.join(&path)).unwrap().is_dir() {
            let items = fs::read_dir(root.join(&path)).unwrap();
            let names = items.map(|item| path.join(item.unwrap().file_name()));
            todo.extend(names.filter(|name| name.as_os_str() != "lost+found"));
        }
        paths.push(path);
    }
    paths.sort();
    for path in paths {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let kind = meta.file_type();
        let first_name = first_names.entry(meta.ino()).or_insert_with(|| path.clone()).clone();
        let facts = Facts {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            device: meta.rdev(),
            size: if kind.is_dir() { 0 } else { meta.size() },
            mtime: (meta.mtime(), meta.mtime_nsec()),
            links: (!kind.is_dir()).then(|| meta.nlink()),
            first_name,
            target: kind.is_symlink().then(|| fs::read_link(&full).unwrap()),
            content: kind.is_file().then(|| Sha256::digest(fs::read(&full).unwrap()).into()),
            xattrs: xattrs(&full),
        };
        found.insert(path, facts);
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let len = llistxattr(path, names.as_mut_slice()).unwrap();
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found = BTreeMap::new();
    for name in names {
        let mut value = vec![0; 65_536];
        let len = lgetxattr(path, CString::new(name).unwrap(), value.as_mut_slice()).unwrap();
        value.truncate(len);
        found.insert(String::from_utf8(name.to_vec()).unwrap(), value);
    }
    found
}

pub(crate) fn can_mount() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists()
}

/// A disk mounted read-only, until dropped.
pub(crate) struct Mounted(tempfile::TempDir);

impl Mounted {
    pub(crate) fn new(disk: &Path) -> Self {
        Self::with("loop,ro", disk)
    }

    pub(crate) fn writable(disk: &Path) -> Self {
        Self::with("loop,rw", disk)
    }

    /// Writes all of it out, and nothing more.
    pub(crate) fn end_writing(&self) {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    fn with(options: &str, disk: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "ext4", "-o", options];
        let output =
            Command::new("mount").args(options).arg(disk).arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a child that another test has just forked may still hold what was open here.
        let status = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

pub(crate) fn gnu_tar(source: &Path, format: &str) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args([&format!("--format={format}"), "--numeric-owner", "-C"]).arg(source);
    if format == "pax" {
        command.args(["--xattrs", "--xattrs-include=*"]);
    }
    let output = command.args(["-c", "-f", "-", "."]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
fn a_mounted_disk_is_what_went_into_the_tar() {
    if !can_mount() {
        eprintln!("skipped: mounting needs root and loop devices");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o1751)).unwrap();
    make_source(&source);

    let mut tree = read(&gnu_tar(&source, "pax")).unwrap();
    // GNU tar has access lists in a form of its own; others have them as they are.
    let mut with_acl = Stream::default();
    let meta = fs::metadata(source.join(ACL_FILE)).unwrap();
    let mtime = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
    with_acl
        .pax(&[
            ("SCHILY.xattr.system.posix_acl_access", &access_list()),
            ("mtime", mtime.as_bytes()),
        ])
        .add_with(EntryType::Regular, ACL_FILE, b"acl", |header| header.set_mode(meta.mode()));
    lay(with_acl.end().as_slice(), &mut tree).unwrap();
    assert_eq!(on_disk(&tree, &folder.path().join("pax")), facts(&source));

    // GNU's own form has neither attributes nor parts of seconds.
    let tree = read(&gnu_tar(&source, "gnu")).unwrap();
    let mut expected = facts(&source);
    for facts in expected.values_mut() {
        facts.xattrs.clear();
        facts.mtime.1 = 0;
    }
    assert_eq!(on_disk(&tree, &folder.path().join("gnu")), expected);
}

fn on_disk(tree: &Tree, disk: &Path) -> BTreeMap<PathBuf, Facts> {
    write(tree, disk);
    let mounted = Mounted::new(disk);
    assert!(mounted.0.path().join("lost+found").as_os_str().as_bytes().len() > 10);
    facts(mounted.0.path())
}
