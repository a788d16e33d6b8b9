use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

struct Place {
    _root: tempfile::TempDir,
    blobs: Blobs,
}

fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    let blobs = Blobs::of(&Cache::open(root.path()).unwrap());
    Place { _root: root, blobs }
}

fn writer(blobs: &Blobs, digest: Digest, bytes: u64) -> BlobWriter {
    match blobs.want(digest, bytes).unwrap() {
        Wanted::Missing(writer) => writer,
        found @ (Wanted::Present | Wanted::Underway) => panic!("{found:?}"),
    }
}

fn names(blobs: &Blobs) -> Vec<String> {
    let listing = fs::read_dir(&blobs.folder).unwrap();
    listing.map(|item| item.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_comes_in_pieces_is_filed_when_it_is_whole() {
    let Place { blobs, .. } = &place();
    assert!(blobs.list().unwrap().is_empty(), "a folder that is not there yet is empty");
    let digest = Digest::of(b"hello");
    let mut first = writer(blobs, digest, 5);
    first.write(b"he").unwrap();
    assert!(matches!(blobs.open(&digest), Err(BlobError::Missing { .. })));
    drop(first);
    let partials = blobs.partials().unwrap();
    assert_eq!((partials.len(), partials[0].digest, partials[0].bytes), (1, digest, 2));

    let mut second = writer(blobs, digest, 5);
    assert_eq!(second.received(), 2);
    assert!(matches!(second.write(b"llo!"), Err(BlobError::Size { found: 6, .. })));
    second.write(b"llo").unwrap();
    second.finish().unwrap();
    assert_eq!(blobs.read(&digest, 5).unwrap(), b"hello");
    assert_eq!(names(blobs), [digest.hex()]);
    assert!(matches!(blobs.want(digest, 5), Ok(Wanted::Present)));
    assert!(matches!(blobs.want(digest, 6), Err(BlobError::Size { .. })));
    assert!(matches!(blobs.read(&digest, 4), Err(BlobError::TooLarge { .. })));
    blobs.remove(&digest).unwrap();
    blobs.remove(&digest).unwrap();
    assert_eq!(blobs.size(&digest).unwrap(), None);
}

#[test]
fn wrong_bytes_are_never_filed() {
    let Place { blobs, .. } = &place();
    let digest = Digest::of(b"hello");
    let mut short = writer(blobs, digest, 5);
    short.write(b"hell").unwrap();
    assert!(matches!(short.finish(), Err(BlobError::Size { found: 4, .. })));
    let mut wrong = writer(blobs, digest, 5);
    assert_eq!(wrong.received(), 4, "what has come is kept");
    wrong.restart().unwrap();
    wrong.write(b"jello").unwrap();
    assert!(matches!(wrong.finish(), Err(BlobError::Digest { .. })));
    assert!(names(blobs).is_empty(), "nothing can be made of wrong bytes");
    // Another size was said to the one before.
    let mut long = writer(blobs, digest, 5);
    long.write(b"hello").unwrap();
    drop(long);
    assert_eq!(writer(blobs, digest, 4).received(), 0);
}

#[test]
fn what_is_taken_gets_the_digest_that_it_has() {
    let Place { blobs, .. } = &place();
    let digest = Digest::of(b"hello");
    assert_eq!(blobs.take(&mut &b"hello"[..], 5).unwrap(), (digest, 5));
    assert_eq!(blobs.put(b"hello").unwrap(), digest);
    assert!(matches!(blobs.take(&mut &b"hello"[..], 4), Err(BlobError::TooLarge { .. })));
    // A draft of a process that died, and one of a process that lives.
    fs::write(blobs.folder.join(".draft-dead"), b"x").unwrap();
    let alive = blobs.draft().unwrap();
    blobs.put(b"more").unwrap();
    assert!(alive.path().exists());
    drop(alive);
    let mut left = names(blobs);
    left.sort();
    let mut expected = [digest.hex(), Digest::of(b"more").hex()];
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn damage_is_found_and_taken_away() {
    let Place { blobs, .. } = &place();
    let digest = blobs.put(b"hello").unwrap();
    blobs.check(&digest).unwrap();
    fs::write(blobs.path(&digest), b"jello").unwrap();
    assert!(matches!(blobs.read(&digest, 9), Err(BlobError::Digest { .. })));
    assert!(matches!(blobs.check(&digest), Err(BlobError::Digest { .. })));
    assert_eq!(blobs.size(&digest).unwrap(), None);
}

#[test]
fn one_writes_and_the_others_find_it() {
    // What was wrong here once was seen in few rounds of many.
    for _ in 0..50 {
        one_round();
    }
}

fn one_round() {
    const CALLERS: usize = 4;
    let Place { blobs, .. } = &place();
    let content = vec![7; 30_000];
    let digest = Digest::of(&content);
    let (wrote, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let call = || {
        let want = || blobs.want(digest, content.len() as u64).unwrap();
        let mut wanted = want();
        if matches!(wanted, Wanted::Underway) {
            waiting.fetch_add(1, Ordering::SeqCst);
        }
        while matches!(wanted, Wanted::Underway) {
            thread::yield_now();
            wanted = want();
        }
        let Wanted::Missing(mut writer) = wanted else { return };
        wrote.fetch_add(1, Ordering::SeqCst);
        while waiting.load(Ordering::SeqCst) < CALLERS - 1 {
            thread::yield_now();
        }
        blobs.remove(&digest).unwrap();
        writer.write(&content).unwrap();
        writer.finish().unwrap();
    };
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(call);
        }
    });
    assert_eq!(wrote.into_inner(), 1);
    assert_eq!(names(blobs), [digest.hex()]);
}
