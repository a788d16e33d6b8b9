//! Snapshots with memory: sandboxes start from them with the processes that ran.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{
    fork::{COUNTER, count, grows, now, start},
    hood::{Hood, entries, wait_until},
};

const SECRET: &str = "sk-nowhere-to-be-seen";

fn counting(hood: &Hood, options: &[&str]) -> String {
    hood.create(&[&["--name", "parent", "--timeout", "20m", "--memory", "512"], options].concat());
    start(hood, "parent", COUNTER);
    wait_until("it counts", || count(hood, "parent").is_some());
    hood.ok(&["exec", "parent", "--", "sh", "-c", "echo before > file"]);
    count(hood, "parent").unwrap().0
}

fn memories(hood: &Hood) -> Vec<PathBuf> {
    entries(&hood.state().join("memories"))
}

pub(crate) fn unpacked(hood: &Hood) -> Vec<PathBuf> {
    entries(&hood.state().join("unpacked"))
}

fn assert_nothing_left(hood: &Hood) {
    hood.assert_nothing_left();
    assert_eq!(hood.layers(), Vec::<PathBuf>::new());
    assert_eq!((memories(hood), unpacked(hood)), (Vec::new(), Vec::new()));
}

/// The very process of the parent: its number, and what it made up in its memory.
fn assert_goes_on(hood: &Hood, name: &str, (token, counted, pid): &(String, u64, String)) {
    let now = count(hood, name).unwrap();
    assert_eq!((&now.0, &now.2), (token, pid), "{name}");
    assert!(*counted <= now.1, "{name}: {now:?}");
    grows(hood, name);
}

#[test]
fn any_number_start_with_the_memory_of_a_snapshot() {
    let hood = Hood::new();
    hood.run_with_input(&["secret", "set", "API_KEY"], SECRET.as_bytes());
    counting(&hood, &["--secret", "API_KEY@api.example.com"]);
    let placeholder = hood.ok(&["exec", "parent", "--", "sh", "-c", "echo $API_KEY"]);
    let before = count(&hood, "parent").unwrap();
    let id = hood.ok(&["snapshot", "parent", "--memory", "--name", "warm"]);
    assert!(id.starts_with("snap_"), "{id}");
    assert_goes_on(&hood, "parent", &before);
    let [file] = &memories(&hood)[..] else { panic!("one file") };
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let shown: Value = serde_json::from_str(&hood.ok(&["snapshot", "inspect", "warm"])).unwrap();
    assert_eq!((&shown["id"], &shown["name"]), (&json!(id), &json!("warm")), "{shown}");
    assert_eq!(shown["memory"]["sizeBytes"], fs::metadata(file).unwrap().size());
    let taken = hood.run(&["snapshot", "parent", "--name", "warm"]);
    assert!(taken.code != Some(0) && taken.stderr.contains("has this name"), "{taken:?}");
    assert_one_has_a_name(&hood);
    hood.ok(&["exec", "parent", "--", "sh", "-c", "echo after > file"]);

    let mut seen = vec![BTreeSet::new(); 4];
    let mut names = vec!["parent".to_owned()];
    let mut start_more = |count: usize, names: &mut Vec<String>| {
        for number in names.len()..names.len() + count {
            let name = format!("child-{number}");
            let asked = now();
            hood.create(&["--name", &name, "--snapshot", "warm"]);
            assert_goes_on(&hood, &name, &before);
            let script = "cat /etc/machine-id /proc/sys/kernel/random/boot_id; \
                head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; hostname; \
                date +%s; cat file; echo $API_KEY";
            let told = hood.ok(&["exec", &name, "--", "sh", "-c", script]);
            let lines: Vec<&str> = told.lines().collect();
            for (seen, line) in seen.iter_mut().zip(&lines) {
                assert!(seen.insert((*line).to_owned()), "{line} is of two machines");
            }
            let clock: u64 = lines[4].parse().unwrap();
            assert!((asked - 1..=now() + 1).contains(&clock), "{clock} is not {asked}");
            assert_eq!((lines[3], lines[5]), (name.as_str(), "before"));
            assert_eq!(lines[6], placeholder);
            assert!(hood.ok(&["policy", "get", &name]).contains("API_KEY"));
            names.push(name);
        }
    };
    start_more(3, &mut names);
    let [base] = &unpacked(&hood)[..] else { panic!("one memory is unpacked") };
    let ram = fs::read(base.join("ram")).unwrap();
    assert!(!ram.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()));
    hood.kill_server();
    start_more(1, &mut names);
    hood.ok(&["rm", "-f", "parent", &names[2], &names[3]]);
    hood.stop_server();
    start_more(1, &mut names);
    let path = format!("/v2/sandboxes/{}", names[5]);
    let shown = hood.api("GET", &path, &Value::Null).1;
    assert_eq!(shown["session"]["forked"], json!({"from": "parent"}), "{shown}");
    assert_eq!(shown["session"]["sourceSnapshotId"], json!(id));

    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    let more = assert_is_as_any_other(&hood, &names[1], &before);
    all.extend(more.iter().map(String::as_str));
    hood.ok(&[&["rm", "-f"], &all[1..]].concat());
    assert_nothing_left(&hood);
}

/// Of two that are asked for at once.
fn assert_one_has_a_name(hood: &Hood) {
    let both = [(); 2]
        .map(|()| hood.spawn(&["snapshot", "parent", "--memory", "--name", "once", "--json"]));
    let mut ended = both.map(|one| one.wait_with_output().unwrap());
    ended.sort_by_key(|one| one.status.code());
    let [made, refused] = ended;
    assert_eq!((made.status.code(), refused.status.code()), (Some(0), Some(246)), "{refused:?}");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("has this name"), "{told}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let shown: Value = serde_json::from_str(&hood.ok(&["snapshot", "inspect", "once"])).unwrap();
    assert_eq!((&shown["id"], &made["name"]), (&made["id"], &json!("once")), "{made}");
    hood.ok(&["snapshot", "rm", "once"]);
}

/// What starts from `warm` is forked, paused, kept in turn, also once that is gone; tells what came of it.
fn assert_is_as_any_other(hood: &Hood, child: &str, before: &(String, u64, String)) -> [String; 2] {
    let forked = hood.ok(&["fork", child]);
    assert_goes_on(hood, &forked, before);
    hood.ok(&["snapshot", child, "--memory", "--name", "warmer"]);
    hood.ok(&["pause", child]);
    hood.ok(&["snapshot", "rm", "warm"]);
    assert_eq!(memories(hood).len(), 1);
    assert_goes_on(hood, child, before);
    hood.create(&["--name", "grandchild", "--snapshot", "warmer"]);
    assert_goes_on(hood, "grandchild", before);
    hood.ok(&["stop", child]);
    let kept = hood.ok(&["exec", child, "--", "sh", "-c", "cat file; cat /tmp/count"]);
    assert!(kept.starts_with("before\n") && kept.contains(&before.0), "{kept}");
    hood.ok(&["snapshot", "rm", "warmer"]);
    ["grandchild".to_owned(), forked]
}

#[test]
fn a_memory_that_is_of_no_use_costs_the_memory_alone() {
    let hood = Hood::new();
    counting(&hood, &[]);
    let before = count(&hood, "parent").unwrap();
    for name in ["cut", "damaged", "gone", "whole"] {
        let id = hood.ok(&["snapshot", "parent", "--memory", "--name", name]);
        let file = hood.state().join("memories").join(id);
        let mut bytes = fs::read(&file).unwrap();
        let half = bytes.len() / 2;
        match name {
            "cut" => bytes.truncate(half),
            "damaged" => bytes[half] ^= 1,
            _ => {}
        }
        fs::write(&file, bytes).unwrap();
        if name == "gone" {
            fs::remove_file(&file).unwrap();
        }
    }
    let cold = |options: &[&str]| {
        let created = hood.run(&[&["create", "--name", "child"], options].concat());
        assert_eq!(created.code, Some(0), "{created:?}");
        assert_eq!(hood.ok(&["exec", "child", "--", "cat", "file"]), "before");
        let counts = hood.run(&["exec", "child", "--", "pgrep", "-f", "program.py"]);
        assert_ne!(counts.code, Some(0), "{counts:?}");
        let shown = hood.api("GET", "/v2/sandboxes/child", &Value::Null).1;
        hood.ok(&["rm", "-f", "child"]);
        assert_eq!(shown["session"]["forked"], Value::Null);
        (created.stderr, shown["session"]["memoryLost"].as_str().unwrap_or_default().to_owned())
    };
    for name in ["cut", "damaged", "gone"] {
        let (said, lost) = cold(&["--snapshot", name]);
        assert!(said.contains("disk alone") && said.contains(&lost), "{name}: {said}");
        assert!(!lost.is_empty(), "{name}");
    }
    // Who wants the disk alone is told nothing, and may ask for another machine.
    let (said, lost) = cold(&["--snapshot", "whole", "--cold", "--memory", "600"]);
    assert!(!said.contains("alone") && lost.is_empty(), "{said}");
    let refused = hood.run(&["create", "--snapshot", "whole", "--memory", "600"]);
    assert!(refused.stderr.contains("512 MiB"), "{refused:?}");
    hood.ok(&["drive", "create", "data"]);
    let refused = hood.run(&["create", "--snapshot", "whole", "--mount", "/data=data"]);
    assert!(refused.stderr.contains("memory"), "{refused:?}");
    hood.create(&["--name", "other", "--snapshot", "whole", "--memory", "512"]);
    assert_goes_on(&hood, "other", &before);

    // Back to where it was, with all that ran.
    hood.ok(&["stop", "parent"]);
    let id: Value = serde_json::from_str(&hood.ok(&["snapshot", "inspect", "whole"])).unwrap();
    let back = json!({"currentSnapshotId": id["id"]});
    assert_eq!(hood.api("PATCH", "/v2/sandboxes/parent", &back).0, 200);
    assert_goes_on(&hood, "parent", &before);

    // A snapshot of a disk can have a name too, and has no memory.
    hood.ok(&["snapshot", "other", "--name", "disk"]);
    let body = json!({"source": {"type": "snapshot", "snapshotId": "disk", "memory": true}});
    let (status, answer) = hood.api("POST", "/v2/sandboxes", &body);
    assert_eq!(status, 400, "{answer}");
    hood.create(&["--name", "next", "--snapshot", "disk"]);
    assert_eq!(hood.ok(&["exec", "next", "--", "cat", "file"]), "before");
    hood.ok(&["rm", "-f", "parent", "other", "next"]);
    hood.ok(&["snapshot", "rm", "cut", "damaged", "gone", "whole", "disk"]);
    assert_nothing_left(&hood);
}

/// As in the server's `failpoint` module, those that a snapshot with memory passes, and then a start from it.
const POINTS: [&str; 3] = ["fork-taken", "memory-written", "snapshot-recorded"];
const STARTING: [&str; 3] = ["create-recorded", "machine-cloned", "gateway-started"];

/// Whenever the server dies the parent goes on, and there is the whole snapshot or nothing of it.
#[test]
fn killed_at_every_point_of_a_snapshot_with_memory() {
    let mut hood = Hood::new();
    counting(&hood, &[]);
    let before = count(&hood, "parent").unwrap();
    for point in POINTS {
        let server = hood.serve_until(point);
        let ran = hood.run(&["snapshot", "parent", "--memory", "--name", point]);
        let died = server.wait_with_output().unwrap();
        assert!(died.status.code().is_none(), "{point}: the server did not die: {ran:?}");
        assert_goes_on(&hood, "parent", &before);
        let is_there = hood.run(&["snapshot", "inspect", point]).code == Some(0);
        assert_eq!(is_there, point == "snapshot-recorded", "{point}");
        assert_eq!(memories(&hood).len(), usize::from(is_there), "{point}");
    }
    for point in STARTING {
        let server = hood.serve_until(point);
        let ran = hood.run(&["create", "--name", "child", "--snapshot", "snapshot-recorded"]);
        let died = server.wait_with_output().unwrap();
        assert!(died.status.code().is_none(), "{point}: the server did not die: {ran:?}");
        hood.ok(&["rm", "-f", "child"]);
        hood.create(&["--name", "child", "--snapshot", "snapshot-recorded"]);
        assert_goes_on(&hood, "child", &before);
        hood.ok(&["rm", "-f", "child"]);
    }
    hood.ok(&["snapshot", "rm", "snapshot-recorded"]);
    hood.ok(&["rm", "-f", "parent"]);
    assert_nothing_left(&hood);
}
