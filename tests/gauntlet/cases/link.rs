//! Frames and packets by hand, as root: forged senders, other protocols, games with neighbours.

use serde_json::{Value, json};

use super::{Group, cases};
use crate::{
    guest::{As, Guest},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "link",
    variables: &[],
    guest: |hood| Guest::new(hood, &["--allow", "good.test"]),
    cases: cases![
        forged_senders,
        forged_cards,
        packets_to_inner_addresses,
        fragments,
        other_protocols,
        other_frames,
        neighbours,
        flags_of_no_connection,
        garbage_on_the_wire,
        a_card_of_another_address,
    ],
};

/// What must not be answered by anything but a reset or an error, and reach nobody.
fn dropped(t: &mut Trial<'_>, asked: &Value) {
    let tried =
        t.attempt(As::Root, asked).untold("of frames that mean nothing the gateway may be silent");
    for outcome in &tried.outcomes {
        let end = outcome["end"].as_str().unwrap();
        assert!(["silence", "refused", "unreachable"].contains(&end), "{outcome}\n{asked}");
    }
    tried.unseen();
}

fn reach(t: &mut Trial<'_>) {
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}

/// Nobody else is on the link, and nobody else's address is believed.
fn forged_senders(t: &mut Trial<'_>) {
    reach(t);
    let mut asked = Vec::new();
    for source in [
        "203.0.113.1",
        "10.77.0.1",
        "127.0.0.1",
        "198.18.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.3",
    ] {
        for (kind, port) in [("syn", 443), ("udp", 443), ("dns", 53), ("echo", 0)] {
            let target = if kind == "dns" { "198.18.0.1" } else { "203.0.113.10" };
            asked.push(json!({"do": "packet", "kind": kind, "target": target, "source": source,
                "port": port, "at_once": true}));
        }
    }
    for source in ["2001:4860:f::1", "::1", "fd66:756d:6500::1", "fd66:756d:6500::9", "::"] {
        asked.push(json!({"do": "packet", "kind": "syn", "target": "2001:4860:f::10",
            "source": source, "port": 443, "at_once": true}));
    }
    dropped(t, &json!(asked));
    reach(t);
}

fn forged_cards(t: &mut Trial<'_>) {
    let mut asked = Vec::new();
    for mac in ["0266756d6501", "ffffffffffff", "000000000000", "525400123456"] {
        asked.push(json!({"do": "packet", "kind": "syn", "target": "203.0.113.66", "port": 443, "mac": mac}));
        asked.push(json!({"do": "packet", "kind": "dns", "target": "203.0.113.53", "mac": mac}));
    }
    for to in ["ffffffffffff", "01005e0000fb", "525400123456"] {
        asked.push(json!({"do": "packet", "kind": "syn", "target": "203.0.113.66", "port": 443, "to_mac": to}));
    }
    dropped(t, &json!(asked));
    reach(t);
}

/// The kernel would not send these; the card does.
fn packets_to_inner_addresses(t: &mut Trial<'_>) {
    let targets = [
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "10.77.0.10",
        "255.255.255.255",
        "224.0.0.1",
        "203.0.113.1",
        "::1",
        "::ffff:203.0.113.66",
        "ff02::1",
    ];
    let asked: Vec<_> = targets
        .iter()
        .flat_map(|target| {
            ["syn", "udp"].map(|kind| {
                json!({"do": "packet", "kind": kind, "target": target, "port": 80, "at_once": true})
            })
        })
        .collect();
    dropped(t, &json!(asked));
    reach(t);
}

/// A head over two fragments hides its port.
fn fragments(t: &mut Trial<'_>) {
    dropped(
        t,
        &json!([
            {"do": "packet", "kind": "fragments", "target": "203.0.113.66", "port": 443},
            {"do": "packet", "kind": "fragments", "target": "203.0.113.10", "port": 443},
            {"do": "packet", "kind": "syn-in-fragments", "target": "203.0.113.66", "port": 443},
            {"do": "packet", "kind": "source-route", "target": "203.0.113.66", "port": 443},
        ]),
    );
    reach(t);
}

fn other_protocols(t: &mut Trial<'_>) {
    let asked: Vec<_> = ["ip-in-ip", "six-in-four", "gre", "esp", "sctp", "igmp"]
        .iter()
        .flat_map(|kind| {
            ["203.0.113.66", "198.18.0.1"].map(
                |target| json!({"do": "packet", "kind": kind, "target": target, "at_once": true}),
            )
        })
        .collect();
    dropped(t, &json!(asked));
    reach(t);
}

/// VLAN, EAPOL, LLDP, MPLS, PPPoE, loops.
fn other_frames(t: &mut Trial<'_>) {
    let asked: Vec<_> = ["8100", "88a8", "888e", "88cc", "8847", "8863", "9000", "0026", "ffff"]
        .iter()
        .map(|kind| json!({"do": "ether", "kind": kind, "at_once": true}))
        .collect();
    dropped(t, &json!(asked));
    reach(t);
}

/// The gateway has its own address and no other, and is not told that somebody else has it.
fn neighbours(t: &mut Trial<'_>) {
    t.lawful_as(
        As::Root,
        &json!([
            {"do": "arp", "target": "198.18.0.1"},
            {"do": "neighbour", "target": "fd66:756d:6500::1"},
        ]),
    );
    let asked: Vec<_> =
        ["198.18.0.3", "198.18.0.2", "203.0.113.10", "203.0.113.1", "10.77.0.1", "169.254.169.254"]
            .iter()
            .map(|target| json!({"do": "arp", "target": target, "at_once": true}))
            .chain(
                ["fd66:756d:6500::3", "2001:4860:f::10", "fd66:756d:6500::2"]
                    .iter()
                    .map(|target| json!({"do": "neighbour", "target": target, "at_once": true})),
            )
            .collect();
    dropped(t, &json!(asked));
    dropped(
        t,
        &json!([
            {"do": "arp", "target": "198.18.0.1", "claim": "198.18.0.1"},
            {"do": "arp", "target": "198.18.0.2", "claim": "198.18.0.1"},
            {"do": "arp", "target": "198.18.0.1", "claim": "198.18.0.2", "mac": "525400123456"},
        ]),
    );
    reach(t);
}

fn flags_of_no_connection(t: &mut Trial<'_>) {
    dropped(
        t,
        &json!([
            {"do": "packet", "kind": "odd-flags", "target": "203.0.113.10", "port": 443},
            {"do": "packet", "kind": "odd-flags", "target": "203.0.113.66", "port": 443},
            {"do": "packet", "kind": "odd-flags", "target": "198.18.0.1", "port": 53},
        ]),
    );
    reach(t);
}

/// Whatever is sent, the gateway lives and lets lawful use pass.
fn garbage_on_the_wire(t: &mut Trial<'_>) {
    let before = t.guest.gateway();
    assert!(before.is_some(), "one gateway runs");
    let tried =
        t.attempt(As::Root, &json!({"do": "garbage", "count": 5000})).untold("it means nothing");
    tried.unseen();
    reach(t);
    assert_eq!(t.guest.gateway(), before, "it is the same process");
}

/// A guest that gives itself another address has no network, and gets it back with its own.
fn a_card_of_another_address(t: &mut Trial<'_>) {
    let change = |from: &str, to: &str| {
        format!(
            "ip address del {from}/30 dev $card; ip address add {to}/30 dev $card; \
            ip route replace default via 198.18.0.1 dev $card onlink"
        )
    };
    let card = "card=$(ls /sys/class/net | grep -v lo | head -1)";
    let script = format!(
        "{card}; {}; curl -sS -4 -m 2 -o /dev/null --resolve good.test:443:203.0.113.10 https://good.test/echo; \
         code=$?; {}; exit $code",
        change("198.18.0.2", "198.18.0.3"),
        change("198.18.0.3", "198.18.0.2"),
    );
    let ran = t.guest.exec(As::Root, &["bash", "-c", &script]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    let mark = t.world.mark();
    t.world.since(mark).nothing();
    reach(t);
}
