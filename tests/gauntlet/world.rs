//! What the world saw: packets, questions to its DNS server, requests to its servers.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::{hood::wait_until, lines::Lines, servers::Servers};

#[derive(Debug)]
pub(crate) struct World {
    flows: Lines,
    names: Lines,
    requests: Lines,
    barriers: AtomicU64,
    pub(crate) servers: Servers,
}

/// A moment in the world's notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    flows: u64,
    names: u64,
    requests: u64,
}

/// What the world saw within a time.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What opens something: `target`, `dport`, `protocol`.
    pub(crate) flows: Vec<Value>,
    /// Questions to the DNS server: `name`, `type`.
    pub(crate) names: Vec<Value>,
    /// Client hellos, connections (both named so in `version`) and requests of the servers.
    pub(crate) requests: Vec<Value>,
}

/// By this our own questions are told from a guest's.
const BARRIER: &str = "barrier-of-the-gauntlet";
const BARRIER_SERVER: &str = "203.0.113.12:80";

impl World {
    pub(crate) fn start(folder: &Path) -> Self {
        let servers = Servers::start(folder);
        let lines = |name: &str| Lines::new(folder.join(name));
        Self {
            flows: lines("flows.jsonl"),
            names: lines("names.jsonl"),
            requests: lines("requests.jsonl"),
            barriers: AtomicU64::new(0),
            servers,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        self.settle();
        Mark { flows: self.flows.mark(), names: self.names.mark(), requests: self.requests.mark() }
    }

    /// All that was seen since, and nothing of it is still under way.
    pub(crate) fn since(&self, mark: Mark) -> Seen {
        let ports = self.settle();
        let ours = |value: &Value| {
            let text = value.to_string();
            text.contains(BARRIER)
                || value["sport"].as_u64().is_some_and(|port| ports.contains(&port))
                || is_of_the_kernel(value)
        };
        let rest = |lines: &Lines, mark| {
            let mut found = lines.since(mark);
            found.retain(|value| !ours(value));
            found
        };
        let mut requests = rest(&self.requests, mark.requests);
        // The connection of our own request came right before it.
        requests.retain(|one| {
            let barrier = one["server"] == "203.0.113.12" && one["port"] == 80;
            !(barrier && one["version"] == "connection")
        });
        Seen {
            flows: rest(&self.flows, mark.flows),
            names: rest(&self.names, mark.names),
            requests,
        }
    }

    /// Asks each of the world's servers something and waits until it is in their notes: then all
    /// that came before is, too. Gives the ports that this was sent from.
    fn settle(&self) -> Vec<u64> {
        let number = self.barriers.fetch_add(1, Ordering::Relaxed);
        let before = self.flows.mark();
        let mut ports = Vec::new();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        ports.push(u64::from(socket.local_addr().unwrap().port()));
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in [format!("{number}"), BARRIER.to_owned()] {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.bytes());
        }
        question.extend([0, 0, 1, 0, 1]);
        socket.send_to(&question, "203.0.113.53:53").unwrap();
        socket.recv(&mut [0; 512]).unwrap();
        let mut stream = TcpStream::connect(BARRIER_SERVER).unwrap();
        ports.push(u64::from(stream.local_addr().unwrap().port()));
        let head = format!("GET /{BARRIER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        wait_until("the packets are noted", || {
            let found = self.flows.since(before);
            let seen = |port: &u64| found.iter().any(|flow| flow["sport"].as_u64() == Some(*port));
            ports.iter().all(seen)
        });
        ports
    }
}

/// What the kernel of the `host` namespace says by itself when its card comes up: which multicast
/// groups it is in (MLD), who routes, and whose address is whose.
fn is_of_the_kernel(flow: &Value) -> bool {
    let target = flow["target"].as_str().unwrap_or_default();
    let from_card = flow["source"].as_str().is_some_and(|source| source.starts_with("fe80::"));
    from_card && (matches!(target, "ff02::16" | "ff02::2") || target.starts_with("ff02::1:ff"))
}

impl Seen {
    /// Not one packet.
    #[track_caller]
    pub(crate) fn nothing(&self) {
        assert!(
            self.flows.is_empty() && self.names.is_empty() && self.requests.is_empty(),
            "it reached the world: {self:?}"
        );
    }

    /// Questions and connections are as they may be, but no request came through.
    #[track_caller]
    pub(crate) fn no_request(&self) {
        let heard: Vec<_> = self.heard();
        assert!(heard.is_empty(), "a request reached its server: {heard:?}");
    }

    #[track_caller]
    pub(crate) fn no_packet_to(&self, address: &str) {
        let found = self.flows.iter().find(|flow| flow["target"] == address);
        assert!(found.is_none(), "{found:?}");
    }

    #[track_caller]
    pub(crate) fn no_question_about(&self, part: &str) {
        let found = self
            .names
            .iter()
            .find(|one| one["name"].as_str().unwrap_or_default().to_lowercase().contains(part));
        assert!(found.is_none(), "{found:?}");
    }

    /// The requests themselves; not that one of before was taken back.
    pub(crate) fn heard(&self) -> Vec<&Value> {
        let is_request = |one: &&Value| {
            !["connection", "hello", "reset"].iter().any(|other| one["version"] == *other)
        };
        self.requests.iter().filter(is_request).collect()
    }
}
