//! Disks that the kernel has written on, as layers; and hostile ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, removexattr, setxattr};

use super::*;
use crate::disk::ext4::{self, Layout};
use crate::disk::tar::{lay_layer, tree_from_tar};
use crate::disk::tests::mounted::{Facts, Mounted, can_mount, facts, gnu_tar, make_source};

mod hostile;

const LAYOUT: Layout<'static> =
    Layout { label: "test", size_bytes: 64 << 20, journal_blocks: 1024, inodes: 16_384 };
const CLUSTER: usize = 64 << 10;

/// What one disk has and the other has not, as a qcow2 file on top of the other.
fn overlay(base: &[u8], now: &[u8]) -> File {
    let count = now.len() / CLUSTER;
    let table_bytes = (count * 8).next_multiple_of(CLUSTER);
    let tables = table_bytes / CLUSTER;
    let mut header = vec![0; CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &(now.len() as u64).to_be_bytes());
    put(36, &u32::try_from(tables).unwrap().to_be_bytes());
    put(40, &(CLUSTER as u64).to_be_bytes());
    let mut first = vec![0; CLUSTER];
    for table in 0..tables {
        let at = ((2 + table) * CLUSTER) as u64;
        first[table * 8..table * 8 + 8].copy_from_slice(&(1 << 63 | at).to_be_bytes());
    }
    let (mut second, mut data) = (Vec::new(), Vec::new());
    for index in 0..count {
        let of = |disk: &[u8]| disk[index * CLUSTER..(index + 1) * CLUSTER].to_vec();
        let entry = match of(now) {
            same if same == of(base) => 0,
            zeros if zeros == [0; CLUSTER] => 1,
            other => {
                let at = (2 + tables) * CLUSTER + data.len();
                data.extend(other);
                1 << 63 | at as u64
            }
        };
        second.extend(entry.to_be_bytes());
    }
    second.resize(table_bytes, 0);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[header, first, second, data].concat()).unwrap();
    file
}

fn volume(layers: Vec<File>, base: &Path) -> Volume {
    Volume::open(Stack::new(layers, File::open(base).unwrap()).unwrap()).unwrap()
}

/// A disk with all that is odd, and the stream that it was made of.
fn make_base(folder: &Path) -> (PathBuf, Vec<u8>) {
    let source = folder.join("source");
    fs::create_dir(&source).unwrap();
    make_source(&source);
    for folder in ["emptied/below", "gone/below", "becomes-file", "etc/ssl/certs"] {
        fs::create_dir_all(source.join(folder)).unwrap();
        fs::write(source.join(folder).join("old"), folder).unwrap();
    }
    for file in ["becomes-folder", "becomes-link", "etc/hosts", "renamed", "grows", "holed"] {
        fs::write(source.join(file), file.repeat(5000)).unwrap();
    }
    fs::write(source.join("etc/ssl/certs/ca-certificates.crt"), "theirs\n").unwrap();
    let stream = gnu_tar(&source, "pax");
    let disk = folder.join("base");
    write_disk(&stream, &[], &disk);
    (disk, stream)
}

fn write_disk(stream: &[u8], layer: &[u8], disk: &Path) {
    let spool = tempfile::tempfile().unwrap();
    let mut tree = tree_from_tar(stream, spool, Limits::default()).unwrap();
    if !layer.is_empty() {
        lay_layer(layer, &mut tree).unwrap();
    }
    ext4::write(&tree, disk, LAYOUT).unwrap();
    crate::disk::tests::check(disk);
}

/// All that can happen to a file.
fn change(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::remove_dir_all(at("gone")).unwrap();
    fs::remove_dir_all(at("emptied/below")).unwrap();
    fs::remove_file(at("fifo")).unwrap();
    fs::remove_file(at("also-setuid")).unwrap();
    fs::hard_link(at("capable"), at("many/linked-now")).unwrap();
    fs::hard_link(at("capable"), at("a-capable")).unwrap();
    fs::remove_dir_all(at("becomes-file")).unwrap();
    fs::write(at("becomes-file"), "f").unwrap();
    fs::remove_file(at("becomes-folder")).unwrap();
    fs::create_dir_all(at("becomes-folder/with/more")).unwrap();
    fs::remove_file(at("becomes-link")).unwrap();
    symlink("/etc", at("becomes-link")).unwrap();
    symlink("é".repeat(200), at("long-and-not-ascii")).unwrap();
    fs::rename(at("renamed"), at("many/renamed")).unwrap();
    fs::set_permissions(at("char"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(at("before"), Some(3_000_000_000), Some(70_000)).unwrap();
    setxattr(at("after"), "user.new", b"attribute", XattrFlags::empty()).unwrap();
    setxattr(at("capable"), "user.large", &[b'm'; 1500], XattrFlags::empty()).unwrap();
    removexattr(at("capable"), "user.small").unwrap();
    // The same size, one byte in the middle, and its time put back.
    let big = File::options().write(true).open(at("big")).unwrap();
    let time = big.metadata().unwrap().modified().unwrap();
    big.write_all_at(&[0xee], 6_000_001).unwrap();
    big.set_modified(time).unwrap();
    let mut grows = File::options().append(true).open(at("grows")).unwrap();
    grows.write_all(&vec![b'g'; 100_000]).unwrap();
    let holed = File::options().write(true).open(at("holed")).unwrap();
    holed.write_all_at(b"end", 3 << 20).unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    for index in 0..8 {
        sparse.write_all_at(b"island", index * (1 << 20) + 77).unwrap();
    }
    sparse.set_len(9 << 20).unwrap();
    let reserved = File::create(at("reserved")).unwrap();
    rustix::fs::fallocate(&reserved, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).unwrap();
    let deep = root.join("n".repeat(255)).join("o".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("new in the deep"), "x").unwrap();
    fs::create_dir(at("dense")).unwrap();
    for index in 0..2000 {
        fs::write(at(&format!("dense/{index}-with-some-name-that-is-longer")), "").unwrap();
    }
    drop(UnixListener::bind(at("socket")).unwrap());
}

#[track_caller]
fn compare(found: &BTreeMap<PathBuf, Facts>, expected: &BTreeMap<PathBuf, Facts>) {
    let paths = |facts: &BTreeMap<PathBuf, Facts>| facts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(found), paths(expected));
    for (path, facts) in found {
        assert_eq!(*facts, expected[path], "{}", path.display());
    }
}

#[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
fn is_able() -> bool {
    if !can_mount() {
        eprintln!("skipped: mounting needs root and loop devices");
    }
    can_mount()
}

/// The base, its stream, the changed disk, and what is on that.
fn changed(
    folder: &Path,
    change: impl Fn(&Path),
) -> (PathBuf, Vec<u8>, File, BTreeMap<PathBuf, Facts>) {
    let (base, stream) = make_base(folder);
    let copy = folder.join("copy");
    fs::copy(&base, &copy).unwrap();
    let mounted = Mounted::writable(&copy);
    change(mounted.path());
    let expected = facts(mounted.path());
    mounted.end_writing();
    let overlay = overlay(&fs::read(&base).unwrap(), &fs::read(&copy).unwrap());
    (base, stream, overlay, expected)
}

#[test]
fn a_layer_of_all_that_was_changed_gives_it_again() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (base, stream, overlay, mut expected) = changed(folder.path(), change);
    let (before, now) = (volume(vec![], &base), volume(vec![overlay], &base));
    let own = Own::default();
    let (written, layer) = write_layer(Some((&before, &own)), &now, Vec::new()).unwrap();
    assert!(written.entries < 2200, "only what is new: {written:?}");
    assert!(layer.len() < 20 << 20, "holes take no space");
    let again = folder.path().join("again");
    write_disk(&stream, &layer, &again);
    let mounted = Mounted::new(&again);
    let mut found = facts(mounted.path());
    expected.remove(Path::new("socket")).unwrap();
    for facts in [&mut found, &mut expected] {
        // Ext4 rounds what it has no room for.
        facts.remove(Path::new("lost+found"));
    }
    compare(&found, &expected);

    // Without a base it is all that there is.
    let (_, whole) = write_layer(None, &now, Vec::new()).unwrap();
    let whole_disk = folder.path().join("whole");
    write_disk(&whole, &[], &whole_disk);
    compare(&facts(Mounted::new(&whole_disk).path()), &expected);
    let (_, same) = write_layer(None, &now, Vec::new()).unwrap();
    assert!(whole == same, "the same file system gives the same bytes");
}

/// What the agent does to a root.
fn claim(root: &Path, text: &str) {
    let at = |name: &str| root.join(name);
    for folder in ["usr/local/share/ca-certificates", "etc/sudoers.d", "lib/modules", "proc", "run"]
    {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("etc/machine-id"), "0123\n").unwrap();
    fs::write(at("etc/hosts"), "127.0.1.1 name\n").unwrap();
    fs::write(at("etc/resolv.conf"), "nameserver 198.18.0.1\n").unwrap();
    fs::write(at("etc/ssl/fumehood.pem"), text).unwrap();
    fs::write(at("etc/sudoers.d/fumehood-trust"), "Defaults\n").unwrap();
    fs::write(at("usr/local/share/ca-certificates/fumehood-1.crt"), text).unwrap();
    symlink("/usr/local/share/ca-certificates/fumehood-1.crt", at("etc/ssl/certs/fumehood-1.pem"))
        .unwrap();
    symlink("fumehood-1.pem", at("etc/ssl/certs/0a1b2c3d.0")).unwrap();
    let bundle = File::options().append(true).open(at("etc/ssl/certs/ca-certificates.crt"));
    bundle.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn what_a_claim_puts_there_is_left_out() {
    if !is_able() {
        return;
    }
    let certificate = vec![7; 300];
    let own = Own::new(vec![certificate.clone()]);
    let text = own.texts().concat();
    let layer_of = |change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let (base, _, overlay, _) = changed(folder.path(), |root| {
            claim(root, &text);
            change(root);
        });
        let (before, now) = (volume(vec![], &base), volume(vec![overlay], &base));
        write_layer(Some((&before, &own)), &now, Vec::new()).unwrap()
    };
    let (written, _) = layer_of(&|_| {});
    assert_eq!(written, Written { entries: 0, bytes: 0 }, "a claim alone changes nothing");
    let (_, layer) = layer_of(&|root| {
        fs::write(root.join("etc/new"), "n").unwrap();
        fs::create_dir_all(root.join("etc/ssl/certs/java")).unwrap();
        fs::write(root.join("etc/ssl/certs/java/cacerts"), &certificate).unwrap();
        let bundle =
            File::options().append(true).open(root.join("etc/ssl/certs/ca-certificates.crt"));
        bundle.unwrap().write_all(b"mine\n").unwrap();
        fs::create_dir(root.join("etc/ssh")).unwrap();
        fs::write(root.join("etc/ssh/ssh_host_rsa_key"), "secret").unwrap();
        fs::write(root.join("etc/ssh/sshd_config"), "x").unwrap();
    });
    let mut archive = ::tar::Archive::new(layer.as_slice());
    let entries: BTreeMap<String, String> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            io::Read::read_to_string(&mut entry, &mut text).unwrap();
            (path, text)
        })
        .collect();
    let names: Vec<&str> = entries.keys().map(String::as_str).collect();
    let expected = [
        "./",
        "etc/",
        "etc/new",
        "etc/ssh/",
        "etc/ssh/sshd_config",
        "etc/ssl/",
        "etc/ssl/certs/",
        "etc/ssl/certs/ca-certificates.crt",
        "etc/ssl/certs/java/",
    ];
    assert_eq!(names, expected);
    assert_eq!(entries["etc/ssl/certs/ca-certificates.crt"], "theirs\nmine\n");
}

#[test]
fn qemu_reads_the_same_of_a_stack() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pattern = |seed: u8| -> Vec<u8> {
        (0..4 << 20).map(|index: usize| (index / 4096).to_le_bytes()[0] ^ seed).collect()
    };
    fs::write(at("base"), pattern(1)).unwrap();
    let io = |file: &str, commands: &[&str]| {
        let mut qemu = std::process::Command::new("qemu-io");
        for command in commands {
            qemu.args(["-c", command]);
        }
        let output = qemu.arg(at(file)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let create = |file: &str, below: &str, form: &str| {
        let arguments = ["create", "-q", "-f", "qcow2", "-F", form, "-b"];
        let output = std::process::Command::new("qemu-img")
            .args(arguments)
            .arg(at(below))
            .arg(at(file))
            .output();
        assert!(output.unwrap().status.success());
    };
    create("lower", "base", "raw");
    io("lower", &["write -P 2 70000 100000", "write -z 1M 64k", "write -P 9 3M 4k"]);
    create("upper", "lower", "qcow2");
    io("upper", &["write -P 3 100000 5000", "write -z 3M 64k", "write -P 4 4190208 4096"]);
    let output = std::process::Command::new("qemu-img")
        .args(["convert", "-O", "raw"])
        .args([at("upper"), at("flat")])
        .output();
    assert!(output.unwrap().status.success());
    let open = |name: &str| File::open(at(name)).unwrap();
    let stack = Stack::new(vec![open("upper"), open("lower")], open("base")).unwrap();
    let flat = fs::read(at("flat")).unwrap();
    let mut found = vec![0; flat.len()];
    ReadAt::read_exact_at(&stack, 0, &mut found).unwrap();
    assert!(found == flat);
    let mut odd = vec![0; 70_001];
    ReadAt::read_exact_at(&stack, 65_533, &mut odd).unwrap();
    assert!(odd == flat[65_533..135_534]);
    assert!(ReadAt::read_exact_at(&stack, 4 << 20, &mut [0]).is_err());
    assert!(stack.is_of_base(2 << 20, 3 << 20) && !stack.is_of_base(0, 70_001));
    let mut alone = open("base");
    alone.rewind().unwrap();
    assert!(matches!(Stack::new(vec![alone], open("base")), Err(StackError::Form(_))));
}
