use std::collections::BTreeMap;

use machine::Shape;

use super::*;
use crate::ids::{CommandName, SandboxName, SessionId};

fn sandbox(name: &str) -> (SandboxRecord, SessionRecord, CommandRecord) {
    let (name, session) = (SandboxName::parse(name).unwrap(), SessionId::random());
    let sandbox = SandboxRecord {
        name: name.clone(),
        project: default_project(),
        image: "default".into(),
        runtime: None,
        shape: Shape { vcpus: 1, memory_mib: 512 },
        timeout_ms: 1000,
        env: BTreeMap::from([("KEY".into(), "secret-value".into())]),
        user: "fumehood".into(),
        cwd: "/home/fumehood".into(),
        ports: vec![3000],
        tags: None,
        network_policy: None,
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
