//! The whole matcher against a model that is written as simply as can be: no index, no ordering, no
//! shared code but the types.

use std::net::IpAddr;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::address::reserved;

const HOSTS: [&str; 7] =
    ["a.com", "www.a.com", "x.www.a.com", "www.b.com", "b.org", "com", "host.fumehood.internal"];
const PATTERNS: [&str; 10] = [
    "*",
    "*.com",
    "*.a.com",
    "www.*.com",
    "*.*.com",
    "a.com",
    "www.a.com",
    "b.org",
    "*.internal",
    "host.fumehood.internal",
];
const PORTS: [u16; 4] = [80, 443, 22, 8443];
const ADDRESSES: [&str; 8] = [
    "8.8.8.8",
    "10.0.0.1",
    "10.1.0.1",
    "127.0.0.1",
    "::ffff:10.0.0.1",
    "2606:4700::1",
    "fd00:1::1",
    "2002:a00:1::1",
];
const NETWORKS: [&str; 7] =
    ["8.8.0.0/16", "10.0.0.0/8", "10.1.0.0/16", "127.0.0.0/8", "::/0", "fd00::/8", "0.0.0.0/0"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const PATHS: [&str; 5] = ["/", "/a", "/a/b", "/A", "/b/"];

fn some_match() -> impl Strategy<Value = Match> {
    let text = prop_oneof![
        select(&PATHS).prop_map(exact),
        select(&PATHS).prop_map(starts),
        select(&["^/a", "/b$", "^/[ab]/"]).prop_map(regex),
    ];
    let methods = prop::collection::vec(select(&METHODS), 0..=2);
    (prop::option::of(text), methods)
        .prop_map(|(path, names)| Match { path, ..super::methods(&names) })
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let canned = Canned { status: 403, headers: vec![], body: vec![] };
    let action = prop_oneof![
        Just(Action::Deny),
        Just(Action::Send(Edits::default())),
        Just(Action::Respond(canned)),
    ];
    (some_match(), action).prop_map(|(when, then)| Rule { when, then })
}

fn some_policy() -> impl Strategy<Value = Policy> {
    let rules = prop::collection::vec(some_rule(), 0..=3);
    let domain = (select(&PATTERNS), prop::option::of(select(&PORTS)), rules);
    let domain =
        domain.prop_map(|(pattern, port, rules)| Domain { port, ..super::domain(pattern, rules) });
    let networks = || prop::collection::vec(select(&NETWORKS).prop_map(cidr), 0..=2);
    let reach = select(&[Reach::Listed, Reach::Public]);
    let host_ports = prop::collection::btree_set(select(&PORTS), 0..=2);
    let domains = prop::collection::vec(domain, 0..=4);
    (reach, domains, networks(), networks(), host_ports, any::<bool>()).prop_map(
        |(reach, domains, allow, deny, host_ports, strict)| Policy {
            reach,
            domains,
            subnets: Subnets { allow, deny },
            host_ports,
            strict,
        },
    )
}

/// By a regular expression.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (lead, rest) = match pattern.strip_prefix("*.") {
        Some(rest) => ("([^.]+[.])+", rest),
        None => ("", pattern),
    };
    let rest = rest.replace('.', "[.]").replace('*', "[^.]+");
    regex::Regex::new(&format!("^{lead}{rest}$")).unwrap().is_match(name)
}

fn closes(domain: &Domain) -> bool {
    matches!(domain.rules.first(), Some(Rule { when, then: Action::Deny }) if *when == Match::default())
}

/// The domain with the most parts that are no star; by its port; the first.
fn decides<'a>(policy: &'a Policy, name: &str, port: u16) -> Option<&'a Domain> {
    if name == "host.fumehood.internal" {
        return None;
    }
    let mut best: Option<(&Domain, (bool, usize, bool))> = None;
    for domain in &policy.domains {
        let text = domain.pattern.to_string();
        let covers = match domain.port {
            Some(own) => own == port,
            None => port == 80 || port == 443 || closes(domain),
        };
        let parts = text.split('.').filter(|part| *part != "*").count();
        let score = (!text.contains('*'), parts, domain.port.is_some());
        let better = best.is_none_or(|(_, so_far)| so_far < score);
        if covers && matches(&text, name) && better {
            best = Some((domain, score));
        }
    }
    best.map(|(domain, _)| domain)
}

fn model_connect(policy: &Policy, name: &str, port: u16) -> &'static str {
    let web = port == 80 || port == 443;
    if name == "host.fumehood.internal" {
        return if policy.host_ports.contains(&port) { "raw" } else { "no" };
    }
    let inspected = if policy.strict { "opened" } else { "spliced" };
    match decides(policy, name, port) {
        Some(domain) if closes(domain) => "no",
        Some(domain) if !domain.rules.is_empty() => "opened",
        Some(_) if web => inspected,
        None if policy.reach == Reach::Public && web => inspected,
        None if policy.reach == Reach::Listed => "no",
        Some(_) | None => "raw",
    }
}

fn model_resolve(policy: &Policy, name: &str) -> bool {
    // 7 is a port that no policy here names.
    PORTS.iter().chain(&[7]).any(|port| model_connect(policy, name, *port) != "no")
}

/// What an address of the pool carries.
fn model_inner(address: &str) -> Option<&'static str> {
    match address {
        "::ffff:10.0.0.1" | "2002:a00:1::1" => Some("10.0.0.1"),
        _ => None,
    }
}

fn within(networks: &[Cidr], address: &str) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => format!("4{:032b}", v4.to_bits()),
        IpAddr::V6(v6) => format!("6{:0128b}", v6.to_bits()),
    };
    let text = bits(address.parse().unwrap());
    let starts = |net: &Cidr| text.starts_with(&bits(net.address)[..=usize::from(net.prefix)]);
    networks.iter().any(starts)
}

fn model_dial(policy: &Policy, address: &str, port: u16, name: Option<&str>) -> bool {
    let inner = model_inner(address);
    let Subnets { allow, deny } = &policy.subnets;
    let is_private = |text: &str| reserved(text.parse().unwrap()).is_some();
    if within(deny, address) || inner.is_some_and(|inner| within(deny, inner)) {
        return false;
    }
    if name == Some("host.fumehood.internal") {
        return false;
    }
    let inner_is_fine = inner.is_none_or(|inner| !is_private(inner) || within(allow, inner));
    if within(allow, address) && inner_is_fine {
        return true;
    }
    !is_private(address)
        && match name {
            Some(name) => model_connect(policy, name, port) != "no",
            None => policy.reach == Reach::Public,
        }
}

/// To an address that was given out for these names, with nothing said.
fn model_unnamed(policy: &Policy, address: &str, port: u16, names: &[&str]) -> &'static str {
    if !model_dial(policy, address, port, None) {
        return "no";
    }
    let ruled = |name: &&str| decides(policy, name, port).is_some_and(|one| !one.rules.is_empty());
    let web = port == 80 || port == 443;
    let by_subnet = within(&policy.subnets.allow, address);
    match (names.iter().any(ruled), policy.strict) {
        (true, _) => "opened",
        (false, true) if web => "opened",
        (false, false) if web && !by_subnet => "spliced",
        (false, _) => "raw",
    }
}

fn model_request(policy: &Policy, name: &str, method: &str, path: &str) -> String {
    if model_connect(policy, name, 443) == "no" && decides(policy, name, 443).is_none() {
        return "no".to_owned();
    }
    let rules = decides(policy, name, 443).map(|domain| domain.rules.clone()).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        let denies = rule.then == Action::Deny;
        let fold = |text: &str| if denies { text.to_lowercase() } else { text.to_owned() };
        let trim = |text: String| text.trim_end_matches('/').to_owned();
        let bare = |text: &str| if denies { trim(fold(text)) } else { text.to_owned() };
        let path_fits = match &rule.when.path {
            None => true,
            Some(TextMatch::Exact(text)) => bare(text) == bare(path),
            Some(TextMatch::StartsWith(text)) => fold(path).starts_with(&fold(text)),
            Some(TextMatch::Regex(pattern)) => pattern.is_match(path),
        };
        let names = &rule.when.methods;
        if path_fits && (names.is_empty() || names.iter().any(|one| one == method)) {
            return match &rule.then {
                Action::Deny => "no".to_owned(),
                Action::Send(_) => format!("send {index}"),
                Action::Respond(_) => format!("respond {index}"),
                Action::Forward(_) => unreachable!(),
            };
        }
    }
    "send".to_owned()
}

fn last_index(rule: &str) -> String {
    rule.rsplit_once('[')
        .map(|(_, rest)| format!(" {}", rest.trim_end_matches(']')))
        .unwrap_or_default()
}

fn manner(answer: &Result<Treatment, Denial>) -> &'static str {
    match answer {
        Err(_) => "no",
        Ok(Treatment::Raw(_)) => "raw",
        Ok(Treatment::Inspect { opened: true, .. }) => "opened",
        Ok(Treatment::Inspect { opened: false, .. }) => "spliced",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn names_and_connections_are_as_in_the_model(policy in some_policy(), name in select(&HOSTS)) {
        let parsed = host(name);
        let resolved = policy.resolve(&parsed).is_ok();
        prop_assert_eq!(resolved, model_resolve(&policy, name));
        for port in PORTS.into_iter().chain([7]) {
            let treated = manner(&policy.connect(&parsed, port));
            prop_assert_eq!(treated, model_connect(&policy, name, port), "{}", port);
            // What is connected can be looked up.
            prop_assert!(treated == "no" || resolved);
        }
    }

    #[test]
    fn addresses_are_as_in_the_model(
        policy in some_policy(),
        address in select(&ADDRESSES),
        port in select(&PORTS),
        name in prop::option::of(select(&HOSTS)),
    ) {
        let parsed: IpAddr = address.parse().unwrap();
        let answer = policy.dial(parsed, port, name.map(host).as_ref());
        prop_assert_eq!(answer.is_ok(), model_dial(&policy, address, port, name));
        // Only a subnet opens a reserved address.
        let without_subnet = policy.subnets.allow.is_empty() && answer.is_ok();
        prop_assert!(!without_subnet || reserved(parsed).is_none());
        let alone = policy.dial(parsed, port, None).is_ok();
        prop_assert_eq!(policy.connect_address(parsed, port).is_ok(), alone);
    }

    #[test]
    fn addresses_by_themselves_are_as_in_the_model(
        policy in some_policy(),
        address in select(&ADDRESSES),
        port in select(&PORTS),
        names in prop::collection::vec(select(&HOSTS[..6]), 0..=2),
    ) {
        let hosts: Vec<Host> = names.iter().map(|name| host(name)).collect();
        let answer = manner(&policy.connect_unnamed(address.parse().unwrap(), port, &hosts));
        prop_assert_eq!(answer, model_unnamed(&policy, address, port, &names));
    }

    #[test]
    fn requests_are_as_in_the_model(
        policy in some_policy(),
        name in select(&HOSTS[..6]),
        method in select(&METHODS),
        path in select(&PATHS),
    ) {
        let headers = HeaderMap::new();
        let head = Head { method, path, query: None, headers: &headers };
        let answer = match policy.request(&host(name), 443, &head) {
            Err(_) => "no".to_owned(),
            Ok(Ruling::Send { rule, .. }) => format!("send{}", last_index(&rule)),
            Ok(Ruling::Respond { rule, .. }) => format!("respond{}", last_index(&rule)),
            Ok(Ruling::Forward { .. }) => unreachable!(),
        };
        prop_assert_eq!(answer, model_request(&policy, name, method, path));
    }
}
