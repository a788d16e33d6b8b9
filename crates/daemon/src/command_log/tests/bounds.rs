//! How much is kept, and who is waited for.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

const SMALL: Bounds = Bounds { segment_bytes: 1000, segments: 4 };

fn size(folder: &Path) -> u64 {
    files(folder).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum()
}

#[tokio::test]
async fn with_no_reader_the_oldest_is_dropped() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create_bounded(&folder, SMALL).await.unwrap();
    for _ in 0..100 {
        append(&mut writer, OUT, 333).await;
        append(&mut writer, ERR, 10).await;
        assert!(size(&folder) <= 4000, "{} bytes are kept", size(&folder));
    }
    writer.end(EXIT).await.unwrap();
    let seen = read_all(&log, Offsets::default(), Follow::No).await;
    let kept = seen.stdout.len();
    assert_eq!(seen.dropped.stdout + kept as u64, 33_300);
    assert!(kept >= 2000, "only {kept} bytes are left");
    assert_eq!(seen.stdout, bytes_at(OUT, seen.dropped.stdout, kept));
    assert_eq!(seen.exit, Some(EXIT));
    assert_eq!(files(&folder).len(), 4);
    // Who has seen what is gone misses nothing.
    let from = Offsets { stdout: 33_000, stderr: 1000 };
    let seen = read_all(&log, from, Follow::No).await;
    assert_eq!((seen.dropped, seen.stdout.len()), (Offsets::default(), 300));
}

#[tokio::test]
async fn the_writer_waits_for_a_reader_and_not_for_one_that_left() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create_bounded(&folder, SMALL).await.unwrap();
    let mut slow = log.reader(Offsets::default(), Follow::ToTheEnd);
    let gone = log.reader(Offsets::default(), Follow::ToTheEnd);
    let writing = tokio::spawn(async move {
        for _ in 0..100 {
            append(&mut writer, OUT, 333).await;
        }
        writer.end(EXIT).await.unwrap();
    });
    log.shared.wait(&log.shared.grown, |state| (state.segments.len() == 4).then_some(())).await;
    let stands = || log.offsets().stdout;
    let full = timeout(Duration::from_millis(100), async {
        while stands() < 5000 {
            tokio::task::yield_now().await;
        }
    });
    assert!(full.await.is_err(), "the writer did not wait for its readers");
    drop(gone);
    assert!(!writing.is_finished());
    assert!(size(&folder) <= 4000);
    let seen = drain(&mut slow, Offsets::default()).await;
    writing.await.unwrap();
    assert_eq!(seen.dropped, Offsets::default(), "a reader lost what it had not read");
    assert_eq!(seen.stdout, bytes_at(OUT, 0, 33_300));
}

#[tokio::test]
async fn a_waiting_writer_goes_on_when_the_reader_leaves() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create_bounded(&folder, SMALL).await.unwrap();
    let reader = log.reader(Offsets::default(), Follow::No);
    let writing = tokio::spawn(async move {
        for _ in 0..20 {
            append(&mut writer, OUT, 500).await;
        }
    });
    log.shared.wait(&log.shared.grown, |state| (state.segments.len() == 4).then_some(())).await;
    drop(reader);
    timeout(Duration::from_secs(10), writing).await.expect("it is stuck").unwrap();
}

/// A file system of one page, so that it is full at once.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", dir.path(), "tmpfs", flags, c"size=64k").ok()?;
        Some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(self.0.path(), flags).unwrap();
    }
}

#[tokio::test]
async fn on_a_full_disk_the_log_says_so_and_stays_whole() {
    let Some(disk) = SmallDisk::mount() else {
        // Who may not mount cannot fill a disk; the continuous run may.
        return;
    };
    let folder = disk.0.path().join("log");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 40 << 10]).unwrap();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    append(&mut writer, OUT, 1000).await;
    let more = bytes_at(OUT, 1000, 100_000);
    let failed = writer.append([(OUT, &more[..])]).await.unwrap_err();
    assert!(matches!(failed, LogError::DiskFull(_)), "{failed:?}");
    assert_eq!(log.offsets().stdout, 1000);
    drop(writer);
    std::fs::remove_file(ballast).unwrap();
    let opened = CommandLog::open(&folder).await.unwrap();
    let mut writer = opened.writer.unwrap();
    assert_eq!(writer.offsets().stdout, 1000);
    append(&mut writer, OUT, 30_000).await;
    writer.end(EXIT).await.unwrap();
    let seen = read_all(&opened.log, Offsets::default(), Follow::No).await;
    assert_eq!(seen.stdout, bytes_at(OUT, 0, 31_000));
}
