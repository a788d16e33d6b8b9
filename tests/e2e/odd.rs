//! An image with every odd kind of file, made by tools of others: in the guest it is what `umoci`
//! unpacks on the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink},
    path::Path,
    process::Command,
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr,
    utimensat,
};

use crate::{
    images::{SMALL, hood_of_its_own},
    program::compile,
    registry::{Registry, run},
};

/// File capabilities, revision 2: `cap_net_raw+ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// All that may be new in a guest: names, trust, the kernel's modules, and what every ext4 has.
const OURS: [&str; 8] = [
    "etc/hosts",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/ssl",
    "usr/local/share/ca-certificates",
    "lib",
    "lost+found",
    // With entries of ours in it, it has a time of ours.
    "",
];

#[test]
#[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
fn the_tree_in_the_guest_is_what_umoci_unpacks() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: umoci makes devices and owners as root only");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let listing = compile(&at("listing"), "odd/listing.rs");
    let layout = make(folder.path(), &listing);
    let unpacked = at("unpacked");
    run("umoci", &["unpack", "--image", &layout, text(&unpacked)]);
    let host = Command::new(&listing).arg(unpacked.join("rootfs")).output().unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stderr));

    let cache = at("cache");
    fs::create_dir(&cache).unwrap();
    let (hood, registry) = (hood_of_its_own(&cache), Registry::start());
    let image = format!("{}/test/odd:1", registry.place);
    let to = format!("docker://{image}");
    run("skopeo", &["copy", "-q", "--dest-tls-verify=false", &format!("oci:{layout}"), &to]);
    let guest = hood.ok(&[&["run", "--image", &image], &SMALL[..], &["-u", "0"]].concat());
    compare(&by_path(&String::from_utf8(host.stdout).unwrap()), &by_path(&guest));
    hood.assert_nothing_left();
}

fn by_path(listing: &str) -> BTreeMap<&str, &str> {
    listing.lines().map(|line| line.split_once(" mode ").unwrap()).collect()
}

#[track_caller]
fn compare(host: &BTreeMap<&str, &str>, guest: &BTreeMap<&str, &str>) {
    assert!(host.len() > 3000, "{host:?}");
    let differs = |path: &&&str| host.get(**path) != guest.get(**path) && !is_ours(path);
    let paths: BTreeSet<_> = host.keys().chain(guest.keys()).collect();
    let shown = |path: &&str| {
        format!("{path}\nguest: {:?}\numoci: {:?}\n", guest.get(path), host.get(path))
    };
    let shown: String = paths.into_iter().filter(differs).map(shown).collect();
    assert!(shown.is_empty(), "{shown}");
}

/// One of ours, or a folder on the way to one. Paths are between quotes.
fn is_ours(path: &str) -> bool {
    let path = format!("{}/", path.trim_matches('"'));
    OURS.iter().any(|ours| path.starts_with(&format!("{ours}/")) || ours.starts_with(&path))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// By its path with the tag. The last layers are as `tar` writes them.
fn make(folder: &Path, listing: &Path) -> String {
    let at = |name: &str| folder.join(name);
    let layout = text(&at("layout")).to_owned();
    let (image, bundle) = (format!("{layout}:odd"), at("bundle"));
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, text(&bundle)]);
    let root = bundle.join("rootfs");
    lower(&root);
    fs::copy(listing, root.join("listing")).unwrap();
    run("umoci", &["repack", "--image", &image, "--refresh-bundle", text(&bundle)]);
    upper(&root);
    run("umoci", &["repack", "--image", &image, text(&bundle)]);

    // A folder made opaque over what the lower layers have in it.
    let opaque = at("opaque");
    fs::create_dir_all(opaque.join("emptied")).unwrap();
    fs::write(opaque.join("emptied/.wh..wh..opq"), "").unwrap();
    fs::write(opaque.join("emptied/new"), "n").unwrap();
    add(&image, &opaque, &["--format=pax"]);
    for version in ["0.0", "0.1", "1.0"] {
        let sparse = at(version);
        fs::create_dir(&sparse).unwrap();
        let file = File::create(sparse.join(format!("sparse-{version}"))).unwrap();
        file.write_all_at(b"end", 5 << 20).unwrap();
        add(&image, &sparse, &["--format=pax", "-S", &format!("--sparse-version={version}")]);
    }
    // Taking something away leaves its folder with the time of that in `umoci`.
    let last = at("last");
    for folder in ["emptied", "kept"] {
        fs::create_dir_all(last.join(folder)).unwrap();
    }
    add(&image, &last, &["--format=gnu"]);
    let command = ["--config.cmd=/listing", "--config.cmd=/"];
    run("umoci", &[&["config", "--image", &image], &command[..]].concat());
    image
}

fn add(image: &str, folder: &Path, options: &[&str]) {
    let layer = folder.with_extension("tar");
    let names = ["-C", text(folder), "-cf", text(&layer), "."];
    run("tar", &[options, &names[..]].concat());
    run("umoci", &["raw", "add-layer", "--image", image, text(&layer)]);
}

fn lower(root: &Path) {
    let at = |name: &str| root.join(name);
    let write = |name: &str, content: &[u8]| fs::write(root.join(name), content).unwrap();
    write("setuid", b"s");
    chown(at("setuid"), Some(33), Some(4_000_000_000)).unwrap();
    fs::set_permissions(at("setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(at("setuid"), at("also-setuid")).unwrap();
    write("capable", &[7; 5000]);
    for (name, value) in [
        ("security.capability", &CAPABILITY[..]),
        ("user.small", b"value"),
        ("user.large", &[b'l'; 2000]),
        ("trusted.of-root", b"y"),
    ] {
        setxattr(at("capable"), name, value, XattrFlags::empty()).unwrap();
    }
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
    write("big", &(0..3_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    write("before", b"");
    let time = Timespec { tv_sec: -1_000_000_000, tv_nsec: 250_000_000 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, at("before"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    fs::create_dir(at("sticky")).unwrap();
    fs::set_permissions(at("sticky"), fs::Permissions::from_mode(0o3777)).unwrap();
    for folder in ["kept", "emptied/below", "gone/below", "changes"] {
        fs::create_dir_all(at(folder)).unwrap();
        fs::write(at(folder).join("old"), folder).unwrap();
    }
    write("becomes-folder", b"f");
    write("taken-away", b"f");
}

fn upper(root: &Path) {
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_file(root.join("taken-away")).unwrap();
    fs::remove_file(root.join("short-link")).unwrap();
    fs::remove_file(root.join("becomes-folder")).unwrap();
    fs::create_dir(root.join("becomes-folder")).unwrap();
    fs::remove_dir_all(root.join("changes")).unwrap();
    symlink("/many", root.join("changes")).unwrap();
    fs::write(root.join("kept/new"), "n").unwrap();
}
