use std::{fs::OpenOptions, io::Write, path::Path};

use egress::event::{Decision, Kind};

use super::*;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn place(&self) -> Place {
        Place::at(self.folder.path().to_owned())
    }

    fn reader(&self) -> AuditReader {
        AuditReader::new(&self.place())
    }

    fn path(&self, file: usize) -> PathBuf {
        self.place().logs()[file].clone()
    }

    fn write(&self, file: usize, seqs: impl IntoIterator<Item = u64>) {
        let lines: Vec<String> = seqs.into_iter().map(line).collect();
        add(&self.path(file), lines.concat().as_bytes());
    }

    fn turn(&self, file: usize) {
        std::fs::write(self.path(file), b"").unwrap();
    }
}

fn line(seq: u64) -> String {
    let mut event = Event::new(1, Decision::Allow, Kind::Http, "rule");
    event.seq = seq;
    format!("{}\n", serde_json::to_string(&event).unwrap())
}

fn add(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn seqs(lines: &[u8]) -> Vec<u64> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice::<Event>(line).unwrap().seq).collect()
}

/// All that there is now.
fn rest(reader: &mut AuditReader) -> Vec<u64> {
    let batches = std::iter::repeat_with(|| reader.batch().unwrap());
    batches.take_while(|lines| !lines.is_empty()).flat_map(|lines| seqs(&lines)).collect()
}

#[test]
fn both_files_are_one_log() {
    let world = World::new();
    let mut reader = world.reader();
    assert!(rest(&mut reader).is_empty(), "there are no files yet");
    world.write(0, 1..=3);
    assert_eq!(rest(&mut reader), [1, 2, 3]);
    world.write(1, 4..=5);
    world.turn(0);
    world.write(0, 6..=7);
    assert_eq!(rest(&mut reader), [4, 5, 6, 7]);
    assert!(rest(&mut reader).is_empty());
    assert_eq!(rest(&mut world.reader()), [4, 5, 6, 7], "another reader is not held back");
}

#[test]
fn what_was_overwritten_is_passed_over() {
    let world = World::new();
    world.write(0, 1..=9);
    let mut reader = world.reader();
    assert_eq!(rest(&mut reader).len(), 9);
    // Two turns between two looks, and the files longer than they were.
    world.write(1, 10..=20);
    world.turn(0);
    world.write(0, 21..=80);
    world.turn(1);
    world.write(1, 81..=160);
    assert_eq!(rest(&mut reader), (21..=160).collect::<Vec<_>>());
    world.write(1, [170]);
    assert_eq!(rest(&mut reader), [170]);
}

#[test]
fn damage_is_passed_over() {
    let world = World::new();
    let (cut, long) = (line(3), "x".repeat(3 * LINE_BYTES_MAX));
    let text = [&line(1), "not json\n", &long, "\n", &line(2), "\n", &cut[..20]].concat();
    add(&world.path(0), text.as_bytes());
    let mut reader = world.reader();
    assert_eq!(rest(&mut reader), [1, 2], "a line that is not whole is waited for");
    add(&world.path(0), &cut.as_bytes()[20..]);
    assert_eq!(rest(&mut reader), [3]);
}

#[test]
fn a_batch_is_bounded() {
    let world = World::new();
    world.write(0, 1..=5000);
    let mut reader = world.reader();
    let first = reader.batch().unwrap();
    assert!(first.len() < BATCH_BYTES + LINE_BYTES_MAX && first.ends_with(b"\n"));
    assert_eq!(seqs(&first).len() + rest(&mut reader).len(), 5000);
}

#[tokio::test]
async fn the_servers_own_events_are_numbered_on() {
    let world = World::new();
    std::fs::create_dir_all(world.folder.path()).unwrap();
    world.write(0, 1..=3);
    world.write(1, 4..=5);
    for _ in 0..2 {
        let event = Event::new(1, Decision::Note, Kind::Gateway, "default");
        append(&world.place(), event).await.unwrap();
    }
    assert_eq!(rest(&mut world.reader()), [1, 2, 3, 4, 5, 6, 7]);
}
