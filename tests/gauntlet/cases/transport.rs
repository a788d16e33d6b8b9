//! Other ways out than the web's: odd ports, UDP, variables that clients heed or not.

use serde_json::json;

use super::{Group, cases};
use crate::{
    guest::{As, Guest},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "transport",
    variables: &[],
    guest: |hood| {
        Guest::new(hood, &["--allow", "good.test,raw.test:9000,raw.test:22,raw.test:9099"])
    },
    cases: cases![
        tcp_on_odd_ports,
        a_port_where_nobody_listens,
        quic_is_refused_at_once,
        other_udp,
        ping_outside,
        ipv6_is_not_left_open,
        proxy_variables_change_nothing,
        relays_in_the_guest,
        vsock_leads_nowhere,
    ],
};

fn tcp_on_odd_ports(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "connect", "host": "raw.test", "port": 6667, "send": "NICK x"},
        {"do": "connect", "host": "raw.test", "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"},
        {"do": "connect", "host": "good.test", "port": 22},
        {"do": "connect", "host": "good.test", "port": 8080, "send": "GET / HTTP/1.0\r\n\r\n"},
        {"do": "connect", "host": "good.test", "port": 9000, "send": "hello"},
    ]))
    .told("tcp", "port")
    .unheard();
    t.lawful(&json!([
        {"do": "connect", "host": "raw.test", "port": 9000, "send": "hello"},
        {"do": "connect", "host": "raw.test", "port": 22},
    ]));
}

/// Whoever waits for a service to come up must not take the gateway for it.
fn a_port_where_nobody_listens(t: &mut Trial<'_>) {
    let tried = t
        .attempt(As::User, &json!({"do": "connect", "host": "raw.test", "port": 9099}))
        .untold("it is let through, and nobody is there");
    assert_eq!(tried.outcomes[0]["end"], "refused", "{:?}", tried.outcomes);
    drop(tried.seen());
    t.lawful(&json!({"do": "connect", "host": "raw.test", "port": 9000, "send": "hello"}));
}

/// A client that waits for QUIC to time out is a client that hangs.
fn quic_is_refused_at_once(t: &mut Trial<'_>) {
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
    let refused = t
        .attack(&json!([
            {"do": "udp", "host": "203.0.113.10", "port": 443, "payload": "\u{c3}\0\0\0\u{1}"},
            {"do": "udp", "host": "2001:4860:f::10", "port": 443, "payload": "\u{c3}\0\0\0\u{1}"},
            {"do": "udp", "host": "203.0.113.66", "port": 443},
        ]))
        .told("udp", "only DNS may use UDP");
    for outcome in &refused.outcomes {
        assert!(outcome["ms"].as_u64().unwrap() < 1000, "{outcome}");
    }
    refused.unseen();
    t.lawful(&json!({"do": "tls", "host": "good.test", "alpn": ["h2", "http/1.1"]}));
}

fn other_udp(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "udp", "host": "203.0.113.10", "port": 123},
        {"do": "udp", "host": "203.0.113.66", "port": 3478},
        {"do": "udp", "host": "198.18.0.1", "port": 123},
        {"do": "udp", "host": "203.0.113.66", "port": 53, "payload": "no question"},
    ]))
    .told("udp", "")
    .unseen();
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
}

fn ping_outside(t: &mut Trial<'_>) {
    let tried = t
        .attempt(
            As::Root,
            &json!([
                {"do": "packet", "kind": "echo", "target": "203.0.113.66"},
                {"do": "packet", "kind": "echo", "target": "2001:4860:f::66"},
                {"do": "packet", "kind": "echo", "target": "203.0.113.10"},
            ]),
        )
        .told("icmp", "");
    for outcome in &tried.outcomes {
        assert_ne!(outcome["end"], "ok", "{outcome}");
    }
    tried.unseen();
    t.lawful_as(
        As::Root,
        &json!([
            {"do": "packet", "kind": "echo", "target": "198.18.0.1"},
            {"do": "packet", "kind": "echo", "target": "fd66:756d:6500::1"},
        ]),
    );
}

fn ipv6_is_not_left_open(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "connect", "host": "2001:4860:f::66", "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"},
        {"do": "tls", "host": "2001:4860:f::66", "sni": "good.test"},
        {"do": "udp", "host": "2001:4860:f::66", "port": 443},
    ]))
    .told_of("tcp", "", &["2001:4860:f::66"])
    .unseen();
    t.lawful(&json!([
        {"do": "dns", "name": "good.test", "type": "AAAA"},
        {"do": "get", "host": "good.test", "address": "2001:4860:f::10"},
    ]));
}

/// Nothing in the guest switches the filter on, so nothing switches it off.
fn proxy_variables_change_nothing(t: &mut Trial<'_>) {
    for set in [
        "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY",
        "export NO_PROXY='*' no_proxy='*'",
        "export https_proxy=http://203.0.113.66:80 http_proxy=http://203.0.113.66:80",
        "export ALL_PROXY=socks5h://203.0.113.66:9000",
    ] {
        t.attack_with(&format!("{set}; curl -sS -m 5 -f -o /dev/null https://evil.test/"))
            .untold("the first of them is told, and what is alike is counted")
            .seen()
            .no_packet_to("203.0.113.66");
        t.attack_with(&format!(
            "{set}; node --no-warnings -e \"fetch('https://evil.test/').then(() => process.exit(0), () => process.exit(1))\""
        ))
        .untold("the first of them is told, and what is alike is counted")
        .seen()
        .no_packet_to("203.0.113.66");
    }
    for set in ["true", "export NO_PROXY=good.test"] {
        t.lawful_with(&format!("{set}; curl -sS -m 10 -f -o /dev/null https://good.test/echo"));
    }
}

/// A proxy that the guest runs itself reaches no more than the guest does.
fn relays_in_the_guest(t: &mut Trial<'_>) {
    let relay = r#"
python3 - <<'END' &
import socket, threading
server = socket.create_server(("127.0.0.1", 3128))
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    b.close()
while True:
    client, _ = server.accept()
    head = client.recv(65536).decode()
    if not head:
        continue
    host, port = head.split()[1].split(":")
    try:
        far = socket.create_connection((host, int(port)), 5)
    except OSError:
        client.close()
        continue
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    threading.Thread(target=pump, args=(far, client)).start()
    threading.Thread(target=pump, args=(client, far)).start()
END
relay=$!
trap 'kill $relay' EXIT
for i in $(seq 50); do (exec 3<>/dev/tcp/127.0.0.1/3128) 2>/dev/null && break; sleep 0.1; done
"#;
    let curl = "curl -sS -m 8 -f -o /dev/null -x http://127.0.0.1:3128";
    t.attack_with(&format!("{relay} {curl} https://relayed.evil.test/"))
        .told_of("dns", "no rule allows", &["relayed.evil.test"])
        .unseen();
    t.lawful_with(&format!("{relay} {curl} https://good.test/echo"));
}

fn vsock_leads_nowhere(t: &mut Trial<'_>) {
    let asked: Vec<_> = [0, 1, 2, 3, 4]
        .iter()
        .flat_map(|cid| {
            [22, 1024, 10000].map(|port| json!({"do": "vsock", "cid": cid, "port": port}))
        })
        .collect();
    let tried = t.attempt(As::Root, &json!(asked)).untold("there is no such device");
    for outcome in &tried.outcomes {
        assert_ne!(outcome["end"], "ok", "{outcome}");
    }
    tried.unseen();
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}
