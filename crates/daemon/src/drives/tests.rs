use std::{path::Path, process::Command, time::Duration};

use super::*;
use crate::store::MountRecord;

const MIB: u64 = 1 << 20;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// As a server that starts finds them; `over` are the sessions that ended meanwhile.
    async fn open(&self, over: &[&SessionId]) -> Arc<Drives> {
        let folder = self.folder.path().join("drives");
        std::fs::create_dir_all(&folder).unwrap();
        let (store, stored) = Store::open(&self.folder.path().join("store.db")).unwrap();
        let drives = Drives::new(folder, store, stored.drives, stored.attachments);
        let drives = Arc::new(drives);
        drives.settle(|session| over.contains(&session)).await.unwrap();
        drives
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("drives")).unwrap().count()
    }
}

fn name(text: &str) -> DriveName {
    DriveName::parse(text).unwrap()
}

async fn make(drives: &Drives, text: &str) -> DriveView {
    let new =
        NewDrive { project: Project::default(), name: name(text), region: None, bytes: 64 * MIB };
    drives.create(new).await.unwrap().0
}

async fn attach(
    drives: &Drives,
    session: &SessionId,
    mounts: &[(&str, &str, api::MountMode)],
) -> Result<Vec<Plug>, DriveError> {
    let sandbox = SandboxName::parse("box").unwrap();
    let mounts = mounts
        .iter()
        .map(|(path, drive, mode)| {
            ((*path).to_owned(), MountRecord { drive: name(drive), mode: *mode })
        })
        .collect();
    drives.attach((&Project::default(), &sandbox, session), &mounts).await
}

/// Writes a byte into a drive as a machine would, and lets go of it.
async fn write(drives: &Arc<Drives>, drive: &str, at: u64, byte: u8) {
    let session = SessionId::random();
    let plugs = attach(drives, &session, &[("/d", drive, api::MountMode::ReadWrite)]).await;
    let plugs = plugs.unwrap();
    drives.note_mounted(&session).await.unwrap();
    let machine::Drive::Overlay { file, .. } = &plugs[0].drive else { panic!("{plugs:?}") };
    let command = format!("write -P {byte} {at} 512");
    let done = Command::new("qemu-io").args(["-f", "qcow2", "-c", &command]).arg(file).output();
    assert!(done.as_ref().unwrap().status.success(), "{done:?}");
    drives.detach(&session).await.unwrap();
}

async fn merged(drives: &Drives, drive: &str) -> DriveRecord {
    for _ in 0..1000 {
        let view = drives.find(&Project::default(), &name(drive)).unwrap();
        if drives.known().merging.is_empty() {
            return view.record;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not merged");
}

/// What a machine would read.
fn read(drives: &Drives, record: &DriveRecord, at: u64) -> u8 {
    let lowest = drives.path(&record.layers[0].id, record.layers[0].form);
    let mut found = byte_at(&lowest, at);
    for layer in &record.layers[1..] {
        let flat = tempfile::NamedTempFile::new().unwrap();
        let file = drives.path(&layer.id, layer.form);
        let map = Command::new("qemu-img")
            .args(["map", "--output=json", "-f", "qcow2"])
            .arg(&file)
            .output()
            .unwrap();
        let map: serde_json::Value = serde_json::from_slice(&map.stdout).unwrap();
        let is_there = map.as_array().unwrap().iter().any(|part| {
            let (start, length) =
                (part["start"].as_u64().unwrap(), part["length"].as_u64().unwrap());
            part["data"] == true && (start..start + length).contains(&at)
        });
        if is_there {
            let done = Command::new("qemu-img")
                .args(["convert", "-f", "qcow2", "-O", "raw"])
                .args([&file, flat.path()])
                .status();
            assert!(done.unwrap().success());
            found = byte_at(flat.path(), at);
        }
    }
    found
}

fn byte_at(path: &Path, at: u64) -> u8 {
    use std::os::unix::fs::FileExt;
    let mut byte = [0];
    std::fs::File::open(path).unwrap().read_exact_at(&mut byte, at).unwrap();
    byte[0]
}

#[tokio::test]
async fn one_writes_and_what_it_left_is_merged() {
    let world = World::new();
    let drives = world.open(&[]).await;
    make(&drives, "a").await;
    assert_eq!(world.files(), 0, "nothing is made before it is used");
    write(&drives, "a", 8 * MIB, 1).await;
    write(&drives, "a", 9 * MIB, 2).await;
    let record = merged(&drives, "a").await;
    assert_eq!(record.layers.len(), 1);
    assert_eq!((read(&drives, &record, 8 * MIB), read(&drives, &record, 9 * MIB)), (1, 2));
    assert_eq!(world.files(), 1);
    drives.remove(&Project::default(), &name("a")).await.unwrap();
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn who_may_have_a_drive() {
    use api::MountMode::{ReadOnly, ReadWrite, Snapshot};
    let world = World::new();
    let drives = world.open(&[]).await;
    make(&drives, "a").await;
    let (one, two) = (SessionId::random(), SessionId::random());
    for mode in [Snapshot, ReadOnly] {
        let refused = attach(&drives, &one, &[("/d", "a", mode)]).await;
        assert!(matches!(refused, Err(DriveError::NotInitialized(_))));
    }
    let refused = drives.fork(&Project::default(), &name("a"), name("b")).await;
    assert!(matches!(refused, Err(DriveError::NotInitialized(_))));
    let twice = attach(&drives, &one, &[("/d", "a", ReadWrite), ("/e", "a", ReadWrite)]).await;
    assert!(matches!(twice, Err(DriveError::Attached { .. })));
    let unknown = attach(&drives, &one, &[("/d", "a", ReadWrite), ("/e", "b", ReadWrite)]).await;
    assert!(matches!(unknown, Err(DriveError::NotFound(_))));

    // What was refused has left nothing.
    attach(&drives, &one, &[("/d", "a", ReadWrite)]).await.unwrap();
    let refused = attach(&drives, &two, &[("/d", "a", ReadWrite)]).await;
    assert!(matches!(refused, Err(DriveError::Attached { .. })));
    let refused = drives.remove(&Project::default(), &name("a")).await;
    assert!(matches!(refused, Err(DriveError::Attached { .. })));
    // Its machine never came so far.
    drives.detach(&one).await.unwrap();
    assert!(!merged(&drives, "a").await.initialized);

    write(&drives, "a", 8 * MIB, 1).await;
    attach(&drives, &one, &[("/d", "a", Snapshot)]).await.unwrap();
    attach(&drives, &two, &[("/d", "a", ReadWrite), ("/e", "a", ReadOnly)]).await.unwrap();
    let refused = drives.remove(&Project::default(), &name("a")).await;
    assert!(matches!(refused, Err(DriveError::Attached { .. })));
}

#[tokio::test]
async fn forks_and_snapshots_keep_what_they_saw() {
    let world = World::new();
    let drives = world.open(&[]).await;
    make(&drives, "a").await;
    write(&drives, "a", 8 * MIB, 1).await;
    merged(&drives, "a").await;
    let project = Project::default();
    let fork = drives.fork(&project, &name("a"), name("b")).await.unwrap();
    assert_eq!(fork.record.parent, fork.record.root);
    let reader = SessionId::random();
    let seen = attach(&drives, &reader, &[("/d", "b", api::MountMode::Snapshot)]).await.unwrap();
    write(&drives, "a", 8 * MIB, 2).await;
    write(&drives, "b", 8 * MIB, 3).await;
    write(&drives, "a", 9 * MIB, 4).await;
    write(&drives, "b", 9 * MIB, 5).await;
    let (a, b) = (merged(&drives, "a").await, merged(&drives, "b").await);
    for (record, bytes) in [(&a, (2, 4)), (&b, (3, 5))] {
        let found = (read(&drives, record, 8 * MIB), read(&drives, record, 9 * MIB));
        assert_eq!(found, bytes, "{record:?}");
    }
    assert_eq!((a.layers.len(), b.layers.len()), (2, 2), "each has one file of its own");
    let machine::Drive::Overlay { layers, .. } = &seen[0].drive else { panic!("{seen:?}") };
    assert_eq!(byte_at(&layers[0].path, 8 * MIB), 1);
    drives.detach(&reader).await.unwrap();

    // What stays is one's own, and comes together with the next writer.
    drives.remove(&project, &name("b")).await.unwrap();
    write(&drives, "a", 10 * MIB, 6).await;
    let a = merged(&drives, "a").await;
    assert_eq!((a.layers.len(), world.files()), (1, 1));
    assert_eq!((read(&drives, &a, 8 * MIB), read(&drives, &a, 10 * MIB)), (2, 6));
}

#[tokio::test]
async fn a_server_that_starts_settles_what_another_left() {
    let world = World::new();
    let (ended, runs) = (SessionId::random(), SessionId::random());
    {
        let drives = world.open(&[]).await;
        make(&drives, "a").await;
        make(&drives, "b").await;
        let plugs =
            attach(&drives, &ended, &[("/d", "a", api::MountMode::ReadWrite)]).await.unwrap();
        drives.note_mounted(&ended).await.unwrap();
        let machine::Drive::Overlay { file, .. } = &plugs[0].drive else { panic!("{plugs:?}") };
        let write = ["-f", "qcow2", "-c", "write -P 7 8M 512"];
        assert!(Command::new("qemu-io").args(write).arg(file).output().unwrap().status.success());
        attach(&drives, &runs, &[("/d", "b", api::MountMode::ReadWrite)]).await.unwrap();
        std::fs::write(world.folder.path().join("drives/0123.draft"), "half-made").unwrap();
    }
    let drives = world.open(&[&ended]).await;
    let record = merged(&drives, "a").await;
    assert_eq!(read(&drives, &record, 8 * MIB), 7);
    let view = drives.find(&Project::default(), &name("b")).unwrap();
    assert_eq!(view.writer.unwrap().0, runs);
    // The lowest file of each, and the head of the one that runs.
    assert_eq!(world.files(), 3);
}
