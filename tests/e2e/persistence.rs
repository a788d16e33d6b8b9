//! Disks that are kept: stop and resume, snapshots, forks, and what becomes of them.

use std::{fs, os::unix::fs::MetadataExt};

use serde_json::{Value, json};

use crate::{
    hood::{Hood, kill, wait_until},
    images::{SMALL, hood_of_its_own},
    ports::visitor::visit,
    registry::Registry,
};

/// Of the host's disk.
fn size(hood: &Hood) -> u64 {
    hood.layers().iter().map(|path| fs::metadata(path).unwrap().blocks() * 512).sum()
}

fn snapshots(hood: &Hood, of: &[&str]) -> Vec<Value> {
    let text = hood.ok(&[&["snapshot", "ls", "--json"], of].concat());
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

#[test]
fn a_sandbox_goes_on_with_its_disk_after_a_stop() {
    let hood = Hood::new();
    hood.create(&["--name", "box"]);
    // Not told to be on the disk yet: the stop sees to that.
    let script = "echo kept > file; mkdir deep; echo too > deep/file; ln -s file link; \
                  sudo sh -c 'echo root > /root/file'; sleep 1000 &";
    hood.ok(&["exec", "box", "--", "sh", "-c", script]);
    hood.ok(&["stop", "box"]);
    hood.ok(&["stop", "box"]);
    assert!(hood.machines().is_empty());
    assert_eq!(hood.layers().len(), 1);
    assert!(size(&hood) < 8 << 20, "{} bytes for some files", size(&hood));
    assert!(hood.ok(&["ls"]).contains("box"), "what goes on is listed");

    // Any command resumes it; processes have not gone on.
    let script = "cat file deep/file link; sudo cat /root/file; pgrep sleep; hostname";
    assert_eq!(hood.ok(&["exec", "box", "--", "sh", "-c", script]), "kept\ntoo\nkept\nroot\nbox");
    assert_eq!(hood.ok(&["logs", "box"]), "kept\ntoo\nkept\nroot\nbox");
    hood.ok(&["exec", "box", "--", "sh", "-c", "rm file; echo more > other"]);
    hood.ok(&["stop", "box"]);
    let resumed = hood.ok(&["resume", "box"]);
    assert_eq!(resumed, "");
    assert_eq!(hood.machines().len(), 1);
    assert_eq!(hood.ok(&["exec", "box", "--", "ls"]), "deep\nlink\nother");
    // Only the newest is kept.
    assert_eq!(snapshots(&hood, &["box"]).len(), 1);
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
    assert_eq!(hood.layers(), Vec::<std::path::PathBuf>::new());
    assert_eq!(snapshots(&hood, &[]), Vec::<Value>::new());
}

/// However often it was stopped, a disk stands on few layers, and holds what each session wrote.
#[test]
fn layers_are_merged() {
    const SESSIONS: usize = 9;
    let hood = Hood::new();
    hood.create(&["--name", "box"]);
    let files = |hood: &Hood| hood.ok(&["exec", "box", "--", "sh", "-c", "cat file; cat all*"]);
    for session in 0..SESSIONS {
        let script = format!("echo {session} > file; echo {session} > all{session}");
        hood.ok(&["exec", "box", "--", "sh", "-c", &script]);
        hood.ok(&["stop", "box"]);
    }
    let written =
        (0..SESSIONS).fold(format!("{}", SESSIONS - 1), |all, one| format!("{all}\n{one}"));
    assert_eq!(files(&hood), written);
    let log = hood.state().join("server.log");
    wait_until("its layers are merged", || {
        fs::read_to_string(&log).unwrap().contains("layers were merged")
    });
    hood.ok(&["stop", "box"]);
    // It may have been the session before that had the time to merge them.
    assert!((1..=2).contains(&hood.layers().len()), "{:?}", hood.layers());
    assert_eq!(files(&hood), written);
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
    assert_eq!(hood.layers().len(), 0);
}

/// Whatever ends it: its time, its kernel, its machine. What the guest had written is there.
#[test]
fn whatever_ends_it_the_disk_is_kept() {
    let hood = Hood::new();
    hood.create(&["--name", "timed", "--timeout", "4s"]);
    hood.ok(&["exec", "timed", "--", "sh", "-c", "echo kept > file"]);
    wait_until("its time is over", || {
        hood.end_reason("timed").as_deref() == Some("the sandbox reached its timeout")
    });
    hood.create(&["--name", "killed"]);
    hood.ok(&["exec", "killed", "--", "sh", "-c", "echo kept > file; sync"]);
    hood.machines().into_iter().for_each(|pid| kill(pid, rustix::process::Signal::KILL));
    wait_until("it has ended", || {
        hood.end_reason("killed").as_deref() == Some("the machine crashed")
    });
    hood.create(&["--name", "panicked"]);
    let panics = "echo kept > file; sync; echo c | sudo tee /proc/sysrq-trigger; sleep 1000";
    let ran = hood.run(&["exec", "panicked", "--", "sh", "-c", panics]);
    assert_eq!(ran.code, Some(245), "{ran:?}");
    for name in ["timed", "killed", "panicked"] {
        assert_eq!(hood.ok(&["exec", name, "--", "cat", "file"]), "kept", "{name}");
        hood.ok(&["rm", "-f", name]);
    }
    hood.assert_nothing_left();
    assert_eq!(hood.layers().len(), 0);
}

#[test]
fn a_snapshot_is_where_others_start() {
    let hood = Hood::new();
    hood.create(&["--name", "base"]);
    hood.ok(&["exec", "base", "--", "sh", "-c", "echo shared > file"]);
    let id = hood.ok(&["snapshot", "base"]);
    assert!(id.starts_with("snap_"), "{id}");
    let one = hood.create(&["--snapshot", &id]);
    let two = hood.create(&["--snapshot", &id, "--no-persistent"]);
    for name in [&one, &two] {
        assert_eq!(hood.ok(&["exec", name, "--", "cat", "file"]), "shared");
        hood.ok(&["exec", name, "--", "sh", "-c", "hostname > file"]);
    }
    // The one that it was taken of goes on too, and what is written after it is in no other.
    assert_eq!(hood.ok(&["exec", "base", "--", "cat", "file"]), "shared");
    hood.ok(&["exec", "base", "--", "sh", "-c", "echo changed > file"]);
    hood.ok(&["stop", "base"]);
    assert_eq!(hood.ok(&["exec", &one, "--", "cat", "file"]), one);
    assert_eq!(hood.ok(&["exec", "base", "--", "cat", "file"]), "changed");
    let made: Vec<Value> = snapshots(&hood, &["base"]);
    let told = |key: &str| made.iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    assert_eq!(told("creationMethod"), ["automatic", "manual"], "the newest first");
    assert_eq!(told("id")[1], *id);
    assert_eq!(made[0]["parentId"], *id);

    // Deleted, it is there for those that run on it, and for nobody else.
    hood.ok(&["snapshot", "rm", &id, &id]);
    assert_eq!(
        hood.ok(&["exec", &one, "--", "sh", "-c", "cat file; cat /etc/os-release >&2"]),
        one
    );
    let late = hood.run(&["create", "--snapshot", &id]);
    assert!(late.code == Some(242) && late.stderr.contains("deleted"), "{late:?}");
    let inspected: Value = serde_json::from_str(&hood.ok(&["snapshot", "inspect", &id])).unwrap();
    assert_eq!(inspected["status"], "deleted");
    hood.ok(&["stop", &one]);
    assert_eq!(hood.ok(&["exec", &one, "--", "cat", "file"]), one);
    // What is not kept has nothing to go on from, not even that where it began.
    hood.ok(&["stop", &two]);
    cannot_go_on(&hood, &two);
    hood.ok(&["rm", "-f", "base", &one, &two]);
    hood.assert_nothing_left();
    assert_eq!(hood.layers().len(), 0);
    assert!(hood.ok(&["snapshot", "ls", "--all"]).contains(&id), "it is remembered");
}

#[test]
fn forks_and_changes() {
    let hood = Hood::new();
    hood.create(&["--name", "source", "-e", "KEY=value", "--memory", "512"]);
    hood.ok(&["exec", "source", "--", "sh", "-c", "echo first > file"]);
    hood.ok(&["stop", "source"]);
    let first = hood.api("GET", "/v2/sandboxes/source", &Value::Null).1["sandbox"].clone();
    let tags = json!({"tags": {"a": "b"}, "name": "fork", "keepLastSnapshots": null});
    let (status, fork) = hood.api("POST", "/v2/sandboxes/source/fork", &tags);
    assert_eq!((status, &fork["sandbox"]["status"]), (200, &json!("running")), "{fork}");
    assert_eq!(fork["session"]["sourceSnapshotId"], first["currentSnapshotId"]);
    assert_eq!(fork["session"]["memory"], 512);
    assert_eq!(fork["sandbox"]["tags"], json!({"a": "b"}));
    assert_eq!(hood.ok(&["exec", "fork", "--", "sh", "-c", "cat file; echo $KEY"]), "first\nvalue");

    // Rolled back to what it was forked from.
    hood.ok(&["exec", "fork", "--", "sh", "-c", "echo second > file"]);
    hood.ok(&["stop", "fork"]);
    assert_eq!(hood.ok(&["exec", "fork", "--", "cat", "file"]), "second");
    hood.ok(&["stop", "fork"]);
    let back = json!({"currentSnapshotId": first["currentSnapshotId"], "env": {"KEY": "other"},
        "resources": {"vcpus": 2, "memory": 1024}, "timeout": 60_000, "tags": {},
        "snapshotExpiration": 0, "persistent": false, "networkPolicy": {"mode": "deny-all"}});
    let (status, changed) = hood.api("PATCH", "/v2/sandboxes/fork?resume=true", &back);
    assert_eq!((status, &changed["resumed"]), (200, &json!(true)), "{changed}");
    assert_eq!(changed["session"]["vcpus"], 2);
    assert_eq!(changed["sandbox"]["timeout"], 60_000);
    assert_eq!(changed["session"]["networkPolicy"]["mode"], "deny-all");
    assert_eq!(
        hood.ok(&["exec", "fork", "--", "sh", "-c", "cat file; echo $KEY; nproc"]),
        "first\nother\n2"
    );
    // Not persistent any more, it keeps nothing of this session.
    hood.ok(&["exec", "fork", "--", "sh", "-c", "echo third > file"]);
    hood.ok(&["stop", "fork"]);
    assert_eq!(hood.ok(&["exec", "fork", "--", "cat", "file"]), "first");

    let refused = [
        (json!({"currentSnapshotId": "snap_nothing"}), 404, "not_found"),
        (json!({"snapshotExpiration": 5}), 400, "bad_request"),
        (json!({"keepLastSnapshots": {"count": 0}}), 400, "bad_request"),
        (json!({"resources": {"vcpus": 99}}), 400, "bad_request"),
        (json!({"tags": {"": "x"}, "timeout": 70_000}), 400, "bad_request"),
    ];
    for (body, status, code) in refused {
        let (found, reply) = hood.api("PATCH", "/v2/sandboxes/fork", &body);
        assert_eq!((found, &reply["error"]["code"]), (status, &json!(code)), "{body}");
    }
    let now = hood.api("GET", "/v2/sandboxes/fork", &Value::Null).1;
    assert_eq!(now["sandbox"]["timeout"], 60_000, "what is refused changes nothing");
    let sessions = hood.api("GET", "/v2/sandboxes/sessions?name=fork&limit=2", &Value::Null).1;
    assert_eq!(sessions["sessions"][0]["id"], now["session"]["id"]);
    let next = sessions["pagination"]["next"].as_str().unwrap();
    let path = format!("/v2/sandboxes/sessions?name=fork&limit=50&cursor={next}");
    assert_eq!(hood.api("GET", &path, &Value::Null).1["pagination"]["count"], 2);
    hood.ok(&["rm", "-f", "source", "fork"]);
    hood.assert_nothing_left();
    assert_eq!(hood.layers().len(), 0);
}

/// What a sandbox is to start from next is of another image: what runs stays what it is until then.
#[test]
fn what_is_next_changes_nothing_of_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (hood, registry) = (hood_of_its_own(folder.path()), Registry::start());
    for name in ["one", "two"] {
        let image =
            registry.push_with(name, &[], |root| fs::write(root.join("which"), name).unwrap());
        hood.create(&[&["--name", name, "--image", &image], &SMALL[..]].concat());
    }
    hood.ok(&["stop", "two"]);
    let next = hood.api("GET", "/v2/sandboxes/two", &Value::Null).1["sandbox"].clone();
    let change = || {
        let next = json!({"currentSnapshotId": next["currentSnapshotId"]});
        assert_eq!(hood.api("PATCH", "/v2/sandboxes/one", &next).0, 200);
    };
    let sh = |name: &str, script: &str| {
        hood.ok(&["exec", "--sudo", name, "--", "/busybox", "sh", "-c", script])
    };
    // From the disk, not from the guest's memory.
    let look = |name: &str| {
        sh(name, "echo 3 > /proc/sys/vm/drop_caches; /busybox cat /which /kept 2>/dev/null || true")
    };
    sh("one", "echo , > /kept; /busybox sync");
    change();
    assert_eq!(look("one"), "one,");
    hood.ok(&["pause", "one"]);
    assert_eq!(look("one"), "one,", "it goes on with its own image");
    let child = hood.ok(&["fork", "one"]);
    assert_eq!(look(&child), "one,");
    hood.ok(&["commit", "one", "me/made:1"]);
    let made = ["run", "--pull", "never", "--image", "me/made:1"];
    let read = ["--", "/busybox", "cat", "/which", "/kept"];
    assert_eq!(hood.ok(&[&made[..], &SMALL, &read].concat()), "one,");
    hood.ok(&["stop", "one"]);
    assert_eq!(look("one"), "one,", "it is kept on its own image");
    hood.ok(&["stop", "one"]);
    change();
    assert_eq!(look("one"), "two");
    hood.ok(&["rm", "-f", "one", "two", &child]);
    hood.assert_nothing_left();
}

/// The host has lost its power: what a sandbox leaves is kept at the next server's start, and takes nothing
/// away from another.
#[test]
fn what_is_kept_at_a_start_takes_away_nothing_of_others() {
    let hood = Hood::new();
    for name in ["one", "two"] {
        hood.create(&["--name", name]);
        hood.ok(&["exec", name, "--", "sh", "-c", &format!("echo {name} > file")]);
        hood.ok(&["stop", name]);
    }
    let one = hood.api("GET", "/v2/sandboxes/one", &Value::Null).1["sandbox"].clone();
    let next = json!({"currentSnapshotId": one["currentSnapshotId"]});
    assert_eq!(hood.api("PATCH", "/v2/sandboxes/two", &next).0, 200);
    hood.ok(&["exec", "one", "--", "true"]);
    hood.kill_server();
    hood.machines().into_iter().for_each(|pid| kill(pid, rustix::process::Signal::KILL));
    let is_kept = || {
        let now = hood.api("GET", "/v2/sandboxes/one", &Value::Null).1["sandbox"].clone();
        now["currentSnapshotId"] != one["currentSnapshotId"]
    };
    wait_until("its disk is kept", is_kept);
    assert_eq!(hood.ok(&["exec", "two", "--", "cat", "file"]), "one");
    hood.ok(&["rm", "-f", "one", "two"]);
    hood.assert_nothing_left();
}

/// Who calls a session that is over is told so, and whoever resumes it at once gets one session.
#[test]
fn a_stopped_session_is_gone_and_resumed_once() {
    let hood = Hood::new();
    hood.create(&["--name", "box"]);
    let session = hood.api("GET", "/v2/sandboxes/box", &Value::Null).1["session"]["id"].clone();
    let of_session =
        |rest: &str| format!("/v2/sandboxes/sessions/{}{rest}", session.as_str().unwrap());
    let (status, longer) =
        hood.api("POST", &of_session("/extend-timeout"), &json!({"duration": 60_000}));
    assert_eq!((status, &longer["session"]["timeout"]), (200, &json!(360_000)), "{longer}");
    let forever = json!({"duration": u64::MAX});
    let (status, reply) = hood.api("POST", &of_session("/extend-timeout"), &forever);
    assert_eq!((status, &reply["error"]["code"]), (400, &json!("sandbox_timeout_invalid")));
    let (status, stopped) = hood.api("POST", &of_session("/stop"), &Value::Null);
    assert_eq!((status, &stopped["session"]["status"]), (200, &json!("stopped")), "{stopped}");
    assert_eq!(stopped["snapshot"]["creationMethod"], "automatic");
    assert_eq!(stopped["sandbox"]["currentSnapshotId"], stopped["snapshot"]["id"]);
    for (method, rest, body) in [
        ("POST", "/cmd", json!({"command": "true"})),
        ("POST", "/snapshot", Value::Null),
        ("POST", "/extend-timeout", json!({"duration": 1000})),
        ("POST", "/network-policy", json!({"mode": "deny-all"})),
        ("POST", "/fs/read", json!({"path": "x"})),
        ("POST", "/fs/mkdir", json!({"path": "x"})),
    ] {
        let (status, reply) = hood.api(method, &of_session(rest), &body);
        assert_eq!((status, &reply["error"]["code"]), (410, &json!("sandbox_stopped")), "{rest}");
    }
    assert_eq!(hood.api("GET", &of_session(""), &Value::Null).0, 200);
    assert_eq!(hood.api("GET", "/v2/sandboxes/box", &Value::Null).0, 200);
    assert_eq!(hood.api("POST", &of_session("/stop"), &Value::Null).0, 200);

    let replies: Vec<Value> = std::thread::scope(|scope| {
        let ask = || hood.api("GET", "/v2/sandboxes/box?resume=true", &Value::Null);
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|reply| reply.join().unwrap().1).collect()
    });
    let resumed = replies.iter().filter(|reply| reply["resumed"] == true).count();
    assert_eq!(resumed, 1, "{replies:?}");
    assert!(replies.iter().all(|reply| reply["session"]["id"] == replies[0]["session"]["id"]));
    assert_eq!(hood.machines().len(), 1);

    // Without a snapshot there is nothing to go on from.
    let now = replies[0]["session"]["id"].as_str().unwrap();
    let (_, stopped) =
        hood.api("POST", &format!("/v2/sandboxes/sessions/{now}/stop"), &Value::Null);
    let snapshot = stopped["snapshot"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        hood.api("DELETE", &format!("/v2/sandboxes/snapshots/{snapshot}"), &Value::Null).0,
        200
    );
    cannot_go_on(&hood, "box");
    let ran = hood.run(&["exec", "box", "--", "true"]);
    assert!(ran.code == Some(245) && ran.stderr.contains("was stopped"), "{ran:?}");
    hood.ok(&["rm", "box"]);
    hood.assert_nothing_left();
    assert_eq!(hood.layers().len(), 0);
}

/// A stopped sandbox is looked at and changed, and who would use it is told that it cannot go on.
#[track_caller]
fn cannot_go_on(hood: &Hood, name: &str) {
    let path = format!("/v2/sandboxes/{name}");
    for asked in ["", "?resume=true"] {
        let (status, reply) = hood.api("GET", &format!("{path}{asked}"), &Value::Null);
        assert_eq!((status, &reply["error"]["code"]), (410, &json!("snapshot_not_found")));
    }
    let (status, seen) = hood.api("GET", &format!("{path}?resume=false"), &Value::Null);
    assert_eq!((status, &seen["sandbox"]["status"]), (200, &json!("stopped")), "{seen}");
    let (status, changed) = hood.api("PATCH", &path, &json!({"tags": {"a": "b"}}));
    assert_eq!((status, &changed["sandbox"]["tags"]["a"]), (200, &json!("b")), "{changed}");
}

/// While a session is being saved nothing begins in it, and whoever asks is told why.
#[test]
fn who_asks_while_a_disk_is_kept_is_told_so() {
    let hood = Hood::new();
    hood.create(&["--name", "box", "--no-persistent", "-p", "3000"]);
    let found = hood.api("GET", "/v2/sandboxes/box", &Value::Null).1;
    let session = format!("/v2/sandboxes/sessions/{}", found["session"]["id"].as_str().unwrap());
    let port = found["routes"][0]["url"].as_str().unwrap();
    // A guest that cannot write what it has holds up its session's end.
    let machine = hood.machines()[0];
    kill(machine, rustix::process::Signal::STOP);
    let taken = std::thread::scope(|scope| {
        let asked = || hood.api("POST", &format!("{session}/snapshot"), &Value::Null);
        let taken = scope.spawn(asked);
        wait_until("it is being saved", || {
            hood.api("GET", &session, &Value::Null).1["session"]["status"] == "snapshotting"
        });
        let command = json!({"command": "true"});
        let (status, reply) = hood.api("POST", &format!("{session}/cmd"), &command);
        assert_eq!((status, &reply["error"]["code"]), (422, &json!("sandbox_snapshotting")));
        assert_eq!(hood.api("GET", "/v2/sandboxes/box", &Value::Null).0, 200);
        let reply = visit(&[port]);
        assert_eq!((reply.status, reply.code().as_str()), (422, "SANDBOX_SNAPSHOTTING"));
        assert!(visit(&["-H", "accept: text/html", port]).body.contains("is being saved"));
        kill(machine, rustix::process::Signal::CONT);
        taken.join().unwrap()
    });
    assert_eq!((taken.0, &taken.1["snapshot"]["status"]), (201, &json!("created")), "{taken:?}");
    hood.ok(&["rm", "-f", "box"]);
    hood.ok(&["snapshot", "rm", taken.1["snapshot"]["id"].as_str().unwrap()]);
    hood.assert_nothing_left();
}
