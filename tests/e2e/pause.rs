//! Paused sandboxes: their memory is on the disk, and they go on where they were.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    fork::{COUNTER, count, grows, now, silence, start},
    hood::{Hood, entries, kill, wait_until},
    ports::visitor::visit,
    projects::ask,
    remote::serve,
};

/// As the list has it.
fn listed(hood: &Hood, name: &str) -> Value {
    let all: Value = serde_json::from_str(&hood.ok(&["ls", "-a", "--json"])).unwrap();
    all.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

fn is_paused(hood: &Hood, name: &str) -> bool {
    listed(hood, name)["pausedAt"].is_u64()
}

fn counting(hood: &Hood, options: &[&str]) -> String {
    hood.create(&[&["--name", "box", "--timeout", "20m", "--memory", "512"], options].concat());
    start(hood, "box", COUNTER);
    wait_until("it counts", || count(hood, "box").is_some());
    hood.ok(&["exec", "box", "--", "sh", "-c", "echo kept > file"]);
    count(hood, "box").unwrap().0
}

/// The files with the memory of sandboxes.
fn memories(hood: &Hood) -> Vec<PathBuf> {
    let sessions = entries(&hood.state().join("sessions")).into_iter();
    let files = sessions.flat_map(|session| entries(&session));
    let is_memory =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("memory");
    files.filter(is_memory).collect()
}

#[test]
fn what_is_paused_goes_on_where_it_was() {
    let hood = Hood::new();
    let token = counting(&hood, &[]);
    let script = "for n in $(seq 1 40); do echo $n; sleep 0.05; done; exit 9";
    let mut follower = hood.spawn(&["exec", "box", "--", "sh", "-c", script]);
    let mut seen = [0; 8];
    follower.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    let before = (count(&hood, "box").unwrap(), listed(&hood, "box"));
    hood.ok(&["pause", "box"]);
    assert!(hood.machines().is_empty() && hood.gateways().is_empty());
    assert_eq!(memories(&hood).len(), 1);
    hood.ok(&["pause", "box"]);
    assert!(hood.ok(&["ls"]).contains("paused"));
    let shown = listed(&hood, "box");
    assert_eq!((&shown["status"], &shown["expiresAt"]), (&json!("running"), &Value::Null));
    thread::sleep(Duration::from_millis(1500));

    // Who followed it goes on following, with another server.
    hood.kill_server();
    assert!(is_paused(&hood, "box"));
    assert_eq!(hood.machines(), Vec::<i32>::new());
    hood.ok(&["resume", "box"]);
    let asked = now();
    let clock: u64 = hood.ok(&["exec", "box", "--", "date", "+%s"]).parse().unwrap();
    assert!((asked - 1..=now() + 1).contains(&clock), "{clock} is not {asked}");
    let after = (count(&hood, "box").unwrap(), listed(&hood, "box"));
    assert_eq!((&after.0.0, &after.0.2), (&token, &before.0.2), "it is the same process");
    assert!(before.0.1 <= after.0.1);
    grows(&hood, "box");
    assert_eq!(hood.ok(&["exec", "box", "--", "cat", "file"]), "kept");
    // It is the same session, whose time has not run meanwhile.
    assert_eq!(before.1["currentSessionId"], after.1["currentSessionId"]);
    let ends = [before.1, after.1].map(|shown| shown["expiresAt"].as_u64().unwrap());
    assert!(ends[0] + 1400 < ends[1], "{ends:?}");
    let output = follower.wait_with_output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&seen), String::from_utf8_lossy(&output.stdout));
    let expected: String = (1..=40).map(|n| format!("{n}\n")).collect();
    assert_eq!((text, output.status.code()), (expected, Some(9)));
    assert!(memories(&hood).is_empty(), "it is of no more use");

    // And again: what a machine that was woken has written is kept as well.
    let counted = count(&hood, "box").unwrap();
    hood.ok(&["pause", "box"]);
    assert!(counted.1 <= count(&hood, "box").unwrap().1);
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}

/// What the guest has written and freed is neither on the disk nor in what starts from a snapshot, and
/// is of use again afterwards.
#[test]
fn free_memory_is_not_kept() {
    const MIB: u64 = 1 << 20;
    let hood = Hood::new();
    counting(&hood, &[]);
    let shell = |name: &str, script: &str| hood.ok(&["exec", name, "--", "sh", "-c", script]);
    let fill = |name: &str, file: &str, mib: u64| {
        shell(name, &format!("head -c {mib}M /dev/urandom > /dev/shm/{file}"));
    };
    let freed = |file: &str| {
        fill("box", file, 160);
        shell("box", &format!("rm /dev/shm/{file}"));
    };
    fill("box", "kept", 24);
    let sum = shell("box", "sha256sum < /dev/shm/kept");
    freed("first");
    hood.ok(&["pause", "box"]);
    let stored = fs::metadata(&memories(&hood)[0]).unwrap().len();
    assert!((24 * MIB..80 * MIB).contains(&stored), "{stored} bytes");
    hood.ok(&["resume", "box"]);
    freed("second");
    let kept = hood.ok(&["snapshot", "box", "--memory", "--name", "warm", "--json"]);
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let written = kept["memory"]["writtenBytes"].as_u64().unwrap_or_else(|| panic!("{kept}"));
    assert!((24 * MIB..160 * MIB).contains(&written), "{kept}");
    hood.create(&["--name", "child", "--snapshot", "warm"]);
    for name in ["box", "child"] {
        grows(&hood, name);
        fill(name, "again", 200);
        let reads =
            "cd /dev/shm; sha256sum again > sum; sha256sum --status -c sum && sha256sum < kept";
        assert_eq!(shell(name, reads), sum, "its memory keeps what is put into it");
        grows(&hood, name);
        assert_eq!(
            shell(name, "cat /proc/sys/vm/nr_hugepages"),
            "0",
            "nothing is set aside any more"
        );
    }
}

/// Where programs have huge pages of their own, nothing is done to those.
#[test]
fn huge_pages_of_the_guest_are_left_alone() {
    let hood = Hood::new();
    hood.create(&["--name", "box", "--memory", "512"]);
    let pool = "/proc/sys/vm/nr_hugepages";
    hood.ok(&["exec", "--sudo", "box", "--", "sh", "-c", &format!("echo 5 > {pool}")]);
    let script = "head -c 64M /dev/urandom > /dev/shm/freed; rm /dev/shm/freed";
    hood.ok(&["exec", "box", "--", "sh", "-c", script]);
    hood.ok(&["pause", "box"]);
    assert_eq!(hood.ok(&["exec", "box", "--", "cat", pool]), "5");
}

/// What somebody has frozen stands still afterwards too, and nothing else does.
#[test]
fn groups_that_the_guest_froze_stay_frozen() {
    let hood = Hood::new();
    hood.create(&["--name", "box", "--memory", "512"]);
    let make = "cd /sys/fs/cgroup && mkdir held free && echo 1 > held/cgroup.freeze";
    hood.ok(&["exec", "--sudo", "box", "--", "sh", "-c", make]);
    hood.ok(&["pause", "box"]);
    let look =
        "cd /sys/fs/cgroup && cat held/cgroup.freeze free/cgroup.freeze fumehood/cgroup.freeze";
    assert_eq!(hood.ok(&["exec", "box", "--", "sh", "-c", look]), "1\n0\n0");
}

/// What is typed wakes it, and none of it is lost.
#[test]
fn input_wakes_it() {
    let hood = Hood::new();
    hood.create(&["--name", "box", "--memory", "512"]);
    let mut child =
        hood.command(["exec", "-i", "box", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = [0; 4];
    for word in [b"one\n", b"two\n"] {
        stdin.write_all(word).unwrap();
        stdout.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, word);
        hood.ok(&["pause", "box"]);
        assert!(hood.machines().is_empty());
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}

/// As in the server's `failpoint` module, those that a sandbox passes that is paused and goes on.
const POINTS: [&str; 7] = [
    "pause-planned",
    "pause-written",
    "pause-recorded",
    "wake-launched",
    "wake-recorded",
    "wake-let-go",
    "wake-told",
];

/// Whenever the server dies while a sandbox is paused or woken, its programs go on where they were, and
/// so does its disk.
#[test]
fn killed_at_every_point_of_a_pause() {
    let mut hood = Hood::new();
    let token = counting(&hood, &[]);
    for point in POINTS {
        let mut server = hood.serve_until(point);
        // On a busy computer one of them may be refused, and the point not be reached.
        wait_until(&format!("the server dies at {point}"), || {
            let ran = ["pause", "resume"].map(|command| hood.run(&[command, "box"]));
            let died = server.try_wait().unwrap();
            assert!(died.is_none_or(|died| died.code().is_none()), "{point}: {died:?} {ran:?}");
            died.is_some()
        });

        let counted = count(&hood, "box").map(|counted| counted.0);
        assert_eq!(counted.as_ref(), Some(&token), "{point}");
        grows(&hood, "box");
        assert_eq!(hood.ok(&["exec", "box", "--", "cat", "file"]), "kept", "{point}");
        wait_until("one machine runs", || hood.machines().len() == 1 && hood.gateways().len() == 1);
        assert!(memories(&hood).is_empty(), "{point}");
    }
    hood.ok(&["pause", "box"]);
    assert_eq!(count(&hood, "box").unwrap().0, token);
    hood.ok(&["stop", "box"]);
    assert_eq!(hood.ok(&["exec", "box", "--", "cat", "file"]), "kept");
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}

/// Changes what a sandbox was paused with.
fn damage(file: &PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

/// Where the memory is of no use, there is still the disk.
#[test]
fn a_memory_that_does_not_fit_costs_the_memory_alone() {
    type Change = fn(&mut Vec<u8>);
    let other_key: Change = |bytes| {
        let key = bytes.windows(7).position(|part| part == b"\"key\":\"").unwrap() + 7;
        bytes[key] = if bytes[key] == b'0' { b'1' } else { b'0' };
    };
    let damaged: Change = |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
    };
    let cut: Change = |bytes| bytes.truncate(9);
    let hood = Hood::new();
    counting(&hood, &["--no-persistent"]);
    for (what, change) in [("other key", other_key), ("damaged", damaged), ("cut", cut)] {
        let before = listed(&hood, "box")["currentSessionId"].clone();
        hood.ok(&["pause", "box"]);
        damage(&memories(&hood)[0], change);
        hood.run(&["resume", "box"]);
        assert_eq!(hood.ok(&["exec", "box", "--", "cat", "file"]), "kept", "{what}");
        let sessions = hood.api("GET", "/v2/sandboxes/sessions?name=box", &Value::Null).1;
        let mut sessions = sessions["sessions"].as_array().unwrap().iter();
        let ended = sessions.find(|session| session["id"] == before).unwrap();
        assert_eq!(ended["endCode"], "memory_lost", "{what}: {ended}");
        assert!(memories(&hood).is_empty(), "{what}");
    }
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}

/// What does not need the machine does not wake it, and what does finds it as it was.
#[test]
fn what_is_asked_of_one_that_is_paused() {
    let hood = Hood::new();
    let token = counting(&hood, &[]);
    let session = listed(&hood, "box")["currentSessionId"].as_str().unwrap().to_owned();
    hood.ok(&["pause", "box"]);
    hood.ok(&["policy", "set", "box", "--deny-all"]);
    let extend = format!("/v2/sandboxes/sessions/{session}/extend-timeout");
    assert_eq!(hood.api("POST", &extend, &json!({"duration": 60_000})).0, 200);
    assert_eq!(
        hood.api("GET", &format!("/v2/sandboxes/sessions/{session}/cmd"), &Value::Null).0,
        200
    );
    let refused = hood.run(&["rm", "box"]);
    assert!(refused.stderr.contains("it is paused"), "{refused:?}");
    assert!(is_paused(&hood, "box") && hood.machines().is_empty());

    // A client that knows nothing of pauses.
    let body = json!({"command": "cat", "args": ["file"], "wait": true});
    let (status, _) = hood.api("POST", &format!("/v2/sandboxes/sessions/{session}/cmd"), &body);
    assert_eq!(status, 200);
    assert!(hood.ok(&["policy", "get", "box"]).contains("Nothing may"));
    let script = "curl -sS -m 5 http://example.com 2>&1; true";
    assert!(!hood.ok(&["exec", "box", "--", "sh", "-c", script]).contains("Example Domain"));

    // Forks are of what runs.
    hood.ok(&["pause", "box"]);
    let child = hood.ok(&["fork", "box"]);
    assert_eq!(count(&hood, &child).unwrap().0, token);
    hood.ok(&["pause", &child]);
    assert_eq!(count(&hood, &child).unwrap().0, token);

    // Its disk is kept without a machine.
    hood.ok(&["pause", "box", &child]);
    let snapshot = hood.ok(&["snapshot", "box"]);
    hood.ok(&["stop", &child]);
    assert!(hood.machines().is_empty() && memories(&hood).is_empty());
    hood.create(&["--name", "next", "--snapshot", &snapshot]);
    for name in ["next", &child] {
        assert_eq!(hood.ok(&["exec", name, "--", "cat", "file"]), "kept");
        assert_eq!(hood.run(&["exec", name, "--", "test", "-e", "/tmp/count"]).code, Some(0));
    }
    hood.ok(&["pause", "next"]);
    hood.ok(&["rm", "-f", "box", "next", &child]);
    hood.assert_nothing_left();

    hood.ok(&["drive", "create", "data"]);
    hood.ok(&["create", "--name", "driven", "--mount", "/data=data"]);
    let refused = hood.run(&["pause", "driven"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("drives"), "{refused:?}");
    assert_eq!(hood.ok(&["exec", "driven", "--", "echo", "on"]), "on");
    let options = ["create", "--idle-timeout", "5s", "--mount", "/data=data"];
    assert!(hood.run(&options).stderr.contains("drives"));
    hood.ok(&["rm", "-f", "driven"]);
    hood.assert_nothing_left();
}

/// Whatever comes in between, what needs the machine has it.
#[test]
fn forks_and_snapshots_wake_what_is_paused_before_their_turn() {
    const ASKED: [&[&str]; 6] = [
        &["snapshot", "box", "--memory"],
        &["pause", "box"],
        &["snapshot", "box", "--memory"],
        &["fork", "box"],
        &["pause", "box"],
        &["fork", "box"],
    ];
    let hood = Hood::new();
    let token = counting(&hood, &[]);
    let all = ASKED.map(|arguments| {
        let asked = hood.spawn(arguments);
        // In this order, as far as may be.
        thread::sleep(Duration::from_millis(20));
        asked
    });
    let mut children = Vec::new();
    for (asked, arguments) in all.into_iter().zip(ASKED) {
        let ended = asked.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {ended:?}");
        if arguments[0] == "fork" {
            children.push(String::from_utf8(ended.stdout).unwrap().trim().to_owned());
        }
    }
    for name in children.iter().map(String::as_str).chain(["box"]) {
        assert_eq!(count(&hood, name).unwrap().0, token, "{name}");
        hood.ok(&["rm", "-f", name]);
    }
    hood.assert_nothing_left();
}

/// Nobody waits for the word of an agent whose machine is gone.
#[test]
fn a_machine_that_dies_meanwhile_is_told_at_once() {
    let hood = Hood::new();
    let log = hood.state().join("server.log");
    let is_pausing = || fs::read_to_string(&log).unwrap_or_default().contains("PauseRequested");
    let is_forking = || hood.state().join("forks").exists();
    let begun: [(&str, &dyn Fn() -> bool); 2] = [("pause", &is_pausing), ("fork", &is_forking)];
    for (verb, has_begun) in begun {
        hood.create(&["--name", "box", "--memory", "512"]);
        hood.ok(&["exec", "box", "--", "sh", "-c", "echo kept > file; sync"]);
        let mut silenced = silence(&hood, "box");
        let asked = hood.spawn(&[verb, "box"]);
        wait_until("it has begun", has_begun);
        let died = Instant::now();
        hood.machines().into_iter().for_each(|pid| kill(pid, rustix::process::Signal::KILL));
        let told = asked.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(245), "{verb}: {said}");
        assert!(said.contains("the machine crashed"), "{verb}: {said}");
        assert!(died.elapsed() < Duration::from_secs(20), "{verb}: {:?}", died.elapsed());
        drop(silenced.kill());
        drop(silenced.wait());
        assert_eq!(hood.ok(&["exec", "box", "--", "cat", "file"]), "kept", "{verb}");
        hood.ok(&["rm", "-f", "box"]);
    }
    hood.assert_nothing_left();
}

#[test]
fn who_is_not_needed_sleeps_until_somebody_comes() {
    let hood = Hood::new();
    let options = ["--name", "box", "--memory", "512", "--timeout", "20m", "-p", "3000"];
    hood.create(&[&options[..], &["--idle-timeout", "1s"]].concat());
    let sleeps =
        || wait_until("it sleeps", || is_paused(&hood, "box") && hood.machines().is_empty());
    // A command that runs is use, however quiet it is.
    let began = Instant::now();
    hood.ok(&["exec", "box", "--", "sleep", "2"]);
    assert!(!is_paused(&hood, "box") || Duration::from_secs(3) < began.elapsed());
    let server = "setsid python3 -m http.server 3000 > out 2>&1 & echo kept > file";
    hood.ok(&["exec", "box", "--", "sh", "-c", server]);
    let url = hood.ok(&["url", "box", "3000"]);
    wait_until("it listens", || visit(&[&url]).status == 200);
    sleeps();
    let reply = visit(&[&format!("{url}/file")]);
    assert_eq!((reply.status, reply.body.trim()), (200, "kept"), "{reply:?}");
    sleeps();
    assert_eq!(hood.ok(&["exec", "box", "--", "cat", "file"]), "kept");
    sleeps();
    // No more from now on.
    let path = "/v2/sandboxes/box";
    let (status, shown) = hood.api("PATCH", path, &json!({"idleTimeout": null}));
    assert_eq!((status, &shown["sandbox"]["idleTimeout"]), (200, &Value::Null));
    assert_eq!(hood.api("PATCH", path, &json!({"idleTimeout": 1})).0, 400);
    hood.ok(&["resume", "box"]);
    thread::sleep(Duration::from_millis(1500));
    assert!(!is_paused(&hood, "box"));
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}

#[test]
fn a_token_that_reads_wakes_nothing() {
    let hood = Hood::new();
    let (_server, address, _) = serve(&hood, &[]);
    let reader = hood.ok(&["token", "create", "--scope", "read"]);
    hood.create(&["--name", "box", "--memory", "512"]);
    let command = hood.ok(&["exec", "-d", "box", "--", "sleep", "600"]);
    let session = listed(&hood, "box")["currentSessionId"].as_str().unwrap().to_owned();
    let told = |method: &str, path: &str, body: Option<&str>| {
        let url = format!("http://{address}/v2/sandboxes/sessions/{session}{path}");
        ask(&reader, method, &url, body)
    };
    let file = Some(r#"{"path":"/etc/hostname"}"#);
    assert_eq!(told("POST", "/fs/stat", file).0, 200, "it runs");
    hood.ok(&["pause", "box"]);
    let wait = format!("/cmd/{command}?wait=true");
    for (method, path, body) in [
        ("POST", "/fs/stat", file),
        ("POST", "/fs/read", file),
        ("GET", "/fs/tar?path=/etc/hostname", None),
        ("GET", &wait, None),
    ] {
        let (status, said) = told(method, path, body);
        assert!(status == 403 && said.contains("paused"), "{path}: {status} {said}");
    }
    assert_eq!(told("GET", &format!("/cmd/{command}"), None).0, 200, "that needs no machine");
    assert!(is_paused(&hood, "box") && hood.machines().is_empty());
    assert_eq!(memories(&hood).len(), 1);
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}
