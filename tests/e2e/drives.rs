//! Drives: what is written to one outlives the sandbox, whatever happens to guest and server.

use std::fs;

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
    let listed: serde_json::Value =
        serde_json::from_str(&hood.ok(&["drive", "ls", "--json"])).unwrap();
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
