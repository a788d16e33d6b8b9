//! Addresses without names, in every spelling, where only names are allowed.

use serde_json::json;

use super::{Group, cases};
use crate::{
    guest::{Guest, policy_file},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "addresses",
    variables: &[],
    guest: |hood| Guest::new(hood, &["--allow", ALLOW]),
    cases: cases![
        spellings_of_an_address,
        address_in_the_authority,
        spellings_in_ipv6,
        address_of_another_name,
        address_never_given_out,
        a_subnet_allows_addresses,
        an_address_by_itself_beside_its_names,
    ],
};

const ALLOW: &str = "good.test,also.test";

/// 203.0.113.66 as the C library, curl and Node take it.
fn spellings_of_an_address(t: &mut Trial<'_>) {
    let spellings = ["203.0.113.66", "3405803842", "0xcb007142", "0313.0.0161.0102", "203.0.28994"];
    let asked: Vec<_> = spellings
        .iter()
        .flat_map(|host| {
            [
                json!({"do": "connect", "host": host, "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"}),
                json!({"do": "tls", "host": host, "sni": "good.test"}),
            ]
        })
        .collect();
    t.attack(&json!(asked)).told_of("tcp", "never given out", &["203.0.113.66"]).unseen();
    t.attack_with(
        "for host in 3405803842 0xcb007142 0313.0.0161.0102 203.0.28994; do \
           curl -sS -m 5 -o /dev/null http://$host/ && exit 0; \
         done; exit 1",
    )
    .untold("it was told a moment ago, and what is alike is counted")
    .unseen();
    t.lawful(&json!({"do": "get", "host": "good.test"}));
    t.lawful_with("curl -sSf -m 10 http://good.test/echo");
}

/// An address for a host, over a connection that is allowed.
fn address_in_the_authority(t: &mut Trial<'_>) {
    let asked: Vec<_> = ["203.0.113.10", "3405803786", "0xcb00710a", "[::ffff:203.0.113.10]"]
        .iter()
        .map(|text| json!({"do": "get", "host": "good.test", "tls": false, "authority": text}))
        .chain([json!({"do": "http1", "host": "good.test", "replies": 1,
            "raw": "GET http://203.0.113.66/ HTTP/1.1\r\nHost: good.test\r\n\r\n"})])
        .collect();
    t.attack(&json!(asked)).told("http", "").unheard();
    t.lawful(&json!({"do": "get", "host": "good.test", "tls": false}));
}

fn spellings_in_ipv6(t: &mut Trial<'_>) {
    let spellings = [
        "::ffff:203.0.113.66",
        "::203.0.113.66",
        "64:ff9b::203.0.113.66",
        "2002:cb00:7142::1",
        "2001:4860:f::66",
        "2001:4860:000f:0:0::66",
    ];
    let asked: Vec<_> = spellings
        .iter()
        .map(|host| json!({"do": "connect", "host": host, "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"}))
        .collect();
    t.attack(&json!(asked)).told("tcp", "").unseen();
    // The one way in by IPv6 is a name, too.
    t.lawful(&json!([
        {"do": "dns", "name": "good.test", "type": "AAAA"},
        {"do": "get", "host": "good.test", "address": "2001:4860:f::10"},
    ]));
}

/// The address was given out for `also.test`; it is nobody else's.
fn address_of_another_name(t: &mut Trial<'_>) {
    t.lawful(&json!([
        {"do": "get", "host": "also.test"},
        {"do": "get", "host": "good.test"},
    ]));
    t.attack(&json!([
        {"do": "tls", "host": "203.0.113.11", "sni": "good.test"},
        {"do": "tls", "host": "203.0.113.10", "sni": "also.test"},
        {"do": "get", "host": "good.test", "address": "203.0.113.11", "tls": false},
    ]))
    .told("tls", "not a name that this address was given out for")
    .unheard();
}

/// An allowed name over an address that nobody was told.
fn address_never_given_out(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "tls", "host": "203.0.113.67", "sni": "good.test"},
        {"do": "tls", "host": "203.0.113.35", "sni": "good.test"},
        {"do": "get", "host": "good.test", "address": "203.0.113.35", "tls": false},
        {"do": "connect", "host": "203.0.113.35", "port": 22},
    ]))
    .told_of("tcp", "never given out", &["203.0.113.67", "203.0.113.35"])
    .unseen();
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}

/// What `--allow SUBNET` means, and that `--deny` is stronger than a name.
fn a_subnet_allows_addresses(t: &mut Trial<'_>) {
    let both = format!("{ALLOW},203.0.113.66");
    t.guest.set_policy(&["--allow", &both, "--deny", "203.0.113.11"]);
    t.lawful(&json!([
        {"do": "connect", "host": "203.0.113.66", "port": 9000, "send": "hello"},
        {"do": "get", "host": "good.test"},
    ]));
    t.attack(&json!([
        {"do": "get", "host": "also.test"},
        {"do": "connect", "host": "203.0.113.11", "port": 80, "send": "x"},
        {"do": "connect", "host": "203.0.113.33", "port": 9000, "send": "hello"},
    ]))
    .told_as("a denial", |event| event.text("decision") == "deny")
    .seen()
    .no_packet_to("203.0.113.11");
    t.guest.set_policy(&["--allow", ALLOW]);
}

/// What is allowed by its address stays so when names have led there, and their rules hold.
fn an_address_by_itself_beside_its_names(t: &mut Trial<'_>) {
    let plain = json!({"do": "get", "host": "203.0.113.10", "tls": false});
    let unnamed = json!({"do": "tls", "host": "203.0.113.10", "sni": "", "verify": false});
    for policy in [["--allow-all"].as_slice(), &["--allow", "good.test,203.0.113.10"]] {
        t.guest.set_policy(policy);
        t.lawful(&json!([{"do": "get", "host": "good.test"}, plain, unnamed]));
    }
    t.guest.set_policy(&["--allow", "good.test,203.0.113.10", "--strict"]);
    t.attack(&unnamed).told("tls", "must say which host").unheard();
    t.lawful(&json!([{"do": "get", "host": "good.test"}, plain]));
    // Who says nothing may mean the name that has rules.
    let rules = json!([{"match": {"method": ["DELETE"]}, "action": "deny"}]);
    let policy = json!({"mode": "allow-all", "allow": {"good.test": rules}});
    t.guest.set_policy(&["--policy", &policy_file(t.guest.hood, "by-itself", &policy)]);
    t.attack(&json!([
        unnamed,
        {"do": "hello", "host": "203.0.113.10"},
        {"do": "get", "host": "good.test", "method": "DELETE"},
        {"do": "get", "host": "good.test", "method": "DELETE", "tls": false},
        {"do": "get", "host": "203.0.113.10", "sni": "good.test", "authority": "good.test", "method": "DELETE"},
    ]))
    .told("http", "a rule denies it")
    .unheard();
    t.lawful(&json!([{"do": "get", "host": "good.test"}, plain]));
    t.guest.set_policy(&["--allow", ALLOW]);
    t.attack(&json!([
        unnamed,
        {"do": "get", "host": "good.test", "tls": false, "authority": "203.0.113.10"},
    ]))
    .told("tls", "must say which host")
    .unheard();
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}
