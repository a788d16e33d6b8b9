use std::{collections::BTreeMap, path::Path};

use machine::Shape;

use super::*;
use crate::{
    ids::{CommandName, Lineage, Project, SandboxName, SessionId},
    seal::Sealed,
};

fn sandbox(name: &str) -> (SandboxRecord, SessionRecord, CommandRecord) {
    let (name, session) = (SandboxName::parse(name).unwrap(), SessionId::random());
    let sandbox = SandboxRecord {
        name,
        project: Project::default(),
        image: "default".into(),
        image_digest: None,
        image_origin: None,
        runtime: None,
        shape: Shape { vcpus: 1, memory_mib: 512 },
        timeout_ms: 1000,
        idle_timeout_ms: None,
        env: BTreeMap::from([("KEY".into(), "secret-value".into())]),
        user: "fumehood".into(),
        cwd: "/home/fumehood".into(),
        routes: crate::route::routes(&[], &[(3000, crate::route::Admission::Private)]),
        tags: None,
        mounts: BTreeMap::new(),
        placement: Placement::default(),
        trust_host_ca: true,
        created_at: 1,
        keeping: Keeping::default(),
        current_snapshot: None,
        session: session.clone(),
        used_before: Usage { cpu_ms: 7, ..Usage::default() },
    };
    let run = SessionRecord {
        id: session.clone(),
        sandbox: sandbox.key(),
        phase: Phase::Running,
        reason: None,
        detail: None,
        timeout_ms: 1000,
        requested_at: 1,
        started_at: Some(2),
        stop_requested_at: None,
        stopped_at: None,
        updated_at: 2,
        host_boot: "b".into(),
        traffic: Traffic { sent: 1, received: 2 },
        cpu_ms: 3,
        cpu_before_ms: 1,
        shape: None,
        source_snapshot: None,
        layers: Vec::new(),
        plan: None,
        snapshotted_at: None,
        forking: None,
        above: None,
        memory_lost: None,
        forked: None,
        shared_memory: None,
        paused_at: None,
        paused_ms: 0,
        paused_cpu_ms: 0,
    };
    let command = CommandRecord {
        id: CommandName::random(),
        session,
        number: 1,
        name: "sh".into(),
        args: vec!["secret-argument".into()],
        cwd: "/".into(),
        stdin: false,
        started_at: 3,
        exit: None,
    };
    (sandbox, run, command)
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (sandbox, mut session, command) = sandbox("one");
    {
        let (store, stored) = Store::open(&path).unwrap();
        assert!(stored.sandboxes.is_empty());
        store
            .commit(vec![
                Change::Sandbox(sandbox.clone()),
                Change::Session(session.clone()),
                Change::Command(command.clone()),
            ])
            .await
            .unwrap();
        session.phase = Phase::Stopped;
        store.commit(vec![Change::Session(session.clone())]).await.unwrap();
    }
    let (store, stored) = Store::open(&path).unwrap();
    assert_eq!(stored.sandboxes, vec![sandbox.clone()]);
    assert_eq!(stored.sessions, vec![session]);
    assert_eq!(stored.commands, vec![command]);

    store.commit(vec![Change::RemoveSandbox(sandbox.key())]).await.unwrap();
    let (_, stored) = Store::open(&path).unwrap();
    assert!(stored.sessions.is_empty() && stored.commands.is_empty(), "they go with the sandbox");
}

#[tokio::test]
async fn a_commit_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (store, _) = Store::open(&path).unwrap();
    let (first, ..) = sandbox("one");
    let (_, orphan, _) = sandbox("never-stored");
    let refused = store.commit(vec![Change::Sandbox(first), Change::Session(orphan)]).await;
    assert!(matches!(refused, Err(StoreError::Sqlite(_))), "{refused:?}");
    assert!(Store::open(&path).unwrap().1.sandboxes.is_empty());
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::TooNew { found: 99, .. })));
}

#[test]
fn a_child_starts_from_nothing_that_its_parent_was_before() {
    let (mut parent, ..) = sandbox("parent");
    parent.current_snapshot = Some(crate::ids::SnapshotId::random());
    let child = parent.child();
    assert_eq!((&child.current_snapshot, child.used_before), (&None, Usage::default()));
    let own = |record: &SandboxRecord| {
        let SandboxRecord { created_at, used_before, .. } = *record;
        SandboxRecord { current_snapshot: None, created_at, used_before, ..parent.clone() }
    };
    assert_eq!(child, own(&child), "all else is the same");
}

/// Others have the same disk, and other environments.
#[test]
fn what_an_image_was_made_of_goes_with_its_disk() {
    let (mut parent, session, _) = sandbox("parent");
    parent.image_digest = Some("disk".into());
    parent.image_origin = Some("sha256:manifest".into());
    assert_eq!(parent.child().image_origin, parent.image_origin);
    let plan = SnapshotPlan {
        id: crate::ids::SnapshotId::random(),
        name: None,
        layer: crate::ids::LayerId::random(),
        method: SnapshotMethod::Manual,
        expiration_ms: 0,
    };
    let snapshot = SnapshotRecord::of(plan, &parent, session.id);
    assert_eq!(snapshot.image_origin, parent.image_origin);

    let mut old = serde_json::to_value((&parent, &snapshot)).unwrap();
    for record in old.as_array_mut().unwrap() {
        assert!(record.as_object_mut().unwrap().remove("image_origin").is_some());
    }
    let (sandbox, snapshot): (SandboxRecord, SnapshotRecord) = serde_json::from_value(old).unwrap();
    assert_eq!((sandbox.image_origin, snapshot.image_origin), (None, None));
    assert_eq!(
        (sandbox.image_digest, snapshot.image_digest.as_deref()),
        (parent.image_digest, Some("disk"))
    );
}

#[test]
fn secrets_are_not_printed() {
    let (sandbox, _, command) = sandbox("one");
    assert!(!format!("{sandbox:?} {command:?}").contains("secret"));
}

/// Something sealed, whatever it is.
fn sealed() -> Sealed {
    serde_json::from_str("\"AAAA\"").unwrap()
}

#[tokio::test]
async fn an_authority_goes_with_the_last_of_its_lineage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (store, _) = Store::open(&path).unwrap();
    let lineage = Lineage::random();
    let authority =
        AuthorityRecord { lineage: lineage.clone(), certificate: vec![1, 2], sealed: sealed() };
    let mut changes = vec![Change::Egress(EgressChange::Authority(authority.clone()))];
    let names = ["parent", "fork"].map(|name| {
        let (sandbox, session, _) = sandbox(name);
        let network =
            NetworkRecord { sandbox: sandbox.key(), lineage: lineage.clone(), sealed: sealed() };
        let key = sandbox.key();
        changes.extend([
            Change::Sandbox(sandbox),
            Change::Session(session),
            Change::Egress(EgressChange::Network(network)),
        ]);
        key
    });
    store.commit(changes).await.unwrap();
    let (_, stored) = Store::open(&path).unwrap();
    assert_eq!((stored.authorities, stored.networks.len()), (vec![authority.clone()], 2));
    let [parent, fork] = names;
    store.commit(vec![Change::RemoveSandbox(parent)]).await.unwrap();
    let (_, stored) = Store::open(&path).unwrap();
    assert_eq!((stored.authorities, stored.networks.len()), (vec![authority], 1));
    store.commit(vec![Change::RemoveSandbox(fork)]).await.unwrap();
    let (_, stored) = Store::open(&path).unwrap();
    assert!(stored.authorities.is_empty() && stored.networks.is_empty());
}

/// A store as the program of this version left it, with a sandbox of each project.
fn older(path: &Path, version: usize) -> [(SandboxRecord, SessionRecord); 2] {
    let old = Connection::open(path).unwrap();
    for step in &schema::STEPS[..version] {
        old.execute_batch(step).unwrap();
    }
    old.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
    [("one", "local"), ("two", "prj_x")].map(|(name, project)| {
        let (mut sandbox, mut session, _) = sandbox(name);
        sandbox.project = Project::parse(project).unwrap();
        session.sandbox = sandbox.key();
        let record = serde_json::to_string(&sandbox).unwrap();
        old.execute("INSERT INTO sandboxes VALUES (?1, ?2)", (name, record)).unwrap();
        let record = serde_json::to_string(&session).unwrap();
        let id = session.id.as_str();
        old.execute("INSERT INTO sessions VALUES (?1, ?2, ?3)", (id, name, record)).unwrap();
        old.execute("UPDATE sessions SET record = json_set(record, '$.sandbox', sandbox)", [])
            .unwrap();
        (sandbox, session)
    })
}

/// A policy was stored in the clear, with what secrets it held.
#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let [(one, _), (two, _)] = older(&path, 1);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "UPDATE sandboxes SET record = json_set(json_remove(record, '$.trust_host_ca', '$.placement'),
             '$.network_policy', json('{\"allow\":{\"a.test\":\"old-secret\"}}'));
         UPDATE sessions SET record = json_remove(record, '$.traffic');",
    )
    .unwrap();
    drop(old);
    let (store, stored) = Store::open(&path).unwrap();
    let untrusting = |record| SandboxRecord { trust_host_ca: false, ..record };
    assert_eq!(stored.sandboxes, [one, two].map(untrusting));
    assert_eq!(stored.sessions[0].traffic, Traffic::default());
    assert!(stored.networks.is_empty(), "its guest has no network");
    let now = Connection::open(&path).unwrap();
    let records = "SELECT group_concat(record) FROM sandboxes";
    let records: String = now.query_row(records, [], |row| row.get(0)).unwrap();
    assert!(!records.contains("old-secret"));
    drop(store);
}

/// A sandbox was known by its name alone.
#[tokio::test]
async fn sandboxes_of_an_older_store_are_found_in_their_projects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let both = older(&path, 2);
    let old = Connection::open(&path).unwrap();
    let lineage = Lineage::random();
    let authority =
        AuthorityRecord { lineage: lineage.clone(), certificate: vec![], sealed: sealed() };
    let record = serde_json::to_string(&authority).unwrap();
    old.execute("INSERT INTO authorities VALUES (?1, ?2)", (lineage.as_str(), record)).unwrap();
    let network =
        NetworkRecord { sandbox: both[1].0.key(), lineage: lineage.clone(), sealed: sealed() };
    let mut record = serde_json::to_value(&network).unwrap();
    record["sandbox"] = "two".into();
    old.execute(
        "INSERT INTO networks VALUES ('two', ?1, ?2)",
        (lineage.as_str(), record.to_string()),
    )
    .unwrap();
    drop(old);
    let (store, mut stored) = Store::open(&path).unwrap();
    stored.sessions.sort_by(|one, other| one.sandbox.cmp(&other.sandbox));
    let [(one, its), (two, other)] = both;
    assert_eq!((stored.sandboxes, stored.sessions), (vec![one, two.clone()], vec![its, other]));
    assert_eq!(stored.networks, [network]);

    // One of the same name in another project is another.
    let twin = SandboxRecord { project: Project::default(), ..two.clone() };
    store.commit(vec![Change::Sandbox(twin.clone())]).await.unwrap();
    store.commit(vec![Change::RemoveSandbox(two.key())]).await.unwrap();
    let (_, stored) = Store::open(&path).unwrap();
    assert!(stored.sandboxes.contains(&twin) && !stored.sandboxes.contains(&two));
    assert_eq!((stored.sessions.len(), stored.networks.len()), (1, 0));
}
