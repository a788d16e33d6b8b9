//! A damaged log opens or says why not; a reader comes to its end; and what is appended behind the
//! damage can be read.

#![no_main]

use arbitrary::Arbitrary;
use daemon::command_log::{CommandLog, Follow, LogItem, Offsets, Output};
use libfuzzer_sys::fuzz_target;
use protocol::Exit;

const MAGIC: &[u8] = b"FHL1";

#[derive(Arbitrary, Debug)]
struct Input {
    segments: Vec<Segment>,
    appended: Vec<(bool, Vec<u8>)>,
}

#[derive(Arbitrary, Debug)]
enum Segment {
    Raw(Vec<u8>),
    Whole { index: Option<u8>, version: bool, stdout: u32, stderr: u32, parts: Vec<Part> },
}

#[derive(Arbitrary, Debug)]
enum Part {
    /// With a right checksum.
    Record {
        kind: u8,
        payload: Vec<u8>,
    },
    Exit {
        code: u8,
    },
    /// A record that is longer than what follows, or than any.
    Promise {
        kind: u8,
        len: u32,
    },
    Raw(Vec<u8>),
}

impl Part {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Record { kind, payload } => record(kind % 5, payload),
            Self::Exit { code } => {
                let text =
                    format!(r#"{{"code":{code},"signal":null,"cause":null,"duration_ms":7}}"#);
                record(3, text.as_bytes())
            }
            Self::Promise { kind, len } => {
                let mut out = vec![*kind];
                out.extend(len.to_le_bytes());
                out.extend([0; 4]);
                out
            }
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(u32::try_from(payload.len()).expect("an input is short").to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), payload);
    out.extend(crc.to_le_bytes());
    out.extend(payload);
    out
}

impl Segment {
    fn bytes(&self, at: u64) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Whole { index, version, stdout, stderr, parts } => {
                let mut out = MAGIC.to_vec();
                out.extend(if *version { 1u32 } else { 2 }.to_le_bytes());
                out.extend(index.map_or(at, u64::from).to_le_bytes());
                out.extend(u64::from(*stdout).to_le_bytes());
                out.extend(u64::from(*stderr).to_le_bytes());
                let crc = crc32c::crc32c(&out);
                out.extend(crc.to_le_bytes());
                out.extend(parts.iter().flat_map(Part::bytes));
                out
            }
        }
    }
}

async fn run(input: &Input, folder: &std::path::Path) {
    let mut written = 0;
    for (segment, index) in input.segments.iter().zip(0u64..) {
        let bytes = segment.bytes(index);
        written += bytes.len();
        std::fs::write(folder.join(format!("{index:04}.log")), bytes).expect("a segment");
    }
    let Ok(opened) = CommandLog::open(folder).await else { return };
    let (read, _) = read(&opened.log).await;
    assert!(read.len() <= written, "more was read than is there");
    let Some(mut writer) = opened.writer else { return assert!(opened.log.exit().is_some()) };
    let from = writer.offsets();
    for (is_stdout, bytes) in &input.appended {
        let output = if *is_stdout { Output::Stdout } else { Output::Stderr };
        writer.append([(output, bytes.as_slice())]).await.expect("it is written");
    }
    let exit = Exit { code: 9, signal: None, cause: None, duration_ms: 1 };
    writer.end(exit).await.expect("it is ended");
    drop(opened.log);
    let again = CommandLog::open(folder).await.expect("it was opened before");
    assert!(again.writer.is_none() && again.log.exit() == Some(exit));
    let mut reader = again.log.reader(from, Follow::No);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match reader.next().await {
            Ok(Some(LogItem::Output { output: Output::Stdout, bytes, .. })) => stdout.extend(bytes),
            Ok(Some(LogItem::Output { output: Output::Stderr, bytes, .. })) => stderr.extend(bytes),
            Ok(Some(LogItem::Dropped { .. })) => {}
            Ok(Some(LogItem::Ended(_)) | None) | Err(_) => break,
        }
    }
    let appended = |wanted: bool| {
        input.appended.iter().filter(move |run| run.0 == wanted).flat_map(|run| &run.1)
    };
    assert!(appended(true).eq(&stdout) && appended(false).eq(&stderr), "what was appended is lost");
}

async fn read(log: &CommandLog) -> (Vec<u8>, Option<Exit>) {
    let mut reader = log.reader(Offsets::default(), Follow::No);
    let (mut all, mut exit) = (Vec::new(), None);
    while let Ok(Some(item)) = reader.next().await {
        match item {
            LogItem::Output { bytes, .. } => all.extend(bytes),
            LogItem::Dropped { .. } => {}
            LogItem::Ended(ended) => exit = Some(ended),
        }
    }
    (all, exit)
}

fuzz_target!(|input: Input| {
    let Ok(folder) = tempfile::tempdir() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(run(&input, folder.path()));
});
