//! Addresses that nobody reaches by themselves where every public one is allowed: the host, its
//! networks, and where clouds keep credentials.

use serde_json::json;

use super::{Group, cases};
use crate::{
    guest::{As, Guest},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "reserved",
    variables: &[],
    guest: |hood| Guest::new(hood, &["--allow-all", "--allow-host-port", "8080"]),
    cases: cases![
        metadata_of_clouds,
        private_networks,
        addresses_of_the_host,
        ports_of_the_host,
        the_gateway_itself,
        names_of_the_host_and_its_networks,
        redirects_inside,
        a_subnet_names_one_of_them,
    ],
};

/// Each of these answers in the world.
fn metadata_of_clouds(t: &mut Trial<'_>) {
    let addresses = ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"];
    let asked: Vec<_> = addresses
        .iter()
        .chain(&["fd00:ec2::254", "169.254.170.2", "169.254.169.253"])
        .map(|host| json!({"do": "connect", "host": host, "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"}))
        .collect();
    t.attack(&json!(asked)).told_of("tcp", "address", &addresses).unseen();
    t.attack(&json!([
        {"do": "get", "host": "at-a9fea9fe.evil.test", "tls": false},
        {"do": "get", "host": "at-646464c8.evil.test", "tls": false},
        {"do": "get", "host": "at-a83f8110.evil.test", "tls": false},
    ]))
    .told_as("a denial", |event| event.text("decision") == "deny")
    .unheard();
    t.lawful(&json!([
        {"do": "get", "host": "evil.test", "tls": false},
        {"do": "connect", "host": "203.0.113.66", "port": 9000, "send": "any port"},
    ]));
}

fn private_networks(t: &mut Trial<'_>) {
    let addresses = [
        "10.77.0.10",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.1.1",
        "198.18.0.9",
        "198.19.255.1",
        "240.0.0.1",
        "0.0.0.1",
        "fd00::1",
        "fc00::1",
        "::ffff:10.77.0.10",
        "64:ff9b::a4d:a",
        "64:ff9b:1::a4d:a",
        "2002:a4d:a::1",
        "2001:0:a4d:a::1",
        "fec0::1",
    ];
    let asked: Vec<_> = addresses
        .iter()
        .map(|host| json!({"do": "connect", "host": host, "port": 80, "send": "GET / HTTP/1.0\r\n\r\n", "at_once": true}))
        .collect();
    t.attack(&json!(asked)).told_of("tcp", "address", &["10.77.0.10", "192.168.0.1"]).unseen();
    t.lawful(&json!({"do": "connect", "host": "2001:4860:f::66", "port": 80, "send": "GET /echo HTTP/1.0\r\n\r\n"}));
}

/// What the host has on its own addresses is as far away as what it has on its loopback.
fn addresses_of_the_host(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "connect", "host": "203.0.113.1", "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"},
        {"do": "connect", "host": "203.0.113.1", "port": 8082, "send": "GET / HTTP/1.0\r\n\r\n"},
        {"do": "connect", "host": "10.77.0.1", "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"},
        {"do": "connect", "host": "2001:4860:f::1", "port": 8082, "send": "GET / HTTP/1.0\r\n\r\n"},
        {"do": "get", "host": "at-cb007101.evil.test", "tls": false},
        {"do": "get", "host": "at-20014860000f00000000000000000001.evil.test", "tls": false},
    ]))
    .told_of("tcp", "host itself", &["203.0.113.1"])
    .unheard();
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}

/// `--allow-host-port 8080` is one port of the loopback.
fn ports_of_the_host(t: &mut Trial<'_>) {
    let said = t.lawful(
        &json!({"do": "get", "host": "host.fumehood.internal", "port": 8080, "tls": false}),
    );
    assert_eq!(said[0]["body"], "the host\n");
    t.attack(&json!([
        {"do": "connect", "host": "host.fumehood.internal", "port": 8081, "send": "x"},
        {"do": "connect", "host": "host.fumehood.internal", "port": 8082, "send": "x"},
        {"do": "connect", "host": "host.fumehood.internal", "port": 80, "send": "x"},
        {"do": "connect", "host": "host.fumehood.internal", "port": 443, "send": "x"},
        {"do": "resolve", "name": "other.fumehood.internal"},
    ]))
    .told("tcp", "8081")
    .unheard();
}

/// Its own addresses have a resolver and an echo, and nothing more.
fn the_gateway_itself(t: &mut Trial<'_>) {
    let mut asked = Vec::new();
    for host in ["198.18.0.1", "fd66:756d:6500::1"] {
        for port in [1, 22, 80, 443, 853, 2024, 7007, 8081, 65535] {
            asked.push(json!({"do": "connect", "host": host, "port": port, "at_once": true}));
        }
    }
    t.attack(&json!(asked)).told("tcp", "").unseen();
    t.lawful(&json!({"do": "dns", "name": "good.test", "tcp": true}));
    t.lawful_as(As::Root, &json!({"do": "packet", "kind": "echo", "target": "198.18.0.1"}));
}

/// Names that the host could answer from its own files, or with its search domains.
fn names_of_the_host_and_its_networks(t: &mut Trial<'_>) {
    let names = [
        "localhost",
        "x.localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "metadata.google.internal",
        "kubernetes.default.svc.cluster.local",
        "router.lan",
        "printer.local",
        "1.0.77.10.in-addr.arpa",
    ];
    let asked: Vec<_> = names.iter().map(|name| json!({"do": "dns", "name": name})).collect();
    let tried = t.attempt(As::User, &json!(asked)).untold("a name that is nobody's is no attack");
    for outcome in &tried.outcomes {
        let none = outcome["answers"].as_array().is_none_or(Vec::is_empty);
        assert!(none, "{outcome}");
    }
    drop(tried.seen());
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
}

/// Clients follow redirects; what they lead to is asked about like all else.
fn redirects_inside(t: &mut Trial<'_>) {
    for to in ["http://169.254.7.7/latest", "http://10.77.0.99/", "http://172.16.7.7:8082/"] {
        t.attack_with(&format!(
            "curl -sS -m 5 -L -o /dev/null --fail 'http://redirect.test/redirect?to={to}'"
        ))
        .told_as("a denial", |event| {
            event.text("decision") == "deny" && event.text("kind") == "tcp"
        })
        .seen()
        .no_packet_to("10.77.0.99");
    }
    t.lawful_with("curl -sSfL -m 10 'http://redirect.test/redirect?to=http://good.test/echo'");
}

/// A subnet that is named opens what it names, and still not the host.
fn a_subnet_names_one_of_them(t: &mut Trial<'_>) {
    t.guest.set_policy(&["--allow", "10.77.0.10"]);
    t.lawful(&json!({"do": "connect", "host": "10.77.0.10", "port": 9000, "send": "hello"}));
    t.attack(&json!([
        {"do": "connect", "host": "10.77.0.1", "port": 80, "send": "x"},
        {"do": "connect", "host": "169.254.169.254", "port": 80, "send": "x"},
    ]))
    .told("tcp", "")
    .unheard();
    t.guest.set_policy(&["--allow-all", "--allow-host-port", "8080"]);
}
