//! Files into the real agent's folders and out of them.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, stream};

use super::{
    guest::{Guest, rss_kib},
    *,
};

const LARGE: u64 = 256 << 20;
/// More than the agent does at a time.
const MANY: usize = 40;

fn file_header(name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_mode(0o640);
    header.set_mtime(1_000_000);
    header.set_cksum();
    header
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        builder.append(&file_header(name, content.len() as u64), *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A body in pieces of this length.
fn body(bytes: &[u8], piece: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let pieces: Vec<_> =
        bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

async fn collect(mut download: Download) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(bytes) = download.next().await {
        all.extend(bytes?);
    }
    Ok(all)
}

fn path(guest: &Guest, name: &str) -> String {
    guest.dir.path().join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let content = seq(50_000);
    let tar = archive(&[("folder/a", &content), ("folder/empty", b"")]);
    let base = path(&guest, "new");
    let written = agent.write_tar(base.clone(), Owner::Keep, body(&tar, 777)).await.unwrap();
    assert_eq!(written.entries, 2);
    let (stat, download) = agent.read(format!("{base}/folder/a"), LONG).await.unwrap();
    assert_eq!((stat.size, stat.mode, stat.mtime), (content.len() as u64, 0o640, 1_000_000));
    assert_same(&collect(download).await.unwrap(), &content);
    let (stat, download) = agent.read(format!("{base}/folder/empty"), LONG).await.unwrap();
    assert_eq!((stat.size, collect(download).await.unwrap().len()), (0, 0));
    let (stat, download) = agent.read_tar(format!("{base}/folder"), LONG).await.unwrap();
    assert_eq!(stat.kind, EntryKind::Folder);
    let bytes = collect(download).await.unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            entry.unwrap().path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned()
        })
        .collect();
    assert_eq!(names, ["folder", "folder/a", "folder/empty"]);
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let refused = agent.read(path(&guest, "none"), LONG).await.unwrap_err();
    let AgentError::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.code, RefusalCode::NotFound);
}

/// A tar stream of one large file, made while it is read.
fn large_body() -> impl Stream<Item = io::Result<Bytes>> + Send {
    let zeros = Bytes::from_static(&[0; 128 << 10]);
    let pieces = usize::try_from(LARGE).unwrap() / zeros.len();
    let head = Bytes::copy_from_slice(file_header("large", LARGE).as_bytes());
    let content = stream::repeat(zeros.clone()).take(pieces);
    stream::iter([head]).chain(content).chain(stream::iter([zeros.slice(..1024)])).map(Ok)
}

#[tokio::test]
async fn large_files_pass_through_with_flat_memory() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let before = rss_kib("self");
    let written = agent.write_tar(path(&guest, "."), Owner::Keep, large_body()).await.unwrap();
    assert_eq!(written.entries, 1);
    let (stat, mut download) = agent.read(path(&guest, "large"), LONG).await.unwrap();
    assert_eq!(stat.size, LARGE);
    let (mut count, mut most) = (0, 0);
    while let Some(bytes) = download.next().await {
        count += bytes.unwrap().len() as u64;
        most = most.max(rss_kib("self"));
    }
    assert_eq!(count, LARGE);
    // Other tests may run in this process.
    assert!(most < before + (100 << 10), "{before} KiB grew to {most} KiB");
    assert!(guest.rss_kib() < 50 << 10, "the guest has {} KiB", guest.rss_kib());
}

#[tokio::test]
async fn a_slow_reader_slows_the_agent_and_no_other_transfer() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let slow = path(&guest, "slow");
    std::fs::write(&slow, vec![1; 32 << 20]).unwrap();
    let (_, mut download) = agent.read(slow, LONG).await.unwrap();
    drop(download.next().await.unwrap().unwrap());
    std::fs::write(path(&guest, "other"), seq(100_000)).unwrap();
    let (_, other) = agent.read(path(&guest, "other"), LONG).await.unwrap();
    assert_same(&timeout(LONG, collect(other)).await.unwrap().unwrap(), &seq(100_000));
    let rest = timeout(LONG, collect(download)).await.unwrap().unwrap();
    assert!(rest.len() > 31 << 20);
}

#[tokio::test]
async fn transfers_that_are_given_up_make_room() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    std::fs::write(path(&guest, "large"), vec![1; 2 << 20]).unwrap();
    for _ in 0..MANY {
        let (_, download) = agent.read(path(&guest, "large"), LONG).await.unwrap();
        drop(download);
        let breaks = stream::iter([Ok(Bytes::from_static(b"x")), Err(io::Error::other("gone"))]);
        let failed = agent.write_tar(path(&guest, "new"), Owner::Keep, breaks).await.unwrap_err();
        assert!(matches!(failed, AgentError::Body(_)), "{failed:?}");
        let never = agent.write_tar(path(&guest, "new"), Owner::Keep, stream::pending());
        timeout(Duration::from_millis(5), never).await.unwrap_err();
    }
    let (_, download) = agent.read(path(&guest, "large"), LONG).await.unwrap();
    assert_eq!(timeout(LONG, collect(download)).await.unwrap().unwrap().len(), 2 << 20);
}

#[tokio::test]
async fn a_refusal_ends_a_body_that_never_would() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let sent = AtomicU64::new(0);
    let garbage = stream::repeat_with(|| {
        sent.fetch_add(10_000, Ordering::Relaxed);
        Ok(Bytes::from_static(&[0xAA; 10_000]))
    });
    let written = agent.write_tar(path(&guest, "new"), Owner::Keep, garbage);
    let refused = timeout(LONG, written).await.expect("it is taken for ever").unwrap_err();
    let AgentError::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.code, RefusalCode::BadArchive);
    assert!(sent.load(Ordering::Relaxed) < 4 << 20);
}

#[tokio::test]
async fn transfers_survive_lost_connections() {
    let guest = Guest::start().await;
    guest.live().await.close().await;
    let content = seq(300_000);
    let tar = archive(&[("a", &content)]);
    // Acknowledgements are all that comes while a file goes in: some forty bytes each.
    let cuts = [0, 37, 90, 150, 41, 80, 200, 333, 500_000, 99_999, 700, 200_000, 5, 300_000];
    let agent = guest.lossy_host(cuts.iter().map(|cut| cut + 40).collect());
    for _ in 0..4 {
        let written = agent.write_tar(path(&guest, "in"), Owner::Keep, body(&tar, 5000));
        let written = timeout(LONG, written).await.expect("it hangs").unwrap();
        assert_eq!(written.entries, 1);
        let (_, download) = agent.read(path(&guest, "in/a"), LONG).await.unwrap();
        let read = timeout(LONG, collect(download)).await.expect("it hangs").unwrap();
        assert_same(&read, &content);
    }
}
