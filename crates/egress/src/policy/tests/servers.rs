//! Paths against models of servers: whatever one of them makes of a path that was let through, the
//! rules say of it what they said.

use proptest::{prelude::*, sample::select};

use super::*;

const TOKENS: [&str; 34] = [
    "/",
    "/",
    "/",
    "/",
    "admin",
    "admin",
    "public",
    "public",
    "a",
    ".",
    "..",
    "...",
    "%2e",
    "%2E",
    "%2f",
    "%2F",
    "%252e",
    "%252f",
    "%25252e",
    "%5c",
    "\\",
    ";",
    ";x=1",
    "%3b",
    "%253B",
    "%61dmin",
    "%2561dmin",
    "ADMIN",
    "p%75blic",
    "%25",
    "%20",
    "%00",
    "%c0%ae",
    "é",
];

/// How a server treats a path, in this order: it decodes so many times (0 is what is unreserved
/// alone, as every server may), and each habit is a bit.
#[derive(Clone, Copy, Debug)]
struct Server {
    decodes: usize,
    habits: usize,
}

const BACKSLASH_IS_SLASH: usize = 1;
const DROPS_PARAMETERS: usize = 2;
const MERGES_SLASHES: usize = 4;
const RESOLVES_DOTS: usize = 8;
const FOLDS_CASE: usize = 16;

fn servers() -> impl Iterator<Item = Server> {
    (0..4).flat_map(|decodes| (0..32).map(move |habits| Server { decodes, habits }))
}

fn decode_where(text: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match byte.filter(|byte| *first == b'%' && wanted(*byte)) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

impl Server {
    fn has(self, habit: usize) -> bool {
        self.habits & habit != 0
    }

    fn sees(self, path: &str) -> String {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let mut bytes = decode_where(path.as_bytes(), unreserved);
        for _ in 0..self.decodes {
            bytes = decode_where(&bytes, |_| true);
        }
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if self.has(BACKSLASH_IS_SLASH) {
            text = text.replace('\\', "/");
        }
        let mut segments: Vec<&str> = text.split('/').skip(1).collect();
        if self.has(DROPS_PARAMETERS) {
            segments.iter_mut().for_each(|part| *part = part.split(';').next().unwrap());
        }
        if self.has(MERGES_SLASHES) {
            let last = segments.pop().unwrap_or_default();
            segments.retain(|part| !part.is_empty());
            segments.push(last);
        }
        if self.has(RESOLVES_DOTS) {
            let mut resolved = Vec::new();
            for part in segments {
                match part {
                    "." => {}
                    ".." => drop(resolved.pop()),
                    other => resolved.push(other),
                }
            }
            segments = resolved;
        }
        let seen = format!("/{}", segments.join("/"));
        if self.has(FOLDS_CASE) { seen.to_lowercase() } else { seen }
    }
}

fn is_sent(policy: &Policy, path: &str) -> bool {
    ruled(policy, "a.com", &format!("GET {path}"), &[]).starts_with('+')
}

fn some_path() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&TOKENS), 0..8).prop_map(|tokens| format!("/{}", tokens.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn no_server_sees_a_path_that_is_denied(path in some_path()) {
        let tree = listed(vec![domain("a.com", vec![deny(super::path(starts("/admin")))])]);
        let one = listed(vec![domain("a.com", vec![deny(super::path(exact("/admin/a")))])]);
        for server in servers() {
            let seen = server.sees(&path);
            prop_assert!(!seen.starts_with("/admin") || !is_sent(&tree, &path), "{:?}", server);
            let is_one = seen.trim_end_matches('/') == "/admin/a";
            prop_assert!(!is_one || !is_sent(&one, &path), "{:?}", server);
        }
    }

    #[test]
    fn every_server_sees_a_path_that_is_allowed(path in some_path()) {
        let rules = vec![allow(super::path(starts("/public/"))), deny(every())];
        let policy = listed(vec![domain("a.com", rules)]);
        if is_sent(&policy, &path) {
            for server in servers() {
                let seen = server.sees(&path);
                prop_assert!(seen.starts_with("/public/"), "{:?} sees {}", server, seen);
            }
        }
    }
}

#[test]
fn the_properties_are_not_empty() {
    let rules = vec![allow(path(starts("/public/"))), deny(every())];
    let policy = listed(vec![domain("a.com", rules)]);
    let sent = ["/public/a", "/public/%2f%25;x/é", "/p%75blic/...//"];
    assert!(sent.iter().all(|path| is_sent(&policy, path)));
    let dots = Server { decodes: 1, habits: RESOLVES_DOTS };
    assert_eq!(dots.sees("/public/%2e%2e/admin"), "/admin");
}
