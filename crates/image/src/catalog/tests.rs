use std::fs::File;
use std::time::{Duration, SystemTime};

use super::*;
use crate::progress::silent;

/// Publishes an image whose record is as old as `seconds` say.
fn publish(cache: &Cache, name: &str, digest: &str, seconds: u64) {
    publish_of("recipe", cache, name, digest, seconds);
}

fn publish_of(recipe: &str, cache: &Cache, name: &str, digest: &str, seconds: u64) {
    let claim = cache.claim(Shelf::Images, &silent).unwrap();
    let draft = claim.draft().unwrap();
    let record = Record {
        name: name.to_owned(),
        digest: digest.to_owned(),
        recipe: recipe.to_owned(),
        manifest: None,
        created: seconds,
        disk_bytes: 1 << 30,
        content_bytes: 5,
        config: Config {
            user: "root".to_owned(),
            runtime_user: None,
            cwd: "/".to_owned(),
            env: Vec::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
        },
    };
    let path = draft.path().join("image.json");
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(&path).unwrap().set_modified(made).unwrap();
    let disk = File::create(draft.path().join(DISK_NAME)).unwrap();
    disk.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&disk, &[1; 4096], 0).unwrap();
    disk.sync_all().unwrap();
    draft.publish(digest).unwrap();
}

#[test]
fn the_newest_of_a_name_is_opened_and_all_are_listed() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    publish(&cache, "default", "old", 100);
    publish(&cache, "default", "new", 300);
    publish(&cache, "other", "only", 200);
    let listed: Vec<_> =
        list(&cache).unwrap().iter().map(|image| image.digest().to_owned()).collect();
    assert_eq!(listed, ["new", "only", "old"]);
    assert_eq!(open(&cache, "default").unwrap().digest(), "new");
    let other = open(&cache, "other").unwrap();
    assert_eq!((other.digest(), other.created()), ("only", 200));
    assert_eq!(other.disk_bytes(), 1 << 30);
    let allocated = other.allocated_bytes().unwrap();
    assert!((4096..1 << 20).contains(&allocated), "sparse: {allocated}");
}

#[test]
fn another_versions_default_image_is_not_taken_where_there_is_ours() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    publish_of(&recipe::recipe_key(&cache), &cache, recipe::NAME, "ours", 100);
    publish(&cache, recipe::NAME, "newer", 300);
    assert_eq!(open(&cache, recipe::NAME).unwrap().digest(), "ours");
}

#[test]
fn a_missing_image_says_where_and_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    publish(&cache, "default", "x", 100);
    let said = open(&cache, "nope").unwrap_err().to_string();
    assert!(said.contains("\"nope\"") && said.contains("fumehood setup"), "{said}");
    assert!(said.contains(&root.path().display().to_string()), "{said}");
}
