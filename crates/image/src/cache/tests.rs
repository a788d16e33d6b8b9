use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::*;
use crate::progress::silent;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    name: String,
}

fn publish(claim: &Claim, name: &str) -> PathBuf {
    let draft = claim.draft().unwrap();
    let record = Record { name: name.to_owned() };
    fs::write(draft.path().join("kernel.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    draft.publish(name).unwrap()
}

fn names(cache: &Cache) -> Vec<String> {
    let entries = cache.entries::<Record>(Shelf::Kernels).unwrap();
    entries.into_iter().map(|entry| entry.record.name).collect()
}

#[test]
fn only_what_is_published_is_an_entry() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    assert!(names(&cache).is_empty(), "a cache that is not there yet is empty");
    let claim = cache.claim(Shelf::Kernels, &silent).unwrap();
    let dropped = claim.draft().unwrap();
    fs::write(dropped.path().join("kernel.json"), b"{\"name\":\"dropped\"}").unwrap();
    assert!(names(&cache).is_empty());
    drop(dropped);
    publish(&claim, "a");
    assert_eq!(names(&cache), ["a"]);
    assert!(cache.entries::<Record>(Shelf::Images).unwrap().is_empty());
}

#[test]
fn an_entry_is_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let claim = cache.claim(Shelf::Kernels, &silent).unwrap();
    let path = publish(&claim, "a");
    fs::write(path.join("mark"), b"").unwrap();
    assert_eq!(publish(&claim, "a"), path);
    assert!(path.join("mark").exists());
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(Result::unwrap).collect();
    assert_eq!(left.len(), 2, "the entry and the lock: {left:?}");
}

#[test]
fn the_next_claim_clears_away_what_a_dead_build_left() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let claim = cache.claim(Shelf::Kernels, &silent).unwrap();
    let abandoned = claim.draft().unwrap().folder.keep();
    fs::write(abandoned.join("kernel.json"), b"half").unwrap();
    drop(claim);
    let _claim = cache.claim(Shelf::Kernels, &silent).unwrap();
    assert!(!abandoned.exists());
}

#[test]
fn a_spoilt_entry_does_not_hide_the_others() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let claim = cache.claim(Shelf::Kernels, &silent).unwrap();
    publish(&claim, "a");
    fs::write(publish(&claim, "b").join("kernel.json"), b"{").unwrap();
    assert_eq!(names(&cache), ["a"]);
}

#[test]
fn one_builds_and_the_others_wait_and_say_so() {
    const CALLERS: usize = 4;
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let (built, waited) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Barrier::new(CALLERS);
    let call = || {
        let progress = |event: Event<'_>| {
            if event == Event::Began(Step::WaitForOther) {
                waited.fetch_add(1, Ordering::SeqCst);
            }
        };
        start.wait();
        let claim = cache.claim(Shelf::Kernels, &progress).unwrap();
        if names(&cache).is_empty() {
            built.fetch_add(1, Ordering::SeqCst);
            // Hold the claim until everyone else has met it.
            while waited.load(Ordering::SeqCst) < CALLERS - 1 {
                thread::yield_now();
            }
            publish(&claim, "a");
        }
    };
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(call);
        }
    });
    assert_eq!(built.into_inner(), 1);
    assert_eq!(waited.into_inner(), CALLERS - 1);
}
