use std::collections::BTreeMap;

use machine::Shape;

use super::*;
use crate::{
    ids::{CommandName, Lineage, SandboxName, SessionId},
    seal::Sealed,
};

fn sandbox(name: &str) -> (SandboxRecord, SessionRecord, CommandRecord) {
    let (name, session) = (SandboxName::parse(name).unwrap(), SessionId::random());
    let sandbox = SandboxRecord {
        name: name.clone(),
        project: default_project(),
        image: "default".into(),
        image_digest: None,
        runtime: None,
        shape: Shape { vcpus: 1, memory_mib: 512 },
        timeout_ms: 1000,
        env: BTreeMap::from([("KEY".into(), "secret-value".into())]),
        user: "fumehood".into(),
        cwd: "/home/fumehood".into(),
        ports: vec![3000],
        tags: None,
        trust_host_ca: true,
        created_at: 1,
        session: session.clone(),
    };
    let run = SessionRecord {
        id: session.clone(),
        sandbox: name,
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

    store.commit(vec![Change::RemoveSandbox(sandbox.name)]).await.unwrap();
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
        let network = NetworkRecord {
            sandbox: sandbox.name.clone(),
            lineage: lineage.clone(),
            sealed: sealed(),
        };
        let name = sandbox.name.clone();
        changes.extend([
            Change::Sandbox(sandbox),
            Change::Session(session),
            Change::Egress(EgressChange::Network(network)),
        ]);
        name
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

/// As the version before left it: a policy in the clear, with what secrets it held.
#[tokio::test]
async fn an_older_store_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (store, _) = Store::open(&path).unwrap();
    let (one, session, _) = sandbox("one");
    store.commit(vec![Change::Sandbox(one.clone()), Change::Session(session)]).await.unwrap();
    drop(store);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE networks; DROP TABLE authorities; DROP TABLE secrets;
         UPDATE sandboxes SET record = json_set(json_remove(record, '$.trust_host_ca'),
             '$.network_policy', json('{\"allow\":{\"a.test\":\"old-secret\"}}'));
         UPDATE sessions SET record = json_remove(record, '$.traffic');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let (store, stored) = Store::open(&path).unwrap();
    assert_eq!(stored.sandboxes, [SandboxRecord { trust_host_ca: false, ..one }]);
    assert_eq!(stored.sessions[0].traffic, Traffic::default());
    assert!(stored.networks.is_empty(), "its guest has no network");
    let now = Connection::open(&path).unwrap();
    let record: String =
        now.query_row("SELECT record FROM sandboxes", [], |row| row.get(0)).unwrap();
    assert!(!record.contains("old-secret"));
    drop(store);
}
