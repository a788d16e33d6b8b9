//! Readers, from anywhere, while the log grows and after.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn order_of_arrival_is_kept() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    writer.append([(OUT, &b"a"[..]), (ERR, b"b"), (OUT, b"c")]).await.unwrap();
    writer.end(EXIT).await.unwrap();
    let mut reader = log.reader(Offsets::default(), Follow::No);
    let mut items = Vec::new();
    while let Some(item) = reader.next().await.unwrap() {
        items.push(item);
    }
    let output = |output, offset, bytes| LogItem::Output { output, offset, bytes };
    assert_eq!(
        items,
        [
            output(OUT, 0, "a".into()),
            output(ERR, 0, "b".into()),
            output(OUT, 1, "c".into()),
            LogItem::Ended(EXIT),
        ]
    );
    assert_eq!(log.exit(), Some(EXIT));
}

#[tokio::test]
async fn a_command_without_output_has_an_end() {
    let (_dir, folder) = folder();
    let (log, writer) = CommandLog::create(&folder).await.unwrap();
    let follower = log.reader(Offsets::default(), Follow::ToTheEnd);
    writer.end(EXIT).await.unwrap();
    let seen = Seen { exit: Some(EXIT), ..Seen::default() };
    assert_eq!(drain(&mut { follower }, Offsets::default()).await, seen);
    let Opened { log, writer } = CommandLog::open(&folder).await.unwrap();
    assert!(writer.is_none());
    assert_eq!(log.exit(), Some(EXIT));
    assert_eq!(read_all(&log, Offsets::default(), Follow::ToTheEnd).await, seen);
}

#[tokio::test]
async fn a_log_whose_writer_is_gone_ends_without_an_exit() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    append(&mut writer, OUT, 3).await;
    let mut follower = log.reader(Offsets::default(), Follow::ToTheEnd);
    assert!(follower.next().await.unwrap().is_some());
    let waits = tokio::spawn(async move { follower.next().await.unwrap() });
    drop(writer);
    assert_eq!(waits.await.unwrap(), None);
}

#[tokio::test]
async fn what_is_there_now_does_not_wait_for_more() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    assert_eq!(read_all(&log, Offsets::default(), Follow::No).await, Seen::default());
    append(&mut writer, OUT, 3).await;
    let mut now = log.reader(Offsets::default(), Follow::No);
    append(&mut writer, OUT, 4).await;
    let seen = drain(&mut now, Offsets::default()).await;
    assert_eq!(seen.stdout, bytes_at(OUT, 0, 3));
    writer.end(EXIT).await.unwrap();
    assert_eq!(seen.exit, None);
}

#[tokio::test]
async fn a_follower_that_is_ahead_of_the_log_waits_for_it() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    let from = Offsets { stdout: 5, stderr: u64::MAX };
    let mut follower = log.reader(from, Follow::ToTheEnd);
    append(&mut writer, OUT, 8).await;
    append(&mut writer, ERR, 8).await;
    writer.end(EXIT).await.unwrap();
    let seen = drain(&mut follower, from).await;
    assert_eq!((seen.stdout, seen.stderr), (bytes_at(OUT, 5, 3), Vec::new()));
}

#[tokio::test]
async fn a_read_that_is_dropped_loses_nothing() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    let mut follower = log.reader(Offsets::default(), Follow::ToTheEnd);
    let mut seen = Vec::new();
    for _ in 0..200 {
        append(&mut writer, OUT, 100).await;
        // Polled once, so that it is dropped while it opens or reads the file.
        if let Ok(item) = timeout(Duration::ZERO, follower.next()).await
            && let Some(LogItem::Output { bytes, .. }) = item.unwrap()
        {
            seen.extend_from_slice(&bytes);
        }
    }
    writer.end(EXIT).await.unwrap();
    let at = Offsets { stdout: seen.len() as u64, stderr: 0 };
    seen.extend(drain(&mut follower, at).await.stdout);
    assert_eq!(seen, bytes_at(OUT, 0, 20_000));
}

#[tokio::test]
async fn who_follows_closely_reads_no_file() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    let mut followers = [(); 2].map(|()| log.reader(Offsets::default(), Follow::ToTheEnd));
    append(&mut writer, OUT, 90_000).await;
    append(&mut writer, OUT, 10).await;
    writer.end(EXIT).await.unwrap();
    for file in files(&folder) {
        std::fs::write(file, "").unwrap();
    }
    for follower in &mut followers {
        let seen = drain(follower, Offsets::default()).await;
        assert_eq!((seen.stdout, seen.exit), (bytes_at(OUT, 0, 90_010), Some(EXIT)));
    }
    assert!(log.reader(Offsets::default(), Follow::ToTheEnd).next().await.is_err());
}

#[tokio::test]
async fn who_falls_behind_reads_the_file() {
    let (_dir, folder) = folder();
    let (log, mut writer) = CommandLog::create(&folder).await.unwrap();
    let mut follower = log.reader(Offsets::default(), Follow::ToTheEnd);
    for _ in 0..50 {
        append(&mut writer, OUT, 70_000).await;
    }
    writer.end(EXIT).await.unwrap();
    let seen = drain(&mut follower, Offsets::default()).await;
    assert_eq!((seen.stdout, seen.exit), (bytes_at(OUT, 0, 3_500_000), Some(EXIT)));
}

#[derive(Clone, Debug)]
enum Step {
    Append(Output, usize),
    /// Several runs in one call.
    Mixed(Vec<(Output, usize)>),
    Follow(u64, u64),
    Reopen,
}

fn any_output() -> impl Strategy<Value = Output> {
    prop_oneof![Just(OUT), Just(ERR)]
}

fn any_step() -> impl Strategy<Value = Step> {
    let run = || (any_output(), 0usize..2000);
    prop_oneof![
        6 => run().prop_map(|(output, len)| Step::Append(output, len)),
        1 => (any_output(), 30_000usize..90_000).prop_map(|(output, len)| Step::Append(output, len)),
        2 => prop::collection::vec(run(), 0..20).prop_map(Step::Mixed),
        2 => (0u64..20_000, 0u64..20_000).prop_map(|(out, err)| Step::Follow(out, err)),
        1 => Just(Step::Reopen),
    ]
}

async fn mixed(writer: &mut LogWriter, runs: &[(Output, usize)]) {
    let mut at = writer.offsets();
    let mut pieces = Vec::new();
    for (output, len) in runs {
        pieces.push((*output, bytes_at(*output, at.get(*output), *len)));
        *at.get_mut(*output) += *len as u64;
    }
    writer.append(pieces.iter().map(|(output, bytes)| (*output, &bytes[..]))).await.unwrap();
    assert_eq!(writer.offsets(), at);
}

async fn follow_through(steps: Vec<Step>, bounds: Bounds) {
    let (_dir, folder) = folder();
    let (mut log, mut writer) = CommandLog::create_bounded(&folder, bounds).await.unwrap();
    let mut followers = Vec::new();
    for step in steps {
        match step {
            Step::Append(output, len) => append(&mut writer, output, len).await,
            Step::Mixed(runs) => mixed(&mut writer, &runs).await,
            Step::Follow(stdout, stderr) => {
                let from = Offsets { stdout, stderr };
                let mut reader = log.reader(from, Follow::ToTheEnd);
                followers.push((from, tokio::spawn(async move { drain(&mut reader, from).await })));
            }
            Step::Reopen => {
                drop(writer);
                for (_, follower) in followers.drain(..) {
                    assert_eq!(follower.await.unwrap().exit, None);
                }
                let totals = log.offsets();
                let opened = CommandLog::open_bounded(&folder, bounds).await.unwrap();
                (log, writer) = (opened.log, opened.writer.unwrap());
                assert_eq!(log.offsets(), totals);
            }
        }
    }
    let totals = writer.offsets();
    writer.end(EXIT).await.unwrap();
    followers.push((
        Offsets::default(),
        tokio::spawn(async move { read_all(&log, Offsets::default(), Follow::ToTheEnd).await }),
    ));
    for (from, follower) in followers {
        let seen = follower.await.unwrap();
        assert_eq!(seen.exit, Some(EXIT));
        for (output, bytes) in [(OUT, &seen.stdout), (ERR, &seen.stderr)] {
            let start = from.get(output).min(totals.get(output)) + seen.dropped.get(output);
            let len = usize::try_from(totals.get(output) - start).unwrap();
            assert!(*bytes == bytes_at(output, start, len), "{output:?} differs from {start} on");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn readers_get_what_was_appended(steps in prop::collection::vec(any_step(), 1..40)) {
        runtime().block_on(follow_through(steps.clone(), Bounds::DEFAULT));
        runtime().block_on(follow_through(steps, Bounds { segment_bytes: 3000, segments: 4 }));
    }
}
