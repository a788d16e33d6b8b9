//! Drives: what is written to one outlives the sandbox, whatever happens to guest and server.

use std::fs;

use serde_json::{Value, json};

use crate::hood::{Hood, entries, kill, wait_until};

const WRITE: &str = "echo kept > /data/file && sync";

/// Runs a script in a sandbox that has a drive at `/data`.
fn sh(hood: &Hood, mount: &str, script: &str) -> String {
    let mount = format!("/data={mount}");
    hood.ok(&["run", "--memory", "512", "--mount", &mount, "--", "sh", "-c", script])
}

#[track_caller]
fn refused(hood: &Hood, arguments: &[&str], why: &str) {
    let ran = hood.run(arguments);
    assert_eq!(ran.code, Some(246), "{arguments:?}: {ran:?}");
    assert!(ran.stderr.contains(why), "{arguments:?}: {ran:?}");
}

fn files(hood: &Hood) -> usize {
    entries(&hood.state().join("drives")).len()
}

#[test]
fn a_drive_outlives_its_sandboxes_and_is_written_by_one() {
    let hood = Hood::new();
    assert_eq!(hood.ok(&["drive", "create", "d", "--size", "256M"]), "d");
    refused(&hood, &["run", "--mount", "/data=d:snapshot", "--", "true"], "written");
    refused(&hood, &["drive", "fork", "d", "e"], "written");
    let none = hood.run(&["run", "--mount", "/data=none", "--", "true"]);
    assert_eq!(none.code, Some(242), "{none:?}");

    // It is its user's, whoever that is, empty, and nothing on it is more than a file.
    let script = "ls -A /data; stat -c %U /data; grep ' /data ' /proc/mounts | cut -d ' ' -f 3-4";
    let told = sh(&hood, "d", &format!("{WRITE}; {script}"));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..2], ["file", "fumehood"], "{told}");
    assert!(lines[2].starts_with("ext4 rw,nosuid,nodev,"), "{told}");

    let writer = hood.create(&["--memory", "512", "--mount", "/a/b/data=d"]);
    assert_eq!(hood.ok(&["exec", &writer, "--", "cat", "/a/b/data/file"]), "kept");
    refused(&hood, &["run", "--mount", "/data=d", "--", "true"], "attached");
    refused(&hood, &["drive", "rm", "d"], "attached");
    hood.ok(&["exec", &writer, "--", "sh", "-c", "echo new > /a/b/data/file"]);
    // Who reads sees what the last writer left, and can write none of it.
    let script = "cat /data/file; ! touch /data/other 2>/dev/null";
    assert_eq!(sh(&hood, "d:snapshot", script), "kept");
    assert_eq!(hood.ok(&["drive", "fork", "d", "e"]), "e");
    let listed: Value = serde_json::from_str(&hood.ok(&["drive", "ls", "--json"])).unwrap();
    assert_eq!(listed[0]["currentSandboxName"], writer.as_str(), "{listed}");
    assert_eq!(listed[1]["parentDriveId"], listed[0]["id"], "{listed}");
    // The stop has the guest write out what it holds.
    hood.ok(&["stop", &writer]);
    assert_eq!(sh(&hood, "d:ro", "cat /data/file"), "new");
    assert_eq!(sh(&hood, "e", "cat /data/file; echo mine > /data/file"), "kept");
    assert_eq!(sh(&hood, "e", "cat /data/file"), "mine");
    hood.ok(&["rm", "-f", &writer]);
    hood.ok(&["drive", "rm", "d"]);
    assert_eq!(sh(&hood, "e", "cat /data/file"), "mine");
    hood.ok(&["drive", "rm", "e"]);
    wait_until("no file is left", || files(&hood) == 0);
    hood.assert_nothing_left();
}

#[test]
fn four_drives_and_one_that_is_full() {
    let hood = Hood::new();
    let mut options = vec!["--memory".to_owned(), "512".to_owned()];
    for name in ["one", "two", "three", "four"] {
        hood.ok(&["drive", "create", name, "--size", "64M"]);
        options.extend(["--mount".to_owned(), format!("/{name}={name}")]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let name = hood.create(&options);
    let script = "cd /one && echo first > a && for d in two three four; do echo $d > /$d/name; done
        dd if=/dev/zero of=big bs=1M count=100 2>&1 | grep -o 'No space left on device'
        rm big && echo again > b && sync && cat a b /two/name /three/name /four/name";
    let told = hood.ok(&["exec", &name, "--", "sh", "-c", script]);
    let expected = ["No space left on device", "first", "again", "two", "three", "four"];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    // What was deleted takes no space on the host any more.
    hood.ok(&["exec", "--sudo", &name, "--", "fstrim", "/one"]);
    hood.ok(&["rm", "-f", &name]);
    let mut fifth = options.clone();
    fifth.extend(["--mount", "/five=one"]);
    let ran = hood.run(&[&["create"], fifth.as_slice()].concat());
    assert!(ran.stderr.contains("4 at most"), "{ran:?}");
    let ran = hood.run(&["create", "--mount", "/proc/x=one"]);
    assert!(ran.stderr.contains("/proc"), "{ran:?}");
    // Where an image has a link, the drive is mounted where that leads, and never outside the root.
    let ran = hood.run(&["run", "--memory", "512", "--mount", "/var/run/x=one", "--", "true"]);
    assert!(ran.stderr.contains("root file system"), "{ran:?}");
    hood.assert_nothing_left();
}

/// A guest that dies while it writes leaves a file system that the next one repairs.
#[test]
fn what_was_synced_is_there_after_a_crash_of_machine_and_server() {
    let hood = Hood::new();
    hood.ok(&["drive", "create", "d", "--size", "256M"]);
    let busy = "while :; do echo more >> /data/log; mkdir -p /data/$(date +%N); done";
    for ends in ["machine", "both", "server"] {
        let name = hood.create(&["--memory", "512", "--mount", "/data=d"]);
        let write = format!("echo {ends} >> /data/file; sync; setsid sh -c '{busy}' &");
        hood.ok(&["exec", &name, "--", "sh", "-c", &write]);
        hood.ok(&["exec", &name, "--", "sh", "-c", "while [ ! -s /data/log ]; do :; done"]);
        if ends != "machine" {
            hood.kill_server();
        }
        if ends != "server" {
            hood.machines().into_iter().for_each(|pid| {
                kill(pid, rustix::process::Signal::KILL);
            });
            wait_until("the machine is gone", || hood.machines().is_empty());
        } else {
            // It is the writer's still.
            refused(&hood, &["run", "--mount", "/data=d", "--", "true"], "attached");
        }
        hood.ok(&["rm", "-f", &name]);
        let whole = "cat /data/file >&2; test -s /data/log; mount | grep -q ' /data .*(ro'";
        sh(&hood, "d:snapshot", whole);
    }
    assert_eq!(sh(&hood, "d", "cat /data/file"), "machine\nboth\nserver");
    hood.assert_nothing_left();
}

#[test]
fn mounts_are_changed_for_the_next_session_and_forks_have_their_own() {
    let hood = Hood::new();
    hood.ok(&["drive", "create", "d", "--size", "64M"]);
    hood.ok(&["--project", "other", "drive", "create", "theirs", "--size", "64M"]);
    sh(&hood, "d", WRITE);
    let options = ["--memory", "512", "-e", "A=1", "-e", "B=2"];
    hood.create(&[&["--name", "box", "--mount", "/data=d"][..], &options].concat());
    let change = |body: Value| hood.api("PATCH", "/v2/sandboxes/box", &json!({"mounts": body}));
    let of = |drive: &str, mode: &str| json!({"drive": drive, "mode": mode});
    let writes = || of("d", "read-write");
    let refused = [
        (json!(5), 400, "`mounts`"),
        (json!({"/x": 5}), 400, "`mounts"),
        (json!({"/x": ["d"]}), 400, "`mounts"),
        (json!({"/x": of("d", "rw")}), 400, "`mounts"),
        (json!({"/proc/x": writes()}), 400, "`mounts`"),
        (json!({"/x": writes(), "/y": writes()}), 400, "`mounts`"),
        (json!({"/x": of("none", "snapshot")}), 404, "'none'"),
        (json!({"/x": of("theirs", "snapshot")}), 404, "'theirs'"),
    ];
    for (mounts, status, why) in refused {
        let (found, reply) = change(mounts.clone());
        let said = reply["error"]["message"].as_str().unwrap_or_default();
        assert!(found == status && said.contains(why), "{mounts}: {found} {reply}");
    }
    let before = hood.api("GET", "/v2/sandboxes/box", &Value::Null).1;
    assert_eq!(before["sandbox"]["mounts"], json!({"/data": writes()}));

    // What runs keeps what it has, and can neither be forked live nor paused.
    let exec = |name: &str, script: &str| hood.ok(&["exec", name, "--", "sh", "-c", script]);
    assert_eq!(change(json!({})).0, 200);
    assert_eq!(exec("box", "cat /data/file"), "kept");
    for verb in ["fork", "pause"] {
        let ran = hood.run(&[verb, "box"]);
        assert!(ran.stderr.contains("drives"), "{verb}: {ran:?}");
    }
    let fork = |body: Value| hood.api("POST", "/v2/sandboxes/box/fork", &body);
    for (body, why) in [
        (json!({"mounts": 5}), "`mounts`"),
        (json!({"mounts": {"d": writes()}}), "`mounts`"),
        (json!({"image": 5}), "`image`"),
        (json!({"image": ""}), "`image`"),
        (json!({"image": "debian:sid"}), "`image`"),
    ] {
        let (status, reply) = fork(body.clone());
        let said = reply["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && said.contains(why), "{body}: {status} {reply}");
    }
    let image = &before["sandbox"]["image"];
    let body = json!({"name": "fork", "image": image, "env": {"B": "9"},
        "mounts": {"/data": of("d", "snapshot")}});
    let (status, made) = fork(body);
    assert_eq!((status, &made["sandbox"]["mounts"]["/data"]["drive"]), (200, &json!("d")));
    assert_eq!(exec("fork", "cat /data/file; echo $A$B"), "kept\n9");
    hood.ok(&["rm", "-f", "fork"]);

    // The next session has what was asked for last; a fork has none of it unless it asks.
    let (status, changed) = change(json!({"/other": writes()}));
    assert_eq!((status, &changed["sandbox"]["mounts"]), (200, &json!({"/other": writes()})));
    hood.ok(&["stop", "box"]);
    assert_eq!(exec("box", "cat /other/file; test -e /data/file || echo gone"), "kept\ngone");
    let (status, made) = fork(json!({"name": "fork"}));
    assert_eq!((status, &made["sandbox"]["mounts"]), (200, &Value::Null), "{made}");
    assert_eq!(exec("fork", "grep -c /other /proc/mounts; echo $A$B"), "0\n12");

    // What is to have drives begins from the disk, whatever memory there is.
    let id = hood.ok(&["snapshot", "--memory", "fork"]);
    hood.ok(&["stop", "fork"]);
    let body = json!({"currentSnapshotId": id, "mounts": {"/data": of("d", "snapshot")}});
    let (status, changed) = hood.api("PATCH", "/v2/sandboxes/fork", &body);
    assert_eq!(status, 200, "{changed}");
    assert_eq!(exec("fork", "cat /data/file"), "kept");
    hood.ok(&["rm", "-f", "fork", "box"]);
    hood.ok(&["snapshot", "rm", &id]);
    hood.assert_nothing_left();
}

/// As in the server's `failpoint` module, those where a session has drives.
const POINTS: [&str; 4] =
    ["drives-recorded", "drives-mounted", "machine-killed", "drives-detached"];

#[test]
fn a_server_killed_at_any_point_loses_no_drive() {
    for point in POINTS {
        let mut hood = Hood::new();
        hood.ok(&["drive", "create", "d", "--size", "64M"]);
        sh(&hood, "d", WRITE);
        let server = hood.serve_until(point);
        let mount = ["--mount", "/data=d"];
        let ran = hood.run(&[&["run", "--name", "victim"], &mount[..], &["--", "true"]].concat());
        let died = server.wait_with_output().unwrap();
        assert!(died.status.code().is_none(), "{point}: the server did not die: {ran:?}");
        hood.ok(&["rm", "-f", "victim"]);
        assert_eq!(sh(&hood, "d", "cat /data/file; echo > /data/more"), "kept", "{point}");
        hood.ok(&["drive", "rm", "d"]);
        wait_until("no file is left", || files(&hood) == 0);
        hood.assert_nothing_left();
    }
}

#[test]
fn a_damaged_drive_is_refused_and_nothing_else() {
    let hood = Hood::new();
    hood.ok(&["drive", "create", "d", "--size", "64M"]);
    sh(&hood, "d", WRITE);
    wait_until("its parts are one", || files(&hood) == 1);
    let file = entries(&hood.state().join("drives")).remove(0);
    let size = fs::metadata(&file).unwrap().len();
    fs::write(&file, vec![0x5a; 1 << 20]).unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(size).unwrap();
    let ran = hood.run(&["run", "--mount", "/data=d", "--", "true"]);
    assert!(ran.stderr.contains("file system"), "{ran:?}");
    assert_eq!(hood.ok(&["run", "--", "echo", "on"]), "on");
    hood.ok(&["drive", "rm", "d"]);
    hood.assert_nothing_left();
}
