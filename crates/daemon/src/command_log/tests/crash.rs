//! A log that was cut off or damaged at any byte.

use proptest::prelude::*;

use super::*;

const SMALL: Bounds = Bounds { segment_bytes: 1000, segments: 8 };

/// A log of some segments, ended or not; what it holds.
async fn make(folder: &Path, appends: &[(Output, usize)], exit: Option<Exit>) -> Seen {
    let (log, mut writer) = CommandLog::create_bounded(folder, SMALL).await.unwrap();
    for (output, len) in appends {
        append(&mut writer, *output, *len).await;
    }
    match exit {
        Some(exit) => writer.end(exit).await.unwrap(),
        None => drop(writer),
    }
    read_all(&log, Offsets::default(), Follow::No).await
}

fn any_append() -> impl Strategy<Value = (Output, usize)> {
    (prop_oneof![Just(OUT), Just(ERR)], 1usize..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_cut_log_is_a_prefix_that_can_be_gone_on_with(
        appends in prop::collection::vec(any_append(), 1..25),
        cut in 0.0f64..1.0,
        garbage in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        runtime().block_on(async {
            let (_dir, folder) = folder();
            let whole = make(&folder, &appends, Some(EXIT)).await;
            let newest = files(&folder).pop().unwrap();
            let mut bytes = std::fs::read(&newest).unwrap();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
            bytes.truncate((bytes.len() as f64 * cut) as usize);
            bytes.extend_from_slice(&garbage);
            std::fs::write(&newest, &bytes).unwrap();
            let opened = CommandLog::open_bounded(&folder, SMALL).await.unwrap();
            let mut writer = opened.writer.expect("its end was cut off");
            let cut = read_all(&opened.log, Offsets::default(), Follow::No).await;
            assert!(whole.stdout.starts_with(&cut.stdout));
            assert!(whole.stderr.starts_with(&cut.stderr));
            assert_eq!(cut.exit, None);
            let lost = whole.stdout.len() + whole.stderr.len() - cut.stdout.len() - cut.stderr.len();
            assert!(lost < SMALL.segment_bytes, "{lost} bytes of older segments were lost");
            // Going on, the rest comes again from the agent.
            append(&mut writer, OUT, whole.stdout.len() - cut.stdout.len()).await;
            append(&mut writer, ERR, whole.stderr.len() - cut.stderr.len()).await;
            writer.end(EXIT).await.unwrap();
            assert_eq!(read_all(&opened.log, Offsets::default(), Follow::No).await, whole);
        });
    }

    #[test]
    fn damage_is_never_given_out_as_output(
        appends in prop::collection::vec(any_append(), 1..25),
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        runtime().block_on(async {
            let (_dir, folder) = folder();
            let whole = make(&folder, &appends, Some(EXIT)).await;
            let files = files(&folder);
            let file = file.get(&files);
            let mut bytes = std::fs::read(file).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            std::fs::write(file, &bytes).unwrap();
            let opened = match CommandLog::open_bounded(&folder, SMALL).await {
                Ok(opened) => opened,
                Err(error) => panic!("a damaged log cannot be opened: {error:?}"),
            };
            let mut reader = opened.log.reader(Offsets::default(), Follow::No);
            // `drain` checks that offsets go on; here, that the bytes are right at their offset.
            while let Some(item) = reader.next().await.unwrap() {
                if let LogItem::Output { output, offset, bytes } = item {
                    assert_eq!(bytes, bytes_at(output, offset, bytes.len()));
                }
            }
            drop(reader);
            let seen = read_all(&opened.log, Offsets::default(), Follow::No).await;
            if *file != *files.last().unwrap() {
                let found = seen.stdout.len() as u64 + seen.dropped.stdout;
                assert_eq!(found, whole.stdout.len() as u64, "what is missing is not told");
                assert_eq!(seen.exit, Some(EXIT));
            }
        });
    }
}

#[tokio::test]
async fn nothing_follows_the_end_of_a_command() {
    let (_dir, folder) = folder();
    let whole = make(&folder, &[(OUT, 10)], Some(EXIT)).await;
    let newest = files(&folder).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let records = bytes[segment::HEADER_LEN..].to_vec();
    bytes.extend(records);
    std::fs::write(&newest, bytes).unwrap();
    let opened = CommandLog::open(&folder).await.unwrap();
    assert!(opened.writer.is_none());
    assert_eq!(read_all(&opened.log, Offsets::default(), Follow::ToTheEnd).await, whole);
}

#[tokio::test]
async fn a_log_of_another_version_is_left_alone() {
    let (_dir, folder) = folder();
    make(&folder, &[(OUT, 10)], Some(EXIT)).await;
    let newest = files(&folder).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes[4] = 9;
    let crc = crc32c::crc32c(&bytes[..segment::HEADER_LEN - 4]);
    bytes[segment::HEADER_LEN - 4..segment::HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&newest, &bytes).unwrap();
    let failed = CommandLog::open(&folder).await.unwrap_err();
    assert!(matches!(failed, LogError::Version { .. }), "{failed:?}");
    assert_eq!(std::fs::read(&newest).unwrap(), bytes);
}

#[tokio::test]
async fn a_folder_has_one_log() {
    let (_dir, folder) = folder();
    make(&folder, &[], None).await;
    let failed = CommandLog::create(&folder).await.unwrap_err();
    assert!(matches!(failed, LogError::Write { .. }), "{failed:?}");
    let opened = CommandLog::open(&folder).await.unwrap();
    assert_eq!(opened.log.offsets(), Offsets::default());
    assert!(opened.writer.is_some());
    assert!(CommandLog::open(&folder.join("none")).await.is_err());
}
