use std::collections::BTreeSet;

use super::{names::NameTaken, *};
use crate::{
    ids::{Project, SandboxName},
    store::KeepLast,
};

const DAY_MS: u64 = 24 * 3600 * 1000;

struct World {
    snapshots: Snapshots,
    sandbox: SandboxKey,
    place: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::new(place.path().to_owned(), place.path().join("cache"));
        fs::create_dir_all(paths.layers()).unwrap();
        let (store, stored) = Store::open(&paths.store()).unwrap();
        Self {
            snapshots: Snapshots::new(&paths, store, stored.snapshots),
            sandbox: SandboxKey {
                project: Project::default(),
                name: SandboxName::parse("box").unwrap(),
            },
            place,
        }
    }

    /// A snapshot on a layer of its own and on those of another.
    fn record(&self, created_at: u64, method: SnapshotMethod, on: &[LayerId]) -> SnapshotRecord {
        let own = LayerId::random();
        fs::write(self.snapshots.file(&own), "a layer").unwrap();
        SnapshotRecord {
            id: SnapshotId::random(),
            name: None,
            project: self.sandbox.project.clone(),
            sandbox: self.sandbox.name.clone(),
            session: SessionId::random(),
            parent: None,
            method,
            layers: [own].into_iter().chain(on.iter().cloned()).collect(),
            image: "default".into(),
            image_digest: None,
            image_origin: None,
            runtime: None,
            region: None,
            user: "fumehood".into(),
            cwd: "/".into(),
            size_bytes: 7,
            expiration_ms: DAY_MS,
            created_at,
            updated_at: created_at,
            last_used_at: created_at,
            is_doomed: false,
            deleted_at: None,
            memory: None,
        }
    }

    async fn add(&self, record: &SnapshotRecord, keeping: &Keeping) {
        let of = (&self.sandbox, 0);
        self.snapshots
            .add(record.clone(), of, (keeping, Becomes::Current), Vec::new())
            .await
            .unwrap();
        self.snapshots.sweep();
    }

    fn there(&self) -> BTreeSet<SnapshotId> {
        let all = self.snapshots.list().into_iter().filter(SnapshotRecord::is_there);
        all.map(|one| one.id).collect()
    }

    /// What is there is what snapshots and sessions name, and no other file.
    fn assert_layers(&self, expected: &[&LayerId]) {
        let found: BTreeSet<PathBuf> = fs::read_dir(self.place.path().join("layers"))
            .unwrap()
            .map(|one| one.unwrap().path())
            .collect();
        assert_eq!(found, expected.iter().map(|layer| self.snapshots.file(layer)).collect());
    }
}

fn keep(count: u32, evicted: Evicted, of: Counted) -> Keeping {
    let last = Some(KeepLast { count, expiration_ms: None, evicted, of });
    Keeping { persistent: true, expiration_ms: 5 * DAY_MS, last }
}

#[tokio::test]
async fn as_many_are_kept_as_are_asked_for() {
    use SnapshotMethod::{Automatic, Manual};
    let methods = [Manual, Automatic, Automatic, Manual, Automatic];
    let table = [
        (Keeping::default(), vec![0, 1, 2, 3, 4]),
        (keep(1, Evicted::Delete, Counted::All), vec![4]),
        (keep(2, Evicted::Delete, Counted::All), vec![3, 4]),
        (keep(1, Evicted::Delete, Counted::Automatic), vec![0, 3, 4]),
        (keep(9, Evicted::Delete, Counted::All), vec![0, 1, 2, 3, 4]),
        (keep(1, Evicted::Expire, Counted::All), vec![0, 1, 2, 3, 4]),
    ];
    for (keeping, left) in table {
        let world = World::new();
        let mut all = Vec::new();
        for (at, method) in (1..).zip(methods) {
            all.push(world.record(at, method, &[]));
            world.add(&all[all.len() - 1], &keeping).await;
        }
        let expected: Vec<&SnapshotRecord> = left.iter().map(|at| &all[*at]).collect();
        assert_eq!(
            world.there(),
            expected.iter().map(|one| one.id.clone()).collect(),
            "{keeping:?}"
        );
        world.assert_layers(&expected.iter().map(|one| &one.layers[0]).collect::<Vec<_>>());
        // What is too many, and is not deleted at once, expires as others of the sandbox do.
        let first = world.snapshots.find(&all[0].id).unwrap();
        let is_evicted = keeping.last.is_some_and(|last| last.evicted == Evicted::Expire);
        assert_eq!(first.expiration_ms, if is_evicted { 5 * DAY_MS } else { DAY_MS });
    }
}

#[tokio::test]
async fn one_more_does_not_take_away_what_its_sandbox_starts_from() {
    let world = World::new();
    let keeping = keep(1, Evicted::Delete, Counted::All);
    let [first, more, next] = [1, 2, 3].map(|at| world.record(at, SnapshotMethod::Manual, &[]));
    world.add(&first, &keeping).await;
    let one_more = (&keeping, Becomes::OneMore);
    world.snapshots.add(more.clone(), (&world.sandbox, 0), one_more, Vec::new()).await.unwrap();
    world.snapshots.let_go().await.unwrap();
    assert_eq!(world.there(), BTreeSet::from([first.id.clone(), more.id.clone()]));
    world.add(&next, &keeping).await;
    world.snapshots.let_go().await.unwrap();
    assert_eq!(world.there(), BTreeSet::from([next.id.clone()]));
}

#[tokio::test]
async fn a_use_is_known_to_the_next_server_and_brings_nothing_back() {
    let world = World::new();
    let record = world.record(1, SnapshotMethod::Manual, &[]);
    world.add(&record, &Keeping::default()).await;
    let stored = || {
        let paths = Paths::new(world.place.path().to_owned(), world.place.path().join("cache"));
        Store::open(&paths.store()).unwrap().1.snapshots.remove(0)
    };
    let session = SessionId::random();
    let used = world.snapshots.stand(&session, &record.id).unwrap();
    world.snapshots.note_use(&record.id).await.unwrap();
    assert_eq!(stored().last_used_at, used.last_used_at);
    world.snapshots.delete(&record.id).await.unwrap();
    world.snapshots.note_use(&record.id).await.unwrap();
    assert!(!stored().is_there());
    world.snapshots.note_use(&SnapshotId::random()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_used_expires_and_is_forgotten_in_the_end() {
    let world = World::new();
    let old = world.record(1, SnapshotMethod::Manual, &[]);
    world.add(&old, &Keeping::default()).await;
    let new = world.record(2, SnapshotMethod::Manual, &[]);
    world.add(&new, &Keeping::default()).await;
    let forever = world.record(3, SnapshotMethod::Manual, &[]);
    let forever = SnapshotRecord { expiration_ms: 0, ..forever };
    world.add(&forever, &Keeping::default()).await;
    // A session stands on one: that was used just now, and does not expire meanwhile.
    let session = SessionId::random();
    let used = world.snapshots.stand(&session, &new.id).unwrap();
    assert!(used.last_used_at > new.last_used_at);
    world.snapshots.grow_old(DAY_MS).await.unwrap();
    assert_eq!(world.there().len(), 3, "a day after its last use, and not before");
    let later = used.last_used_at + 2 * DAY_MS;
    world.snapshots.grow_old(later).await.unwrap();
    assert_eq!(world.there(), BTreeSet::from([new.id.clone(), forever.id.clone()]));
    world.assert_layers(&[&new.layers[0], &forever.layers[0]]);
    assert_eq!(world.snapshots.stand(&SessionId::random(), &old.id), Err(NoSnapshot));
    world.snapshots.leave(&session);
    world.snapshots.grow_old(later).await.unwrap();
    assert_eq!(world.there(), BTreeSet::from([forever.id.clone()]));
    world.assert_layers(&[&forever.layers[0]]);
    assert_eq!(world.snapshots.list().len(), 3, "they are remembered");
    world.snapshots.grow_old(later + 31 * DAY_MS).await.unwrap();
    assert_eq!(world.snapshots.list().len(), 1);
}

#[tokio::test]
async fn what_another_sandbox_starts_from_goes_when_that_needs_it_no_longer() {
    let world = World::new();
    let base = world.record(1, SnapshotMethod::Automatic, &[]);
    world.add(&base, &Keeping::default()).await;
    let above = world.record(2, SnapshotMethod::Automatic, &base.layers);
    world.add(&above, &Keeping::default()).await;
    let other = SandboxKey { name: SandboxName::parse("other").unwrap(), ..world.sandbox.clone() };
    world.snapshots.point(other.clone(), Some(above.id.clone()));
    world.snapshots.delete_orphans(&world.sandbox, 0, |_| true).await.unwrap();
    world.snapshots.point(world.sandbox.clone(), None);
    world.snapshots.let_go().await.unwrap();
    // Its layers are those of both.
    assert_eq!(world.there(), BTreeSet::from([above.id.clone()]));
    world.assert_layers(&[&above.layers[0], &base.layers[0]]);
    world.snapshots.point(other, None);
    world.snapshots.let_go().await.unwrap();
    assert_eq!(world.there(), BTreeSet::new());
    world.assert_layers(&[]);
}

#[tokio::test]
async fn a_later_sandbox_of_the_same_name_keeps_what_an_earlier_one_left() {
    let world = World::new();
    let earlier = world.record(5, SnapshotMethod::Manual, &[]);
    world.add(&earlier, &Keeping::default()).await;
    let keeping = keep(1, Evicted::Delete, Counted::All);
    let later = world.record(20, SnapshotMethod::Manual, &[]);
    let of = (&world.sandbox, 10);
    let keeping = (&keeping, Becomes::Current);
    world.snapshots.add(later.clone(), of, keeping, Vec::new()).await.unwrap();
    world.snapshots.delete_orphans(&world.sandbox, 10, |_| true).await.unwrap();
    assert_eq!(world.there(), BTreeSet::from([earlier.id]));
}

#[test]
fn a_walk_goes_to_what_it_came_of_and_to_the_newest_that_came_of_it() {
    let world = World::new();
    let child = |of: &SnapshotRecord, at| SnapshotRecord {
        parent: Some(of.id.clone()),
        ..world.record(at, SnapshotMethod::Manual, &[])
    };
    let root = world.record(1, SnapshotMethod::Manual, &[]);
    let (left, right) = (child(&root, 2), child(&root, 3));
    let leaf = child(&right, 4);
    let all = [leaf.clone(), right.clone(), left.clone(), root.clone()];
    let ids = |from: &SnapshotRecord, way| {
        let nodes = walk(&all, &from.id, way);
        nodes.into_iter().map(|node| node.snapshot.created_at).collect::<Vec<_>>()
    };
    assert_eq!(ids(&leaf, Walk::ToAncestors), [4, 3, 1]);
    assert_eq!(ids(&root, Walk::ToDescendants), [1, 3, 4]);
    assert_eq!(ids(&left, Walk::ToDescendants), [2]);
    assert_eq!(walk(&all, &right.id, Walk::ToAncestors)[0].siblings, [left]);
    // Records that are damaged do not make it endless.
    let mut circle = [root.clone(), right];
    circle[0].parent = Some(circle[1].id.clone());
    assert_eq!(walk(&circle, &root.id, Walk::ToAncestors).len(), 2);
}

#[tokio::test]
async fn a_name_is_of_one_that_is_there() {
    let world = World::new();
    let keeping = Keeping::default();
    let name = SnapshotName::parse("warm").unwrap();
    let named = |at| SnapshotRecord {
        name: Some(name.clone()),
        ..world.record(at, SnapshotMethod::Manual, &[])
    };
    let (first, second, third) = (named(1), named(2), named(3));
    let found = || world.snapshots.named(&first.project, "warm").map(|one| one.id);
    assert_eq!(found(), None);
    world.add(&first, &keeping).await;
    world.add(&second, &keeping).await;
    assert_eq!(found(), Some(first.id.clone()));
    assert_eq!(world.snapshots.find(&second.id).unwrap().name, None, "it is kept all the same");
    world.snapshots.delete(&first.id).await.unwrap();
    assert_eq!(found(), None);
    world.add(&third, &keeping).await;
    assert_eq!(found(), Some(third.id));
    // From when it is asked for.
    let project = &world.sandbox.project;
    let hold = |text: &str| world.snapshots.hold_name(project, SnapshotName::parse(text).unwrap());
    assert_eq!(hold("warm").unwrap_err(), NameTaken::There(found().unwrap()));
    let held = hold("hot").unwrap();
    assert_eq!(hold("hot").unwrap_err(), NameTaken::BeingMade);
    let other = Project::parse("prj_x").unwrap();
    assert!(world.snapshots.hold_name(&other, held.as_name().clone()).is_ok());
    drop(held);
    assert!(hold("hot").is_ok(), "none was made");
    for bad in ["", "snap_", "snap_x", "a b", "a/b"] {
        assert!(SnapshotName::parse(bad).is_err(), "{bad}");
    }
}
