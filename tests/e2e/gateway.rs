//! A sandbox's gateway may be killed at any moment: the sandbox goes on, closed until it is back.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::hood::{Hood, entries, kill, wait_until};

/// The audit log.
fn events(hood: &Hood, name: &str) -> Vec<Value> {
    let log = hood.ok(&["audit", "--json", name]);
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What its gateway is told of in the audit log.
fn notes(hood: &Hood, name: &str) -> Vec<String> {
    let own = events(hood, name).into_iter().filter(|event| event["kind"] == "gateway");
    own.filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect()
}

/// The one gateway that runs.
fn gateway(hood: &Hood) -> i32 {
    let mut gateways = hood.gateways();
    assert_eq!(gateways.len(), 1, "{gateways:?}");
    gateways.remove(0)
}

fn another_than(hood: &Hood, before: i32) -> i32 {
    wait_until("another gateway runs", || matches!(hood.gateways()[..], [now] if now != before));
    gateway(hood)
}

/// A server of this computer that answers every request, and says so of each.
pub(crate) struct Web {
    port: u16,
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| 2 < read) {
                    line.clear();
                }
                let reply =
                    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
                // The guest may have hung up.
                drop(std::io::Write::write_all(&mut &stream, reply.as_bytes()));
            }
        });
        Self { port }
    }

    pub(crate) fn option(&self) -> String {
        format!("--allow-host-port={}", self.port)
    }

    /// Asks it from within a sandbox, and gives what was answered.
    pub(crate) fn ask(&self, hood: &Hood, name: &str) -> Option<String> {
        let url = format!("http://host.fumehood.internal:{}/", self.port);
        let ran = hood.run(&["exec", name, "--", "curl", "-sS", "-m", "15", &url]);
        (ran.code == Some(0)).then_some(ran.stdout)
    }
}

#[test]
fn a_gateway_that_is_killed_comes_back_and_the_sandbox_goes_on() {
    let hood = Hood::new();
    let web = Web::start();
    let name = hood.create(&[&web.option()]);
    assert_eq!(web.ask(&hood, &name).as_deref(), Some("hello"));
    let (first, machine) = (gateway(&hood), hood.machines());
    kill(first, Signal::KILL);
    // Before it is back a request fails soon or waits for it; it does not hang.
    let began = Instant::now();
    let answer = web.ask(&hood, &name);
    assert!(answer.is_none_or(|text| text == "hello") && began.elapsed().as_secs() < 30);
    another_than(&hood, first);
    wait_until("requests go through again", || web.ask(&hood, &name).as_deref() == Some("hello"));
    assert_eq!(hood.machines(), machine, "the machine is the same");
    let notes = notes(&hood, &name);
    assert!(notes.iter().any(|note| note.ends_with("it was ended by signal 9")), "{notes:?}");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

/// Who only waits for more is told that nothing will come.
#[test]
fn connections_of_a_gateway_that_is_killed_are_reset() {
    let hood = Hood::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let name = hood.create(&[&format!("--allow-host-port={port}")]);
    let script = format!(
        "import socket; s = socket.create_connection(('host.fumehood.internal', {port})); s.send(b'.')
try: s.recv(1)
except ConnectionResetError: print('reset')"
    );
    let waiting = hood.spawn(&["exec", &name, "--", "timeout", "60", "python3", "-c", &script]);
    let (mut held, _) = silent.accept().unwrap();
    // The gateway connects before it answers the guest, whose connection would be refused, not reset.
    held.read_exact(&mut [0]).unwrap();
    let first = gateway(&hood);
    kill(first, Signal::KILL);
    let ended = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "reset\n", "{ended:?}");
    another_than(&hood, first);
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

/// A gateway that stands still holds up its machine, which waits for its network card.
#[test]
fn a_gateway_that_has_hung_is_replaced() {
    if !crate::hood::is_full() {
        return;
    }
    let hood = Hood::new();
    let web = Web::start();
    let name = hood.create(&[&web.option()]);
    let first = gateway(&hood);
    kill(first, Signal::STOP);
    another_than(&hood, first);
    wait_until("requests go through again", || web.ask(&hood, &name).as_deref() == Some("hello"));
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn a_guest_takes_what_comes_in_by_its_card_as_checked() {
    // The kernel merges no packets on the card; the agent has it so once the card's checksums count
    // as looked at.
    const MERGES: &str = "import array, fcntl, socket, struct; \
        asked = array.array('I', [0x2b, 7]); \
        request = struct.pack('16sP16x', b'eth0', asked.buffer_info()[0]); \
        fcntl.ioctl(socket.socket(), 0x8946, request); print(asked[1])";
    let hood = Hood::new();
    assert_eq!(hood.ok(&["run", "--", "python3", "-c", MERGES]), "0");
}

#[test]
fn a_gateway_outlives_the_server() {
    let hood = Hood::new();
    let web = Web::start();
    let name = hood.create(&[&web.option()]);
    let first = gateway(&hood);
    hood.kill_server();
    assert_eq!(gateway(&hood), first);
    assert_eq!(web.ask(&hood, &name).as_deref(), Some("hello"), "a new server has started");
    assert_eq!(gateway(&hood), first);
    // The new server is its master: what it is told holds.
    hood.ok(&["policy", "set", &name, "--deny-all"]);
    assert_eq!(web.ask(&hood, &name), None);
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn without_a_server_a_dead_gateway_stays_dead() {
    let hood = Hood::new();
    let web = Web::start();
    let name = hood.create(&[&web.option()]);
    let first = gateway(&hood);
    hood.kill_server();
    kill(first, Signal::KILL);
    wait_until("it is gone", || hood.gateways().is_empty());
    std::thread::sleep(Duration::from_secs(1));
    assert!(hood.gateways().is_empty() && hood.servers().is_empty(), "nobody starts another");
    assert_eq!(hood.ok(&["exec", &name, "--", "echo", "on"]), "on");
    another_than(&hood, first);
    wait_until("requests go through again", || web.ask(&hood, &name).as_deref() == Some("hello"));
    let notes = notes(&hood, &name);
    assert!(notes.iter().any(|note| note.ends_with("it ended while no server ran")), "{notes:?}");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn a_stopped_sandbox_has_no_gateway_and_keeps_its_audit_log() {
    let hood = Hood::new();
    let name = hood.create(&["--deny-all"]);
    kill(gateway(&hood), Signal::KILL);
    wait_until("it is told", || !notes(&hood, &name).is_empty());
    hood.ok(&["stop", &name]);
    assert!(hood.gateways().is_empty());
    assert!(!notes(&hood, &name).is_empty(), "the log is there until the sandbox is removed");
    let followed = hood.ok(&["audit", "-f", "--json", &name]);
    assert!(!followed.is_empty(), "following a log that has ended ends");
    hood.ok(&["rm", &name]);
    hood.assert_nothing_left();
}

#[test]
fn a_sandbox_that_asks_for_nothing_is_refused_nothing() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    hood.ok(&["exec", &name, "--", "true"]);
    hood.ok(&["stop", &name]);
    let refused: Vec<Value> =
        events(&hood, &name).into_iter().filter(|event| event["decision"] == "deny").collect();
    assert!(refused.is_empty(), "{refused:?}");
    hood.ok(&["rm", &name]);
}

const VALUE: &str = "sk-hunter2-nowhere-to-be-seen";

/// The value of a secret goes to the gateway and nowhere else: no file of the server, no argument,
/// no environment holds it.
#[test]
fn a_secret_is_in_no_file_of_the_server() {
    let hood = Hood::new();
    let set = hood.run_with_input(&["secret", "set", "API_KEY"], VALUE.as_bytes());
    assert_eq!(set.code, Some(0), "{set:?}");
    let name = hood.create(&["--secret", "API_KEY@api.example.com"]);
    let seen = hood.ok(&["exec", &name, "--", "sh", "-c", "echo $API_KEY"]);
    assert!(seen.starts_with("FUMEHOOD_SECRET_"), "{seen}");
    assert!(!hood.ok(&["policy", "get", &name]).contains(VALUE));
    assert!(!hood.ok(&["secret", "ls", "--json"]).contains(VALUE));
    // Also while it comes back.
    let first = gateway(&hood);
    kill(first, Signal::KILL);
    let second = another_than(&hood, first);
    for what in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{second}/{what}")).unwrap_or_default();
        assert!(!holds(&text), "{what}");
    }
    hood.ok(&["stop", &name]);
    for path in files(hood.state()) {
        assert!(!holds(&fs::read(&path).unwrap_or_default()), "{}", path.display());
    }
    hood.ok(&["secret", "rm", "API_KEY"]);
    hood.ok(&["rm", &name]);
    hood.assert_nothing_left();
}

fn holds(bytes: &[u8]) -> bool {
    bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (folders, files): (Vec<_>, Vec<_>) =
        entries(folder).into_iter().partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| self::files(folder));
    files.into_iter().filter(|path| path.is_file()).chain(below).collect()
}
