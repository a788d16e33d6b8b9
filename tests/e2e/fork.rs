//! Live forks: sandboxes that begin with the memory, the processes and the disk of one that runs.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Child,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    hood::{Hood, wait_until},
    memory::unpacked,
};

/// Counts in memory and writes what it has to a file of its machine; what it began with is nowhere else.
pub(crate) const COUNTER: &str = "import os, time, uuid
token = uuid.uuid4().hex
count = 0
while True:
    count += 1
    with open('/tmp/.count', 'w') as file:
        file.write(f'{token} {count} {os.getpid()}')
    os.rename('/tmp/.count', '/tmp/count')
    time.sleep(0.02)
";

pub(crate) fn start(hood: &Hood, name: &str, program: &str) {
    let script = "cat > program.py; setsid python3 program.py > out 2>&1 & sleep 0.1";
    let arguments = ["exec", "-i", name, "--", "sh", "-c", script];
    let ran = hood.run_with_input(&arguments, program.as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Token, count and pid.
pub(crate) fn count(hood: &Hood, name: &str) -> Option<(String, u64, String)> {
    let text = hood.run(&["exec", name, "--", "cat", "/tmp/count"]).stdout;
    let mut words = text.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?.parse().ok()?, words.next()?))
}

pub(crate) fn grows(hood: &Hood, name: &str) {
    let before = count(hood, name).unwrap();
    wait_until("the counter goes on", || count(hood, name).unwrap().1 > before.1);
}

fn fork(hood: &Hood, name: &str, options: &[&str]) -> Vec<String> {
    let names = hood.ok(&[&["fork", name], options].concat());
    names.lines().map(str::to_owned).collect()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn children_have_the_parents_memory_and_are_machines_of_their_own() {
    let hood = Hood::new();
    hood.create(&["--name", "parent", "--timeout", "20m", "-e", "KEY=value"]);
    start(&hood, "parent", COUNTER);
    wait_until("it counts", || count(&hood, "parent").is_some());
    hood.ok(&[
        "exec",
        "parent",
        "--",
        "sh",
        "-c",
        "echo before > file; cat /proc/sys/kernel/random/boot_id",
    ]);
    let token = count(&hood, "parent").unwrap();
    let children = fork(&hood, "parent", &["-n", "3"]);
    assert_eq!(children.len(), 3, "{children:?}");
    let all: Vec<&str> = children.iter().map(String::as_str).chain(["parent"]).collect();
    let mut seen = vec![BTreeSet::new(); 5];
    for name in &all {
        let (before, who) = (
            now(),
            "cat /etc/machine-id /proc/sys/kernel/random/boot_id; \
            head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; \
            cat /proc/sys/kernel/random/uuid; hostname; date +%s; cat file; echo $KEY",
        );
        let told = hood.ok(&["exec", name, "--", "sh", "-c", who]);
        let lines: Vec<&str> = told.lines().collect();
        for (seen, line) in seen.iter_mut().zip(&lines) {
            assert!(line.len() > 5 && seen.insert((*line).to_owned()), "{line} is of two machines");
        }
        let clock: u64 = lines[5].parse().unwrap();
        assert!((before - 1..=now() + 1).contains(&clock), "{clock} is not {before}");
        assert_eq!((lines[4], &lines[6..]), (*name, &["before", "value"][..]));
        // The very process: its number, and what it made up in its memory.
        let (same, counted, pid) = count(&hood, name).unwrap();
        assert_eq!((&same, &pid), (&token.0, &token.2), "{name}");
        assert!(counted >= token.1);
        grows(&hood, name);
        hood.ok(&["exec", name, "--", "sh", "-c", "hostname > file"]);
    }
    for name in &all {
        assert_eq!(hood.ok(&["exec", name, "--", "cat", "file"]), *name, "disks are apart");
    }
    assert_eq!(hood.gateways().len(), 4);
    let path = format!("/v2/sandboxes/{}", children[0]);
    let shown = hood.api("GET", &path, &Value::Null).1;
    assert_eq!(shown["session"]["forked"], json!({"from": "parent"}), "{shown}");

    // A child is forked as its parent was, and what is stopped is kept.
    let grandchildren = fork(&hood, &children[0], &[]);
    let counted = count(&hood, &grandchildren[0]).unwrap();
    assert_eq!((counted.0, counted.2), (token.0, token.2));
    assert_eq!(hood.ok(&["exec", &grandchildren[0], "--", "cat", "file"]), children[0]);
    let currents = || {
        let shown = |name: &String| {
            let shown = hood.api("GET", &format!("/v2/sandboxes/{name}"), &Value::Null).1;
            shown["sandbox"]["currentSnapshotId"].clone()
        };
        children.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(currents(), [Value::Null, Value::Null, Value::Null]);
    for name in ["parent", &children[1]] {
        hood.ok(&["stop", name]);
        assert_eq!(
            hood.ok(&["exec", name, "--", "sh", "-c", "cat file; hostname"]),
            format!("{name}\n{name}")
        );
    }
    assert!(currents()[1].is_string(), "what its own session left");
    hood.ok(&[&["rm", "-f"], &all[..], &[&grandchildren[0]]].concat());
    hood.assert_nothing_left();
    assert_eq!(hood.layers().len(), 0);
}

/// A server of this computer that sends a line now and then to whoever has asked for something.
struct Ticker {
    port: u16,
    ticking: Arc<Mutex<Vec<TcpStream>>>,
}

impl Ticker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ticking = Arc::<Mutex<Vec<TcpStream>>>::default();
        let all = Arc::clone(&ticking);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                drop(stream.read(&mut [0; 4096]));
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"));
                all.lock().unwrap().push(stream);
            }
        });
        let all = Arc::clone(&ticking);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(50));
                all.lock().unwrap().retain_mut(|stream| stream.write_all(b"tick\n").is_ok());
            }
        });
        Self { port, ticking }
    }

    fn open(&self) -> usize {
        self.ticking.lock().unwrap().len()
    }
}

/// Writes its memory over and over, page by page. Before it writes a page, that has to be as it was left
/// the last time round, and so has what comes after it.
const SCRIBBLER: &str = "import os
PAGE = 4096
COUNT = 8192
memory = bytearray(PAGE * COUNT)
rounds = 0
lost = 0
while True:
    was, now = rounds % 251, (rounds + 1) % 251
    for at in range(0, len(memory), PAGE):
        if memory[at] != was or memory[at + PAGE - 1] != was:
            lost += 1
        memory[at] = memory[at + PAGE - 1] = now
    rounds += 1
    with open('/tmp/.rounds', 'w') as file:
        file.write(f'{rounds} {lost}')
    os.rename('/tmp/.rounds', '/tmp/rounds')
";

/// How often it went round, and the pages that it lost.
fn rounds(hood: &Hood, name: &str) -> Option<(u64, u64)> {
    let text = hood.run(&["exec", name, "--", "cat", "/tmp/rounds"]).stdout;
    let (rounds, lost) = text.trim().split_once(' ')?;
    Some((rounds.parse().ok()?, lost.parse().ok()?))
}

#[test]
fn what_is_written_while_it_is_forked_is_of_one_moment() {
    let hood = Hood::new();
    hood.create(&["--name", "parent", "--timeout", "20m", "--memory", "512"]);
    start(&hood, "parent", SCRIBBLER);
    wait_until("it goes round", || rounds(&hood, "parent").is_some_and(|(rounds, _)| 1 < rounds));
    // These share what was written; the next has it for itself.
    let mut children = fork(&hood, "parent", &["-n", "3"]);
    // By now other pages are its own than those that were read first.
    children.extend(fork(&hood, "parent", &[]));
    assert_eq!(unpacked(&hood).len(), 1);
    for name in children.iter().map(String::as_str).chain(["parent"]) {
        let went = |more: u64| {
            let begun = rounds(&hood, name).map_or(0, |(rounds, _)| rounds);
            wait_until("it goes round", || {
                rounds(&hood, name).is_some_and(|(rounds, _)| begun + more < rounds)
            });
        };
        went(1);
        assert_eq!(rounds(&hood, name).unwrap().1, 0, "pages of {name} are of another moment");
        hood.ok(&["rm", "-f", name]);
    }
}

/// Has much in memory, and looks at it again and again.
const KEEPER: &str = "import os, time, zlib
kept = os.urandom(96 << 20)
sum = zlib.crc32(kept)
rounds = 0
while True:
    rounds += 1
    same = zlib.crc32(kept) == sum
    with open('/tmp/.kept', 'w') as file:
        file.write(f'{rounds} {sum} {same}')
    os.rename('/tmp/.kept', '/tmp/kept')
    time.sleep(0.1)
";

/// How often it has looked, and what it saw.
fn kept(hood: &Hood, name: &str) -> Option<(u64, String)> {
    let text = hood.run(&["exec", name, "--", "cat", "/tmp/kept"]).stdout;
    let (rounds, seen) = text.split_once(' ')?;
    Some((rounds.parse().ok()?, seen.to_owned()))
}

/// How many bytes each machine that shares a memory has of it for itself.
fn own_of_shared(hood: &Hood) -> Vec<u64> {
    let folder = hood.state().join("unpacked");
    let of_machine = |pid: i32| {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
        let mut lines = maps.lines().skip_while(|line| !line.contains(folder.to_str().unwrap()));
        let own = lines.find_map(|line| line.strip_prefix("Private_Dirty:"))?;
        Some(own.trim().strip_suffix(" kB")?.parse::<u64>().unwrap() << 10)
    };
    hood.machines().into_iter().filter_map(of_machine).collect()
}

#[test]
fn what_was_written_before_is_shared_by_children_and_kept_for_them() {
    let hood = Hood::new();
    hood.create(&["--name", "parent", "--timeout", "20m", "--memory", "512"]);
    start(&hood, "parent", KEEPER);
    wait_until("it has looked", || kept(&hood, "parent").is_some());
    let seen = kept(&hood, "parent").unwrap().1;
    assert!(seen.ends_with("True"), "{seen}");
    let looks_again = |name: &str| {
        let before = kept(&hood, name).unwrap().0;
        wait_until("it looks again", || before < kept(&hood, name).unwrap().0);
        assert_eq!(kept(&hood, name).unwrap().1, seen, "{name}");
    };
    let children = fork(&hood, "parent", &["-n", "3"]);
    children.iter().for_each(|name| looks_again(name));
    let own = own_of_shared(&hood);
    assert!(own.len() == 3 && own.iter().all(|own| *own < 64 << 20), "{own:?}");

    // A fork of one stands on the same, on disk and after a restart too.
    let grandchild = fork(&hood, &children[0], &[]).remove(0);
    let all: Vec<&str> = children.iter().map(String::as_str).chain(["parent"]).collect();
    hood.ok(&[&["rm", "-f"], &all[..]].concat());
    looks_again(&grandchild);
    assert_eq!(unpacked(&hood).len(), 1);
    hood.ok(&["pause", &grandchild]);
    hood.stop_server();
    looks_again(&grandchild);
    hood.ok(&["rm", "-f", &grandchild]);
    assert_eq!(unpacked(&hood), Vec::<std::path::PathBuf>::new());
    hood.assert_nothing_left();
}

#[test]
fn connections_to_the_outside_stay_the_parents() {
    let hood = Hood::new();
    let ticker = Ticker::start();
    let option = format!("--allow-host-port={}", ticker.port);
    hood.create(&["--name", "parent", "--timeout", "20m", &option]);
    let program = format!(
        "import os, socket
outside = socket.create_connection(('host.fumehood.internal', {}))
outside.sendall(b'GET / HTTP/1.1\\r\\nHost: host.fumehood.internal:{}\\r\\n\\r\\n')
inside = socket.socketpair()
ticks = 0
while True:
    try:
        data = outside.recv(4096)
        ticks += data.count(b'tick')
        said = f'{{ticks}}' if data else 'ended'
    except OSError as error:
        inside[0].send(b'x')
        said = f'{{type(error).__name__}} {{inside[1].recv(1)}}'
    with open('/tmp/.said', 'w') as file: file.write(said)
    os.rename('/tmp/.said', '/tmp/said')
    if not said.isdigit(): break
",
        ticker.port, ticker.port
    );
    start(&hood, "parent", &program);
    let said = |name: &str| hood.run(&["exec", name, "--", "cat", "/tmp/said"]).stdout;
    let ticks = |name: &str| said(name).parse::<u64>().ok();
    wait_until("it ticks", || ticks("parent").is_some_and(|ticks| ticks > 2));
    let child = fork(&hood, "parent", &[]).remove(0);
    wait_until("the child's is reset", || said(&child) == "ConnectionResetError b'x'");
    let before = ticks("parent").unwrap();
    wait_until("the parent's goes on", || ticks("parent").is_some_and(|ticks| ticks > before + 10));
    assert_eq!(ticker.open(), 1);

    // What the policy of one says is the one's alone.
    let url = format!("http://host.fumehood.internal:{}/", ticker.port);
    let script = format!("timeout 20 curl -sSN {url} | head -n 1");
    assert_eq!(hood.ok(&["exec", &child, "--", "sh", "-c", &script]), "tick");
    hood.ok(&["policy", "set", &child, "--deny-all"]);
    assert_eq!(hood.ok(&["exec", &child, "--", "sh", "-c", &script]), "");
    assert_eq!(hood.ok(&["exec", "parent", "--", "sh", "-c", &script]), "tick");
    hood.ok(&["rm", "-f", "parent", &child]);
    hood.assert_nothing_left();
}

#[test]
fn placeholders_are_the_same_and_revoked_alone() {
    let hood = Hood::new();
    hood.run_with_input(&["secret", "set", "API_KEY"], b"sk-nowhere-to-be-seen");
    hood.create(&["--name", "parent", "--timeout", "20m", "--secret", "API_KEY@api.example.com"]);
    let placeholder = |name: &str| hood.ok(&["exec", name, "--", "sh", "-c", "echo $API_KEY"]);
    let child = fork(&hood, "parent", &[]).remove(0);
    assert!(placeholder("parent").starts_with("FUMEHOOD_SECRET_"));
    assert_eq!(placeholder(&child), placeholder("parent"));
    let uses = |name: &str| hood.ok(&["policy", "get", name]).contains("API_KEY");
    assert!(uses("parent") && uses(&child));
    hood.ok(&["policy", "set", &child, "--deny-all"]);
    assert!(uses("parent") && !uses(&child));
    hood.ok(&["rm", "-f", "parent", &child]);
    hood.assert_nothing_left();
}

#[test]
fn what_cannot_be_forked_is_told_and_goes_on() {
    let hood = Hood::new();
    hood.create(&["--name", "plain", "--no-persistent"]);
    for (body, status) in
        [(json!({"count": 0}), 400), (json!({"count": 101}), 400), (json!({"count": "x"}), 400)]
    {
        let (told, answer) = hood.api("POST", "/v1/fumehood/sandboxes/plain/fork", &body);
        assert_eq!(told, status, "{answer}");
    }
    assert_eq!(hood.api("POST", "/v1/fumehood/sandboxes/nobody/fork", &Value::Null).0, 404);
    hood.ok(&["drive", "create", "data"]);
    hood.ok(&["create", "--name", "driven", "--mount", "/data=data"]);
    let refused = hood.run(&["fork", "driven"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("drives"), "{refused:?}");
    let made: Value = serde_json::from_str(&hood.ok(&["fork", "--json", "plain"])).unwrap();
    let child = made["sandboxes"][0]["sandbox"]["name"].as_str().unwrap();
    assert!(hood.ok(&["ls"]).contains(child), "{made}");
    hood.ok(&["rm", "-f", child]);
    // A guest whose agent does not answer is forked all the same, and that is told.
    let mut child = silence(&hood, "plain");
    let forked = hood.run(&["fork", "plain"]);
    assert_eq!(forked.code, Some(0), "{forked:?}");
    assert!(forked.stderr.contains("did not answer in time"), "{forked:?}");
    drop(child.kill());
    drop(child.wait());
    hood.ok(&["rm", "-f", "plain", "driven", forked.stdout.trim()]);
    hood.assert_nothing_left();
}

/// Has a guest's agent answer nothing any more. To be killed: what has done it does not end.
pub(crate) fn silence(hood: &Hood, name: &str) -> Child {
    let jail =
        "cd /sys/fs/cgroup; mkdir jail; echo 1 > jail/cgroup.procs; echo 1 > jail/cgroup.freeze";
    let child = hood.spawn(&["exec", "--sudo", name, "--", "sh", "-c", jail]);
    let silent = || {
        let began = Instant::now();
        let mut asked = hood.spawn(&["exec", name, "--", "true"]);
        while began.elapsed() < Duration::from_secs(3) {
            if asked.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        drop(asked.kill());
        drop(asked.wait());
        true
    };
    wait_until("the agent is silent", silent);
    child
}

/// As in the server's `failpoint` module, those that a fork passes.
const POINTS: [&str; 5] =
    ["fork-planned", "fork-taken", "fork-moved", "create-recorded", "machine-cloned"];

/// Whenever the server dies in the middle of a fork, the parent goes on, its disk and its next fork
/// too, and nothing is left of what was half-made.
#[test]
fn killed_at_every_point_of_a_fork() {
    for point in POINTS {
        let mut hood = Hood::new();
        hood.create(&["--name", "parent", "--timeout", "20m"]);
        // It has a snapshot, of what it was long before.
        hood.ok(&["exec", "parent", "--", "sh", "-c", "echo old > file"]);
        hood.ok(&["stop", "parent"]);
        start(&hood, "parent", COUNTER);
        wait_until("it counts", || count(&hood, "parent").is_some());
        hood.ok(&["exec", "parent", "--", "sh", "-c", "echo before > file"]);
        let token = count(&hood, "parent").unwrap().0;
        let server = hood.serve_until(point);
        // So many share their memory.
        let ran = hood.run(&["fork", "parent", "-n", "10"]);
        let died = server.wait_with_output().unwrap();
        assert!(died.status.code().is_none(), "{point}: the server did not die: {ran:?}");
        assert_eq!(unpacked(&hood).len(), usize::from(point != "fork-planned"), "{point}");

        assert_eq!(hood.ok(&["exec", "parent", "--", "cat", "file"]), "before", "{point}");
        grows(&hood, "parent");
        assert_eq!(count(&hood, "parent").unwrap().0, token, "{point}");
        let listed: Value = serde_json::from_str(&hood.ok(&["ls", "-a", "--json"])).unwrap();
        let names = listed.as_array().unwrap().iter().filter_map(|one| one["name"].as_str());
        let half_made: Vec<&str> = names.filter(|name| *name != "parent").collect();
        wait_until("nothing half-made runs", || hood.machines().len() == 1);
        for name in half_made {
            let refused = hood.run(&["exec", name, "--", "cat", "file"]);
            assert_eq!((refused.code, &*refused.stdout), (Some(245), ""), "{point}: {refused:?}");
            hood.ok(&["rm", "-f", name]);
        }
        assert!(crate::hood::entries(&hood.state().join("forks")).is_empty(), "{point}");
        let child = fork(&hood, "parent", &[]).remove(0);
        assert_eq!(count(&hood, &child).unwrap().0, token, "{point}");
        hood.ok(&["stop", "parent"]);
        assert_eq!(hood.ok(&["exec", "parent", "--", "cat", "file"]), "before", "{point}");
        hood.ok(&["rm", "-f", "parent", &child]);
        hood.assert_nothing_left();
        assert_eq!((hood.layers().len(), unpacked(&hood).len()), (0, 0), "{point}");
    }
}
