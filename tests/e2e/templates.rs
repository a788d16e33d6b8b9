//! Templates: made on first use, once, reused, and gone when nobody uses them.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::hood::{Hood, cache, entries, wait_until};

const HOUR: Duration = Duration::from_secs(3600);

/// As if it had been used so much earlier.
fn age(template: &Path, by: Duration) {
    let record = File::open(template.join("template.json")).unwrap();
    let used = record.metadata().unwrap().modified().unwrap();
    record.set_modified(used - by).unwrap();
}

/// A template that no request to this version can ask for, unused for so long.
pub(crate) fn of_another_version(templates: &Path, unused: Duration) -> PathBuf {
    let key = format!("{:064}", unused.as_secs());
    let folder = templates.join(&key);
    fs::create_dir_all(&folder).unwrap();
    let record = format!(r#"{{"key": "{key}", "shape": {{"vcpus": 1, "memory_mib": 64}}}}"#);
    for (name, text) in [("template.json", record.as_str()), ("ram", "ram"), ("state", "state")] {
        fs::write(folder.join(name), text).unwrap();
    }
    age(&folder, unused);
    folder
}

/// Two servers, each with a caller, find no template: one of them makes it, both use it. What nobody
/// uses goes, also under a machine.
#[test]
fn two_callers_at_once_make_one_that_goes_when_it_is_not_used() {
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
    let templates = shared.path().join("templates");
    assert_eq!((entries(&templates).len(), when()), (2, before));

    let name = hoods[0].create(&["--memory", "512"]);
    let is_bare = |path: &&PathBuf| {
        !fs::read_to_string(path.join("template.json")).unwrap().contains("label")
    };
    let (bare, warm) = (made.iter().find(is_bare).unwrap(), made.iter().find(|it| !is_bare(it)));
    let warm = warm.unwrap();
    let (old, newer) =
        (of_another_version(&templates, 25 * HOUR), of_another_version(&templates, 23 * HOUR));
    age(bare, 8 * 24 * HOUR);
    age(warm, 6 * 24 * HOUR);
    // A server looks when it starts.
    let look = || {
        hoods[1].stop_server();
        hoods[1].ok(&["ls"]);
    };
    look();
    wait_until("what is old is gone", || !old.exists() && !bare.exists());
    assert!(newer.exists() && warm.exists(), "what was used lately stays");
    age(warm, 2 * 24 * HOUR);
    look();
    wait_until("what has become old is gone", || !warm.exists());
    assert_eq!(hoods[0].ok(&["exec", &name, "--", "echo", "on"]), "on", "machines run on");
    assert_eq!(entries(&templates), [newer]);
    hoods[0].ok(&["rm", "-f", &name]);
    hoods.iter().for_each(Hood::assert_nothing_left);
}
