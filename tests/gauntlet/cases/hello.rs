//! Client hellos that hide or forge whom they are for, and honest ones of any shape.

use serde_json::json;

use super::{Group, cases};
use crate::{
    guest::{As, Guest},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "hello",
    variables: &[],
    guest: |hood| Guest::new(hood, &["--allow", "good.test,also.test,good.test:8443"]),
    cases: cases![
        name_that_is_not_allowed,
        no_name,
        name_that_is_an_address,
        encrypted_hello,
        two_names,
        name_in_another_form,
        hello_in_pieces,
        hello_that_never_ends,
        another_protocol_on_443,
        tls_on_port_80,
    ],
};

/// A shared front end would take it to whoever is named.
fn name_that_is_not_allowed(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "tls", "host": "good.test", "sni": "sni.evil.test"},
        {"do": "hello", "host": "good.test", "sni": "sni.evil.test"},
    ]))
    .told_of("tls", "no rule allows", &["sni.evil.test"])
    .unheard();
    t.attack(&json!({"do": "tls", "host": "good.test", "sni": "also.test"}))
        .told_of("tls", "not a name that this address was given out for", &["also.test"])
        .seen()
        .no_packet_to("203.0.113.66");
    t.lawful(&json!([
        {"do": "tls", "host": "good.test"},
        {"do": "hello", "host": "good.test", "sni": "good.test"},
    ]));
}

fn no_name(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "tls", "host": "good.test", "sni": "", "verify": false},
        {"do": "hello", "host": "good.test"},
        {"do": "hello", "host": "good.test", "names": [""]},
    ]))
    .told("tls", "must say which host")
    .unheard();
    t.lawful(&json!({"do": "tls", "host": "good.test"}));
}

fn name_that_is_an_address(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "hello", "host": "good.test", "sni": "203.0.113.10"},
        {"do": "hello", "host": "good.test", "sni": "::1"},
        {"do": "hello", "host": "good.test", "sni": "3405803786"},
        {"do": "hello", "host": "good.test", "sni": "127.0.0.1"},
    ]))
    .told("tls", "")
    .unheard();
    t.lawful(&json!({"do": "hello", "host": "good.test", "sni": "good.test"}));
}

/// The outer name is allowed, the inner one nobody sees. A client that has no key sends the same form
/// with nothing in it; so the connection is opened, and what might be inside does not leave.
fn encrypted_hello(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "hello", "host": "good.test", "sni": "evil.test", "ech": "outer"},
        {"do": "hello", "host": "good.test", "ech": "outer"},
        {"do": "hello", "host": "good.test", "sni": "good.test", "ech": "inner"},
        {"do": "hello", "host": "good.test", "sni": "good.test", "ech": "broken"},
    ]))
    .told("tls", "")
    .unheard();
    let mark = t.world.mark();
    t.lawful(&json!([
        {"do": "hello", "host": "good.test", "sni": "good.test", "ech": "outer"},
        {"do": "hello", "host": "good.test", "sni": "good.test"},
    ]));
    let seen = t.world.since(mark);
    let hellos: Vec<_> = seen.requests.iter().filter(|one| one["version"] == "hello").collect();
    assert!(!hellos.is_empty(), "the world tells of hellos: {seen:?}");
    for hello in hellos {
        let extensions = hello["extensions"].as_array().unwrap();
        assert!(!extensions.contains(&json!(0xfe0d)), "{hello}");
    }
}

/// The filter takes one of them, the server another.
fn two_names(t: &mut Trial<'_>) {
    for names in
        [["good.test", "evil.test"], ["evil.test", "good.test"], ["good.test", "good.test"]]
    {
        t.attack(&json!({"do": "hello", "host": "good.test", "names": names}))
            .told("tls", "not as it should be")
            .unheard();
    }
    t.lawful(&json!({"do": "hello", "host": "good.test", "names": ["good.test"]}));
}

fn name_in_another_form(t: &mut Trial<'_>) {
    let asked: Vec<_> = ["good.test:443", "*.test", "good..test", "good.test ", " good.test",
        "good.test\n", "http://good.test", "good\u{3002}test", "good_test", "\u{ff}good.test"]
    .iter()
    .map(|name| json!({"do": "hello", "host": "good.test", "names": [name.chars().map(|c| if (c as u32) < 256 { c } else { '?' }).collect::<String>()]}))
    .collect();
    t.attack(&json!(asked)).told("tls", "").unheard();
    t.lawful(&json!([
        {"do": "hello", "host": "good.test", "sni": "GOOD.test"},
    ]));
}

/// One byte at a time, over several records, with a kilobyte of padding: all lawful, and a name that
/// is not allowed is found however it is cut.
fn hello_in_pieces(t: &mut Trial<'_>) {
    t.lawful(&json!([
        {"do": "hello", "host": "good.test", "sni": "good.test", "segment": 1},
        {"do": "hello", "host": "good.test", "sni": "good.test", "segment": 100},
        {"do": "hello", "host": "good.test", "sni": "good.test", "record": 40},
        {"do": "hello", "host": "good.test", "sni": "good.test", "record": 40, "segment": 7},
        {"do": "hello", "host": "good.test", "sni": "good.test", "filler": 1500},
        {"do": "hello", "host": "good.test", "sni": "good.test", "version": "0303"},
    ]));
    t.attack(&json!([
        {"do": "hello", "host": "good.test", "sni": "evil.test", "segment": 1},
        {"do": "hello", "host": "good.test", "sni": "evil.test", "record": 40},
        {"do": "hello", "host": "good.test", "sni": "evil.test", "record": 1},
        {"do": "hello", "host": "good.test", "sni": "evil.test", "filler": 12000},
    ]))
    .told("tls", "")
    .unheard();
}

/// Half a hello, and a length that would take megabytes, hold nothing for ever and harm nobody.
fn hello_that_never_ends(t: &mut Trial<'_>) {
    let tried = t
        .attempt(
            As::User,
            &json!([
                {"do": "hello", "host": "good.test", "raw": "160301ffff01fffffb"},
                {"do": "hello", "host": "good.test", "raw": "16030140000100fffc0303", "at_once": true},
                {"do": "hello", "host": "good.test", "raw": "1603010000", "at_once": true},
                {"do": "hello", "host": "good.test", "raw": "160301000101", "at_once": true},
            ]),
        )
        .told_as("a denial", |event| event.text("decision") == "deny");
    for outcome in &tried.outcomes {
        assert_ne!(outcome["end"], "ok", "{outcome}");
    }
    tried.unheard();
    t.lawful(&json!({"do": "tls", "host": "good.test"}));
}

/// Whatever is no TLS and no HTTP is not let through where only the web is allowed.
fn another_protocol_on_443(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "connect", "host": "good.test", "port": 443, "send": "SSH-2.0-OpenSSH_9.2\r\n"},
        {"do": "connect", "host": "good.test", "port": 443, "send": "\0\0\0\u{8}\u{4}\u{d2}\u{16}/"},
        {"do": "connect", "host": "good.test", "port": 443, "send": "\u{80}\u{2e}\u{1}\u{3}\u{1}\0"},
        {"do": "connect", "host": "good.test", "port": 443, "send": "\u{38}client\r\n"},
        {"do": "connect", "host": "good.test", "port": 80, "send": "SSH-2.0-OpenSSH_9.2\r\n"},
        {"do": "connect", "host": "good.test", "port": 80, "send": "\u{5}\u{1}\0"},
    ]))
    .told_as("a denial", |event| event.text("decision") == "deny")
    .unheard();
    t.lawful(&json!({"do": "tls", "host": "good.test"}));
}

fn tls_on_port_80(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "hello", "host": "good.test", "port": 80, "sni": "evil.test"},
        {"do": "hello", "host": "good.test", "port": 80},
    ]))
    .told("tls", "")
    .unheard();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "tls": false},
        {"do": "get", "host": "good.test", "port": 8443},
    ]));
}
