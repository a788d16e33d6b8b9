//! Hostile streams, and files that go out and come back.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use futures_util::StreamExt;
use tar::{Builder, EntryType, Header};

use super::unpack::{LeftOut, UnpackError};
use super::*;

/// A stream of entries: kind, name, what it holds or leads to.
fn stream(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o7777);
        header.set_mtime(1_000_000);
        header.set_uid(12345);
        // The builder refuses names such as `..`; a guest would not.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        let mut data = content.as_bytes();
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            let field = &mut header.as_old_mut().linkname;
            field[..content.len()].copy_from_slice(content.as_bytes());
            data = b"";
        }
        header.set_size(u64::try_from(data.len()).unwrap());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A folder `in` to unpack into, beside a folder `out` that nothing may touch.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        fs::write(folder.path().join("out/secret"), "untouched").unwrap();
        Self(folder)
    }

    fn unpack(&self, stream: &[u8]) -> Result<LeftOut, UnpackError> {
        unpack(stream, &self.path("in"), &Rename::Keep)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(self.path("out/secret")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(self.path("out")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 2);
    }
}

const FILE: EntryType = EntryType::Regular;
const FOLDER: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

#[test]
fn nothing_is_written_outside_the_target() {
    for entries in [
        [(FILE, "../out/x", "x"), (FILE, "y", "y")].as_slice(),
        &[(FILE, "a/../../out/x", "x")],
        &[(FOLDER, "..", "")],
        &[(LINK, "l", "../out"), (FILE, "l/x", "x")],
        &[(LINK, "l", "../out"), (FOLDER, "l", "")],
        &[(LINK, "l", "../out"), (FOLDER, "l/x", "")],
        &[(LINK, "l", "../out"), (HARD, "h", "l/secret")],
        &[(FOLDER, "a", ""), (LINK, "a/l", ".."), (FILE, "a/l/a/l/x", "x")],
        &[(HARD, "h", "../out/secret")],
        &[(HARD, "h", "")],
    ] {
        let world = World::new();
        assert!(world.unpack(&stream(entries)).is_err(), "{entries:?}");
        world.assert_untouched();
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_replaced_and_not_written_through() {
    for entries in [
        [(LINK, "l", "../out/secret"), (FILE, "l", "mine")].as_slice(),
        &[(LINK, "m", "../out/secret"), (HARD, "l", "m"), (FILE, "l", "mine")],
    ] {
        let world = World::new();
        world.unpack(&stream(entries)).unwrap();
        world.assert_untouched();
        assert!(fs::symlink_metadata(world.path("in/l")).unwrap().is_file());
        assert_eq!(fs::read_to_string(world.path("in/l")).unwrap(), "mine");
    }
}

#[test]
fn an_absolute_name_stays_below_the_target() {
    let world = World::new();
    world.unpack(&stream(&[(FILE, "/etc/x", "x")])).unwrap();
    assert_eq!(fs::read_to_string(world.path("in/etc/x")).unwrap(), "x");
}

#[test]
fn devices_are_left_out_and_special_bits_dropped() {
    let world = World::new();
    let left_out = world.unpack(&stream(&[
        (EntryType::Char, "c", ""),
        (EntryType::Block, "b", ""),
        (EntryType::Fifo, "p", ""),
        (EntryType::GNUSparse, "s", ""),
        (FOLDER, "d", ""),
        (FILE, "d/f", "f"),
    ]));
    assert_eq!(left_out.unwrap(), LeftOut { special: 4 });
    assert_eq!(fs::read_dir(world.path("in")).unwrap().count(), 1);
    for name in ["in/d", "in/d/f"] {
        let meta = fs::metadata(world.path(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7000, 0, "{name}");
        assert_ne!(meta.uid(), 12345, "{name}");
    }
    assert_eq!(fs::metadata(world.path("in/d/f")).unwrap().mtime(), 1_000_000);
}

#[test]
fn a_name_without_end_is_not_kept_in_memory() {
    /// Zeroes, counted.
    struct Zeroes(u64);
    impl Read for Zeroes {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += u64::try_from(buffer.len()).unwrap();
            buffer.fill(0);
            Ok(buffer.len())
        }
    }
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let mut zeroes = Zeroes(0);
        let endless = header.as_bytes().chain(&mut zeroes);
        let world = World::new();
        let fault = unpack(endless, &world.path("in"), &Rename::Keep);
        assert!(matches!(fault, Err(UnpackError::Damaged(_))), "{kind:?}");
        assert!(zeroes.0 < 1 << 20, "{kind:?}");
    }
}

#[test]
fn a_stream_that_ends_in_a_file_is_a_fault() {
    let world = World::new();
    let whole = stream(&[(FILE, "f", &"x".repeat(2000))]);
    assert!(world.unpack(&whole[..1024]).is_err());
    assert!(world.unpack(&whole).is_ok());
    assert_eq!(fs::metadata(world.path("in/f")).unwrap().len(), 2000);
}

#[test]
fn a_folder_in_the_way_of_a_file_is_a_fault() {
    let world = World::new();
    assert!(world.unpack(&stream(&[(FILE, "x/y", ""), (FILE, "x", "")])).is_err());
    assert!(world.path("in/x/y").exists());
}

#[test]
fn the_top_is_named_by_us() {
    for (rename, found) in [
        (Rename::Top("new".into()), ["new", "new/f", "new/h"]),
        (Rename::Strip, ["f", "h", "f"]),
        (Rename::Keep, ["top", "top/f", "top/h"]),
    ] {
        let world = World::new();
        let entries = [(FOLDER, "./top/", ""), (FILE, "top/f", "f"), (HARD, "top/h", "top/f")];
        unpack(stream(&entries).as_slice(), &world.path("in"), &rename).unwrap();
        for name in found {
            assert!(world.path("in").join(name).exists(), "{rename:?} {name}");
        }
    }
    // A file where a folder's contents were asked for has no name left.
    let world = World::new();
    let fault = unpack(stream(&[(FILE, "f", "f")]).as_slice(), &world.path("in"), &Rename::Strip);
    assert!(matches!(fault, Err(UnpackError::NotAFolder { .. })));
}

async fn packed(source: &Path, content: Content) -> Vec<u8> {
    let mut pieces = Box::pin(pack(source.to_owned(), content));
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece.unwrap());
    }
    all
}

#[tokio::test]
async fn what_goes_out_comes_back() {
    let world = World::new();
    let source = world.path("in");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    fs::create_dir_all(source.join(&long).parent().unwrap()).unwrap();
    fs::write(source.join(&long), vec![7; 300_000]).unwrap();
    fs::write(source.join("run"), "#!").unwrap();
    fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("nowhere/at/all", source.join("link")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();

    let bytes = packed(&source, Content::Whole("copy".into())).await;
    let target = tempfile::tempdir().unwrap();
    unpack(bytes.as_slice(), target.path(), &Rename::Keep).unwrap();
    let copy = target.path().join("copy");
    assert_eq!(fs::read(copy.join(&long)).unwrap(), vec![7; 300_000]);
    let mode = fs::metadata(copy.join("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o700, 0o700);
    assert_eq!(fs::read_link(copy.join("link")).unwrap(), Path::new("nowhere/at/all"));
    assert!(copy.join("empty").is_dir());

    let bytes = packed(&source, Content::Inside).await;
    let target = tempfile::tempdir().unwrap();
    unpack(bytes.as_slice(), target.path(), &Rename::Keep).unwrap();
    assert!(target.path().join("run").is_file() && target.path().join(&long).is_file());
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_a_fault_and_no_end() {
    let world = World::new();
    let mut pieces = Box::pin(pack(world.path("in/none"), Content::Whole("x".into())));
    let fault = pieces.next().await.unwrap().unwrap_err();
    assert!(fault.to_string().contains("in/none"), "{fault}");
}
