//! A root in which links lead out of it, devices stand for files and FIFOs wait.

use std::{fs, os::unix::fs::symlink};

use super::*;

struct Place {
    dir: tempfile::TempDir,
    tree: Tree,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::write(dir.path().join("outside"), "mine").unwrap();
        Self { tree: Tree::open(&dir.path().join("root")).unwrap(), dir }
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.dir.path().join("root").join(name)).unwrap();
    }

    fn inside(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("root").join(name)).unwrap()
    }

    fn outside(&self) -> String {
        fs::read_to_string(self.dir.path().join("outside")).unwrap()
    }
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    for target in ["../../outside", outside.to_str().unwrap(), "nowhere", "/proc/self/mem"] {
        place.link(target, "etc/resolv.conf");
        assert!(place.tree.is_taken("etc/resolv.conf"));
        place.tree.replace("etc/resolv.conf", b"new", 0o644).unwrap();
        assert_eq!(place.inside("etc/resolv.conf"), "new", "{target}");
        assert_eq!(place.tree.link_target("etc/resolv.conf"), None);
        fs::remove_file(place.dir.path().join("root/etc/resolv.conf")).unwrap();
    }
    assert_eq!(place.outside(), "mine");
}

#[test]
fn a_file_gets_another_content_in_place_unless_it_has_other_names() {
    let place = Place::new();
    let root = place.dir.path().join("root");
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    for content in ["", "long\nlonger\n", "short\n", ""] {
        place.tree.write("etc/hosts", content.as_bytes()).unwrap();
        assert_eq!(place.inside("etc/hosts"), content);
    }
    let before = inode("etc/hosts");
    place.tree.write("etc/hosts", b"x").unwrap();
    assert_eq!(inode("etc/hosts"), before);
    fs::hard_link(root.join("etc/hosts"), root.join("other")).unwrap();
    place.tree.write("etc/hosts", b"y").unwrap();
    assert_eq!((place.inside("other"), place.inside("etc/hosts")), ("x".into(), "y".into()));
    place.link("../outside", "etc/link");
    place.tree.write("etc/link", b"z").unwrap();
    assert_eq!((place.inside("etc/link"), place.outside()), ("z".into(), "mine".into()));
}

#[test]
fn what_is_written_on_lies_in_the_root() {
    let place = Place::new();
    // As in a guest whose `/` is the root: absolute links begin there, and `..` ends there.
    place.link("../../../outside", "etc/bundle");
    assert!(place.tree.append("etc/bundle", b"x").is_err());
    fs::write(place.dir.path().join("root/outside"), "theirs").unwrap();
    place.tree.append("etc/bundle", b"more\n").unwrap();
    assert_eq!(place.inside("outside"), "theirs\nmore\n");
    place.tree.rewrite("etc/bundle", b"less").unwrap();
    assert_eq!(place.inside("outside"), "less");
    assert_eq!(place.tree.read("etc/bundle").unwrap(), b"less");
    assert_eq!(place.outside(), "mine");
}

#[test]
fn what_is_no_regular_file_is_left_alone() {
    let place = Place::new();
    let fifo = place.dir.path().join("root/etc/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::create_dir(place.dir.path().join("root/etc/folder")).unwrap();
    for name in ["etc/fifo", "etc/folder", "etc/missing", "etc/fifo/below"] {
        assert!(place.tree.read(name).is_err(), "{name}");
        assert!(place.tree.append(name, b"x").is_err(), "{name}");
        assert!(place.tree.rewrite(name, b"x").is_err(), "{name}");
    }
    assert!(place.tree.replace("etc/folder", b"x", 0o644).is_err());
    // Another file system's, where the tests run as somebody who can look into it.
    let whole = Tree::open(Path::new("/")).unwrap();
    assert!(whole.read("proc/version").is_err() && whole.read("etc/passwd").is_ok());
    let large = File::create(place.dir.path().join("root/etc/large")).unwrap();
    large.set_len(FILE_BYTES_MAX + 1).unwrap();
    assert!(place.tree.read("etc/large").is_err());
}

#[test]
fn folders_are_made_through_links_that_stay_inside() {
    let place = Place::new();
    place.link("/usr/lib", "lib");
    assert!(place.tree.make_folder("lib/a/b").is_err());
    place.tree.make_folder("usr/lib").unwrap();
    place.tree.make_folder("lib/a/b").unwrap();
    place.tree.make_folder("lib/a/b").unwrap();
    assert!(place.tree.has_folder("usr/lib/a/b") && !place.tree.has_folder("usr/lib/b"));
    place.tree.link("lib/a/here", "b").unwrap();
    assert_eq!(place.tree.link_target("usr/lib/a/here").unwrap(), b"b");
    place.tree.replace("lib/a/here/file", b"", 0o400).unwrap();
    assert_eq!(place.inside("usr/lib/a/b/file"), "");
}
