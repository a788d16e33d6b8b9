//! Templates: made on first use, once, and reused.

use std::{fs, os::unix::fs::symlink, thread};

use crate::hood::{Hood, cache, entries};

/// Two servers, each with a caller, find no template: one of them makes it, both use it.
#[test]
fn two_callers_at_once_make_one() {
    let shared = tempfile::tempdir().unwrap();
    for path in entries(&cache()) {
        let name = path.file_name().unwrap();
        if name != "templates" && name != "pieces" {
            symlink(&path, shared.path().join(name)).unwrap();
        }
    }
    let hoods = [(); 2].map(|()| {
        let mut hood = Hood::new();
        hood.set("FUMEHOOD_CACHE_DIR", shared.path().to_str().unwrap());
        hood
    });
    thread::scope(|scope| {
        for hood in &hoods {
            scope.spawn(|| {
                let told = hood.ok(&["run", "--memory", "512", "--", "echo", "one"]);
                assert_eq!(told, "one");
            });
        }
    });
    let made = entries(&shared.path().join("templates"));
    assert_eq!(made.len(), 2, "a bare one and a warm one: {made:?}");
    let when = || {
        made.iter().map(|path| fs::metadata(path).unwrap().modified().unwrap()).collect::<Vec<_>>()
    };
    let before = when();
    hoods[0].ok(&["run", "--memory", "512", "--", "true"]);
    assert_eq!((entries(&shared.path().join("templates")).len(), when()), (2, before));
    hoods.iter().for_each(Hood::assert_nothing_left);
}
