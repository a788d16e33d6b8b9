//! The server may be killed at any moment: the next one finds everything.

use std::{
    fs,
    io::Read,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::hood::{Hood, entries, kill, wait_until};

/// As in the server's `failpoint` module, those that a sandbox passes of which nothing is kept.
const POINTS: [&str; 13] = [
    "create-recorded",
    "disk-made",
    "machine-cloned",
    "gateway-started",
    "gateway-recorded",
    "gateway-configured",
    "machine-claimed",
    "running-recorded",
    "command-recorded",
    "command-started",
    "stop-recorded",
    "machine-killed",
    "released",
];

/// At each named point the server dies once; the next one leaves nothing behind that should not be
/// there, and works.
#[test]
fn killed_at_every_point_of_a_life() {
    for point in POINTS {
        let mut hood = Hood::new();
        let server = hood.serve_until(point);
        // The command line finds its server gone in the middle of it, starts another and goes on
        // or gives up; it never hangs.
        let ran = hood.run(&["run", "--name", "victim", "--timeout", "1m", "--", "echo", "alive"]);
        let died = server.wait_with_output().unwrap();
        assert!(died.status.code().is_none(), "{point}: the server did not die: {ran:?}");

        // What the interrupted client left is what the next server finds and can be asked about.
        hood.ok(&["rm", "-f", "victim"]);
        assert_eq!(hood.ok(&["run", "--", "echo", "next"]), "next", "{point}");
        hood.assert_nothing_left();
        assert_eq!(hood.ok(&["ls", "-a", "--json"]), "[]", "{point}");
    }
}

/// Those that a sandbox passes whose disk is kept and which is resumed.
const POINTS_OF_KEEPING: [&str; 7] = [
    "snapshot-planned",
    "guest-frozen",
    "machine-killed",
    "layer-moved",
    "snapshot-recorded",
    "released",
    "resume-recorded",
];

/// Whenever the server dies while a disk is kept or a session resumed, the next one has the disk, one
/// snapshot of it, and no file that belongs to nothing.
#[test]
fn killed_at_every_point_a_disk_is_kept() {
    for point in POINTS_OF_KEEPING {
        let mut hood = Hood::new();
        hood.create(&["--name", "victim", "--timeout", "10m"]);
        hood.ok(&["exec", "victim", "--", "sh", "-c", "echo kept > file"]);
        let server = hood.serve_until(point);
        // The server dies under one of the two; another goes on with what it left.
        let ran = ["stop", "resume"].map(|command| hood.run(&[command, "victim"]));
        let died = server.wait_with_output().unwrap();
        assert!(died.status.code().is_none(), "{point}: the server did not die: {ran:?}");

        assert_eq!(hood.ok(&["exec", "victim", "--", "cat", "file"]), "kept", "{point}");
        assert_eq!(hood.layers().len(), 1, "{point}");
        let listed = hood.ok(&["snapshot", "ls", "--json", "victim"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{point}: {listed}");
        hood.ok(&["rm", "-f", "victim"]);
        hood.assert_nothing_left();
        assert_eq!(hood.layers().len(), 0, "{point}");
    }
}

/// The kernel frees the lock of a killed server when the last of its threads is gone.
#[test]
fn a_server_waits_for_one_that_dies_and_not_for_one_that_serves() {
    let hood = Hood::new();
    let path = hood.state().join("server.lock");
    let lock = fs::File::create(&path).unwrap();
    lock.lock().unwrap();
    let mut server = hood.spawn(&["serve"]);
    let descriptors = format!("/proc/{}/fd", server.id());
    wait_until("it found the lock held", || {
        let mut open = entries(Path::new(&descriptors)).into_iter().map(fs::read_link);
        open.any(|file| file.is_ok_and(|file| file == path))
    });
    lock.unlock().unwrap();
    wait_until("the server listens", || hood.state().join("api.sock").exists());
    assert_eq!(server.try_wait().unwrap(), None);

    let second = hood.run(&["serve"]);
    assert!(second.stderr.contains("another server"), "{second:?}");
    assert!(second.code.is_some_and(|code| code > 240), "{second:?}");
    hood.stop_server();
    assert!(server.wait().unwrap().success());
}

#[test]
fn machines_and_followed_logs_outlive_the_server() {
    let hood = Hood::new();
    let name = hood.create(&["--timeout", "10m"]);
    let machine = hood.machines();
    let script = "for n in $(seq 1 100); do echo $n; sleep 0.05; done; exit 9";
    let mut follower = hood.spawn(&["exec", &name, "--", "sh", "-c", script]);
    let mut seen = [0; 12];
    let stdout = follower.stdout.as_mut().unwrap();
    // Each part was sent by another server: nothing of it is lost or doubled.
    for part in seen.chunks_mut(4) {
        stdout.read_exact(part).unwrap();
        hood.kill_server();
    }
    let output = follower.wait_with_output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&seen), String::from_utf8_lossy(&output.stdout));
    let expected: String = (1..=100).map(|n| format!("{n}\n")).collect();
    assert_eq!(text, expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(hood.machines(), machine, "the machine is the same");
    assert_eq!(hood.ok(&["logs", &name]), expected.trim_end());
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn stdin_outlives_the_server_too() {
    use std::io::Write;
    let hood = Hood::new();
    let name = hood.create(&[]);
    let mut child = hood
        .command(["exec", "-i", &name, "--", "cat"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin.write_all(b"before\n").unwrap();
    let mut seen = [0; 7];
    stdout.read_exact(&mut seen).unwrap();
    hood.kill_server();
    stdin.write_all(b"after\n").unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((&seen[..], rest.as_str()), (&b"before\n"[..], "after\n"));
    assert!(child.wait().unwrap().success());
    hood.ok(&["rm", "-f", &name]);
}

/// What should have ended while no server ran is ended by the next one.
#[test]
fn a_timeout_passes_while_no_server_runs() {
    let hood = Hood::new();
    let name = hood.create(&["--timeout", "4s"]);
    hood.kill_server();
    assert_eq!(hood.machines().len(), 1, "the machine runs on alone");
    thread::sleep(std::time::Duration::from_secs(5));
    wait_until("the next server has ended it", || {
        hood.end_reason(&name).as_deref() == Some("the sandbox reached its timeout")
    });
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn a_machine_that_died_while_no_server_ran_is_told_as_crashed() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    hood.kill_server();
    for pid in hood.machines() {
        kill(pid, Signal::KILL);
    }
    wait_until("it is gone", || hood.machines().is_empty());
    // Its disk is kept first.
    wait_until("it has ended", || hood.end_reason(&name).as_deref() == Some("the machine crashed"));
    hood.ok(&["rm", &name]);
    hood.assert_nothing_left();
}

/// An older server gives way to a newer command line; its machines run on.
/// A server that may open too few files for the machines that run does not touch them.
#[test]
fn who_runs_is_not_lost_for_want_of_files() {
    let hood = Hood::new();
    let names = ["one", "two", "three"];
    for name in names {
        hood.create(&["--name", name, "--memory", "256"]);
        hood.ok(&["exec", name, "--", "sh", "-c", "echo kept > /tmp/here"]);
    }
    hood.kill_server();
    let whole = hood.command(["ls"]);
    let mut starved = Command::new("bash");
    starved.args(["-c", "ulimit -n 300; exec \"$0\" ls"]).arg(whole.get_program());
    starved.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = starved.env_remove("FUMEHOOD_SERVER").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && said.contains("3 sandboxes run"), "{ran:?}");
    assert!(said.contains("ulimit -n"), "it says what to do: {said}");
    for name in names {
        assert_eq!(hood.ok(&["exec", name, "--", "cat", "/tmp/here"]), "kept");
    }
    hood.ok(&["rm", "-f", "one", "two", "three"]);
    hood.assert_nothing_left();
}

#[test]
fn an_older_server_is_replaced() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let (server, machines) = (hood.servers(), hood.machines());
    // The same program, written later; by another process, lest a child that another test forks hold it open.
    let newer = hood.state().join("newer-fumehood");
    let copied = Command::new("cp").arg(crate::hood::binary()).arg(&newer).status();
    assert!(copied.unwrap().success());
    let output = Command::new(&newer)
        .args(["exec", &name, "--", "echo", "on"])
        .env("FUMEHOOD_STATE_DIR", hood.state())
        .env("FUMEHOOD_CACHE_DIR", crate::hood::cache())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "on\n", "{output:?}");
    assert_eq!(hood.machines(), machines, "{:?}", hood.ok(&["ls", "-a", "--json"]));
    wait_until("the older one has gone", || !hood.servers().contains(&server[0]));
    // The older command line goes on with the newer server.
    assert_eq!(hood.ok(&["exec", &name, "--", "echo", "still"]), "still");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

fn kill_the_first_machine(hood: &Hood, is_done: &AtomicBool) {
    while !is_done.load(Relaxed) {
        if let Some(machine) = hood.machines().first() {
            return kill(*machine, Signal::KILL);
        }
    }
}

/// A machine that dies while it is restored is recorded and another takes its place, unseen.
#[test]
fn a_clone_that_dies_gives_way_to_another() {
    let hood = Hood::new();
    assert_eq!(hood.ok(&["run", "--", "echo", "first"]), "first");
    let failures = hood.state().join("failures");
    // The kill may come too early, when there is no process yet, or too late: then it is tried again.
    for _ in 0..20 {
        let done = AtomicBool::new(false);
        let ran = thread::scope(|scope| {
            scope.spawn(|| kill_the_first_machine(&hood, &done));
            let ran = hood.run(&["run", "--", "echo", "another"]);
            done.store(true, Relaxed);
            ran
        });
        if let Some(record) = entries(&failures).first() {
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "another\n"), "{ran:?}");
            let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
            assert_eq!(record["exit"]["signal"], 9, "{record}");
            hood.assert_nothing_left();
            return;
        }
    }
    panic!("no clone died in time");
}
