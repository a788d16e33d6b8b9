//! Which server is fit, and one start at a time.

use super::*;

#[test]
fn older_servers_give_way_and_newer_ones_are_used_if_they_understand_us() {
    let version = |version: &str, build, api| Version { version: version.to_owned(), build, api };
    let own = version("0.2.0", 50, 2);
    for (server, standing) in [
        (version("0.2.0", 50, 2), Standing::Fit),
        (version("0.1.9", 99, 2), Standing::Older),
        (version("0.2.0", 49, 2), Standing::Older),
        (version("0.1.0", 49, 1), Standing::Older),
        (version("0.2.0", 51, 2), Standing::Fit),
        (version("0.3.0", 10, 2), Standing::Fit),
        (version("0.3.0", 10, 3), Standing::Foreign(version("0.3.0", 10, 3))),
    ] {
        assert_eq!(judge(server, &own), standing);
    }
}

#[tokio::test]
async fn the_second_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("start.lock");
    let first = lock(&path).await.unwrap();
    let second = tokio::spawn({
        let path = path.clone();
        async move { lock(&path).await.unwrap() }
    });
    // A third descriptor proves that it is still taken.
    assert!(matches!(File::open(&path).unwrap().try_lock(), Err(TryLockError::WouldBlock)));
    assert!(!second.is_finished());
    drop(first);
    second.await.unwrap();
}

#[test]
fn the_end_of_a_long_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("server.log");
    assert!(tail(&log, 0).starts_with("(unreadable"));
    fs::write(&log, "x".repeat(5000) + "\nlast\n").unwrap();
    assert!(tail(&log, 0).ends_with("\nlast") && tail(&log, 0).len() <= 2000);
    assert_eq!(tail(&log, 5001), "last");
}
