use std::net::IpAddr;

use super::*;
use crate::address::{RESERVED_NETWORKS, carried, reserved, stand_in};

fn dialled(policy: &Policy, address: &str, port: u16, name: Option<&str>) -> String {
    told(policy.dial(address.parse().unwrap(), port, name.map(host).as_ref()))
}

#[test]
fn a_listed_name_is_dialled_where_it_is_covered() {
    let policy = listed(vec![
        domain("example.com", vec![]),
        domain("db.example.com:5432", vec![]),
        domain("api.example.com:8443", vec![allow(every())]),
        domain("*.pages.dev:443", vec![]),
    ]);
    let table = [
        ("example.com", 443, "+example.com", "spliced example.com"),
        ("example.com", 80, "+example.com", "spliced example.com"),
        ("example.com", 22, "-example.com: no rule allows port 22", ""),
        ("db.example.com", 5432, "+db.example.com:5432", "raw db.example.com:5432"),
        ("db.example.com", 443, "-db.example.com:5432: no rule allows port 443", ""),
        ("api.example.com", 8443, "+api.example.com:8443", "opened api.example.com:8443"),
        // The web's own ports are looked at, also when they are named.
        ("x.pages.dev", 443, "+*.pages.dev:443", "spliced *.pages.dev:443"),
        ("x.pages.dev", 80, "-*.pages.dev:443: no rule allows port 80", ""),
        ("example.org", 443, "-default: no rule allows example.org", ""),
    ];
    for (name, port, dial, connect) in table {
        assert_eq!(dialled(&policy, "8.8.8.8", port, Some(name)), dial, "{name}:{port}");
        let connect = if connect.is_empty() { dial } else { connect };
        assert_eq!(treated(policy.connect(&host(name), port)), connect, "{name}:{port}");
    }
    let alone = "-default: the address was never given out for a name that is allowed";
    assert_eq!(dialled(&policy, "8.8.8.8", 443, None), alone);
    assert_eq!(treated(policy.connect_address("8.8.8.8".parse().unwrap(), 443)), alone);
}

#[test]
fn an_address_stands_in_for_a_name_that_rules_answer_for() {
    let canned = Canned { status: 200, headers: Vec::new(), body: Vec::new() };
    let answered = Rule { when: Match::default(), then: Action::Respond(canned) };
    let mut policy = listed(vec![
        domain("made-up.test", vec![answered.clone()]),
        domain("sent.test", vec![allow(every())]),
        domain("db.test:5432", vec![answered]),
    ]);
    policy.subnets.deny = vec![Cidr::parse("0.0.0.0/0").unwrap()];
    let at =
        |whose: &str, port, name| dialled(&policy, &stand_in(&host(whose)).to_string(), port, name);
    assert_eq!(at("made-up.test", 443, Some("made-up.test")), "+made-up.test");
    assert_eq!(at("db.test", 5432, Some("db.test")), "+db.test:5432");
    for (whose, port, name) in [
        ("made-up.test", 22, Some("made-up.test")),
        ("made-up.test", 443, Some("sent.test")),
        ("made-up.test", 443, None),
        ("sent.test", 443, Some("sent.test")),
        ("db.test", 443, Some("db.test")),
    ] {
        assert!(at(whose, port, name).starts_with('-'), "{whose}:{port} {name:?}");
    }
}

#[test]
fn a_name_opens_no_reserved_address() {
    let mut policy = public(vec![domain("example.com", vec![])]);
    let reserved = [
        ("127.0.0.1", "a loopback"),
        ("10.0.0.1", "a private"),
        ("169.254.169.254", "a cloud metadata"),
        ("::ffff:127.0.0.1", "a loopback"),
        ("64:ff9b::a9fe:a9fe", "a cloud metadata"),
        ("fe80::1", "a link-local"),
    ];
    for (address, class) in reserved {
        let why = format!("-default: it is {class} address, and no subnet of the policy names it");
        for name in [None, Some("example.com")] {
            assert_eq!(dialled(&policy, address, 443, name), why);
        }
    }
    policy.subnets.allow = vec![cidr("10.0.0.0/8")];
    assert_eq!(dialled(&policy, "10.0.0.1", 443, Some("example.com")), "+subnets.allow 10.0.0.0/8");
    assert!(dialled(&policy, "127.0.0.1", 443, Some("example.com")).starts_with('-'));
    assert!(dialled(&policy, "::ffff:10.0.0.1", 443, None).starts_with('-'));
}

#[test]
fn subnets_let_their_addresses_through_and_deny_beats_all() {
    let mut policy = listed(vec![domain("example.com", vec![])]);
    policy.subnets = Subnets {
        allow: vec![cidr("10.0.0.0/8"), cidr("fd00::/8"), cidr("8.8.8.8")],
        deny: vec![cidr("10.1.0.0/16"), cidr("9.0.0.0/8")],
    };
    let denied = |net: &str| format!("-subnets.deny {net}: the policy denies its subnet");
    let table = [
        ("10.0.0.1", 5432, None, "+subnets.allow 10.0.0.0/8".to_owned()),
        ("10.1.0.1", 5432, None, denied("10.1.0.0/16")),
        ("::ffff:10.1.0.1", 5432, None, denied("10.1.0.0/16")),
        ("64:ff9b::10.1.0.1", 443, Some("example.com"), denied("10.1.0.0/16")),
        ("9.9.9.9", 443, Some("example.com"), denied("9.0.0.0/8")),
        ("2002:909:909::", 443, Some("example.com"), denied("9.0.0.0/8")),
        ("fd12::1", 22, None, "+subnets.allow fd00::/8".to_owned()),
        ("8.8.8.8", 53, Some("example.com"), "+subnets.allow 8.8.8.8/32".to_owned()),
        ("8.8.4.4", 443, Some("example.com"), "+example.com".to_owned()),
    ];
    for (address, port, name, answer) in table {
        assert_eq!(dialled(&policy, address, port, name), answer, "{address}:{port}");
    }
    let connect =
        |policy: &Policy, port| treated(policy.connect_address("10.0.0.1".parse().unwrap(), port));
    assert_eq!(connect(&policy, 443), "raw subnets.allow 10.0.0.0/8");
    policy.strict = true;
    assert_eq!(connect(&policy, 443), "opened subnets.allow 10.0.0.0/8");
    assert_eq!(connect(&policy, 5432), "raw subnets.allow 10.0.0.0/8");
}

#[test]
fn a_network_of_ipv6_names_nothing_that_its_addresses_carry() {
    let mut policy = Policy::default();
    policy.subnets.allow = vec![cidr("::/0")];
    assert_eq!(dialled(&policy, "2606:4700::1", 443, None), "+subnets.allow ::/0");
    assert_eq!(dialled(&policy, "fd12::1", 443, None), "+subnets.allow ::/0");
    assert!(dialled(&policy, "::ffff:127.0.0.1", 443, None).starts_with('-'));
    assert!(dialled(&policy, "2002:a00:1::", 443, None).starts_with('-'));
    policy.subnets.allow.push(cidr("10.0.0.0/8"));
    assert_eq!(dialled(&policy, "2002:a00:1::", 443, None), "+subnets.allow ::/0");
}

#[test]
fn the_ends_of_the_link_are_reached_by_the_hosts_name_alone() {
    let mut policy = public(vec![]);
    policy.host_ports.insert(8080);
    policy.subnets.allow = vec![cidr("198.18.0.0/15"), cidr("fd66:756d:6500::/48")];
    let own = "-default: it is an address of the host itself";
    let name = Some("host.fumehood.internal");
    for address in ["198.18.0.1", "fd66:756d:6500::1", "::ffff:198.18.0.1"] {
        assert_eq!(dialled(&policy, address, 8080, name), "+hostPorts 8080");
        assert_eq!(dialled(&policy, address, 8081, name), "-default: no rule allows port 8081");
        assert_eq!(dialled(&policy, address, 8080, None), own);
        assert_eq!(dialled(&policy, address, 8080, Some("example.com")), own);
    }
    assert_eq!(
        dialled(&policy, "8.8.8.8", 8080, name),
        "-default: no rule allows host.fumehood.internal"
    );
    policy.subnets.deny = vec![cidr("0.0.0.0/0")];
    assert!(dialled(&policy, "198.18.0.1", 8080, name).starts_with("-subnets.deny"));
}

#[test]
fn everything_public_is_reached_and_the_web_is_looked_at() {
    let mut policy = public(vec![
        domain("api.example.com", vec![allow(methods(&["GET"]))]),
        domain("raw.example.com:9000", vec![]),
    ]);
    let connect = |policy: &Policy, name, port| treated(policy.connect(&host(name), port));
    assert_eq!(dialled(&policy, "203.0.113.9", 3306, None), "+default");
    assert_eq!(connect(&policy, "example.com", 443), "spliced default");
    assert_eq!(connect(&policy, "example.com", 80), "spliced default");
    assert_eq!(connect(&policy, "example.com", 5432), "raw default");
    assert_eq!(connect(&policy, "api.example.com", 443), "opened api.example.com");
    assert_eq!(connect(&policy, "api.example.com", 5432), "raw default");
    assert_eq!(connect(&policy, "raw.example.com", 9000), "raw raw.example.com:9000");
    assert_eq!(treated(policy.connect_address("1.1.1.1".parse().unwrap(), 443)), "spliced default");
    assert_eq!(treated(policy.connect_address("1.1.1.1".parse().unwrap(), 22)), "raw default");
    policy.strict = true;
    assert_eq!(connect(&policy, "example.com", 443), "opened default");
    assert_eq!(connect(&policy, "raw.example.com", 9000), "raw raw.example.com:9000");
    assert_eq!(treated(policy.connect_address("1.1.1.1".parse().unwrap(), 443)), "opened default");
}

/// What is reserved is so by one list as by the other, at every edge and all over.
#[test]
fn a_subnet_has_reserved_addresses_where_one_of_its_is() {
    let single =
        |address: IpAddr| Cidr { address, prefix: if address.is_ipv4() { 32 } else { 128 } };
    let edges = RESERVED_NETWORKS.iter().flat_map(|(address, prefix)| match address {
        IpAddr::V4(v4) => {
            let (first, size) = (v4.to_bits(), 1_u32 << (32 - prefix));
            let all = [first, first.wrapping_sub(1), first + (size - 1), first.wrapping_add(size)];
            all.map(|bits| IpAddr::V4(bits.into()))
        }
        IpAddr::V6(v6) => {
            let (first, size) = (v6.to_bits(), 1_u128 << (128 - prefix));
            let all = [first, first.wrapping_sub(1), first + (size - 1), first.wrapping_add(size)];
            all.map(|bits| IpAddr::V6(bits.into()))
        }
    });
    let all_v4 = (0..=u16::MAX).map(|high| IpAddr::V4((u32::from(high) << 16 | 0x0101).into()));
    let all_v6 = (0..=u16::MAX).map(|high| IpAddr::V6((u128::from(high) << 112 | 7).into()));
    for address in edges.chain(all_v4).chain(all_v6) {
        let carries = match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => carried(v6).iter().any(Option::is_some),
        };
        let has = single(address).has_reserved();
        assert!(carries || has == reserved(address).is_some(), "{address}: {has}");
    }
    let table = [
        ("0.0.0.0/0", true),
        ("::/0", true),
        ("2000::/3", true),
        ("168.0.0.0/8", true),
        ("10.20.0.0/16", true),
        ("fd00:ec2::254", true),
        ("8.0.0.0/7", false),
        ("203.0.113.0/24", false),
        ("2400::/6", false),
        // What it carries has to be allowed as well.
        ("2002::/16", false),
    ];
    for (net, expected) in table {
        assert_eq!(cidr(net).has_reserved(), expected, "{net}");
    }
}
