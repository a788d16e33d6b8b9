//! What a manifest of good blobs becomes.

use std::io::Write;

use ::tar::EntryType;

use super::*;
use crate::catalog;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn base() -> Stream {
    let mut stream = Stream::default();
    stream
        .add(EntryType::Regular, "etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:5:6::/srv:\n")
        .add(EntryType::Regular, "etc/group", b"extra:x:9:app\n")
        .add(EntryType::Regular, "old", b"x");
    stream
}

fn above() -> Stream {
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, ".wh.old", b"").add(EntryType::Regular, "new", b"new");
    stream
}

#[test]
fn it_is_made_once_and_called_what_it_is_called_last() {
    let place = Place::new();
    let run = r#"{"User": "app", "Env": ["A=1"], "WorkingDir": "/made/here", "Cmd": ["/new"]}"#;
    let manifest = Made::plain(&[&base(), &above()]).run(run).put(&place.blobs);
    let named = |name| {
        super::super::convert::convert(&place.cache, &place.blobs, &manifest, Some(name), &silent)
            .unwrap()
    };
    let first = named("example.com/a:1");
    crate::disk::tests::check(&first.disk());
    assert_eq!(first.manifest(), Some(manifest));
    let config = first.config();
    assert_eq!((config.user.as_str(), config.cwd.as_str()), ("app", "/made/here"));
    assert_eq!(config.cmd.len(), 1);
    let listing = run_debugfs(&first.disk(), "ls -p /");
    assert!(listing.contains("/new/") && listing.contains("/made/"), "{listing}");
    assert!(!listing.contains("/old/") && !listing.contains(".wh."), "{listing}");

    let second = named("b:2");
    assert_eq!((second.disk(), second.digest()), (first.disk(), first.digest()));
    assert_eq!(second.names(), ["b:2", "example.com/a:1"]);
    assert_eq!(catalog::list(&place.cache).unwrap().len(), 1);
    // Blobs are of use for making it alone.
    place.blobs.remove(&manifest).unwrap();
    assert_eq!(named("b:2").digest(), first.digest());
    for name in ["b:2", "example.com/a:1", &manifest.to_string()] {
        assert_eq!(catalog::open(&place.cache, name).unwrap().digest(), first.digest());
    }

    let other = Made::plain(&[&above()]).put(&place.blobs);
    let other = place.convert(&other).unwrap();
    assert_eq!(other.name(), other.manifest().unwrap().to_string());
    catalog::name(&place.cache, &other, "b:2").unwrap();
    assert_eq!(catalog::open(&place.cache, "b:2").unwrap().digest(), other.digest());
    catalog::forget(&place.cache, "example.com/a:1").unwrap();
    assert!(catalog::open(&place.cache, "example.com/a:1").is_err());
    catalog::remove(&place.cache, &other, &silent).unwrap();
    catalog::remove(&place.cache, &other, &silent).unwrap();
    assert!(catalog::open(&place.cache, "b:2").is_err());
    assert_eq!(catalog::list(&place.cache).unwrap().len(), 1);
    assert!(catalog::name(&place.cache, &other, "a\nb").is_err());
}

fn run_debugfs(disk: &Path, request: &str) -> String {
    run("/usr/sbin/debugfs", &["-R", request, &disk.display().to_string()])
}

#[test]
fn every_compression_gives_the_same_disk_byte_for_byte() {
    let plain = [base().end(), above().end()];
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    // As one tool writes it: a frame to be skipped first, and several after one another.
    let skipped = |bytes: &[u8]| {
        let (head, tail) = bytes.split_at(700);
        [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(head), &zstd(tail)].concat()
    };
    let members = |bytes: &[u8]| {
        let (head, tail) = bytes.split_at(700);
        [gzip(head), gzip(tail)].concat()
    };
    type Form<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let forms: [Form<'_>; 5] = [&|bytes: &[u8]| bytes.to_vec(), &gzip, &zstd, &skipped, &members];
    let mut disks = Vec::new();
    for form in forms {
        let place = Place::new();
        let layers = plain.iter().map(|layer| (form(layer), layer.clone())).collect();
        let made = Made { run: "{}", platform: ("linux", "amd64"), layers };
        let image = place.convert(&made.put(&place.blobs)).unwrap();
        disks.push((image.digest().to_owned(), written(&image.disk())));
    }
    assert!(disks.iter().all(|disk| *disk == disks[0]), "{disks:?}");
}

/// The digest of all that is written of a disk, and where.
pub(super) fn written(disk: &Path) -> Digest {
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(disk).unwrap();
    let len = file.metadata().unwrap().len();
    let mut all = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).unwrap();
        let mut piece = vec![0; usize::try_from(end - start).unwrap()];
        file.read_exact_at(&mut piece, start).unwrap();
        all.extend_from_slice(&start.to_le_bytes());
        all.extend_from_slice(&piece);
        at = end;
        assert!(end <= len);
    }
    assert!(all.len() > 1 << 16, "something was written");
    Digest::of(&all)
}
