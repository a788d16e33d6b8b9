//! Whatever a client asks for, it is a policy or an error; and whatever a guest then asks of the
//! policy, the answers agree with one another and open nothing that is not named.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::network_policy::NetworkPolicy;
use arbitrary::Arbitrary;
use daemon::network_policy;
use egress::{
    address::{GATEWAY_V4, GATEWAY_V6, HOST_NAME, reserved},
    host::Host,
    policy::{Head, Policy, Reach},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// What may be shown nowhere.
const SECRET: &str = "sesame-sesame";

#[derive(Arbitrary, Debug)]
struct Input {
    text: Text,
    asked: Vec<Asked>,
}

#[derive(Arbitrary, Debug)]
enum Text {
    Raw(String),
    Made(Made),
    Cut(Made, u16),
}

#[derive(Arbitrary, Debug)]
struct Made {
    mode: u8,
    domains: Vec<(Name, Vec<Rule>)>,
    old: Vec<(Name, Rule)>,
    allow: Vec<Net>,
    deny: Vec<Net>,
    presets: u8,
    ports: Vec<u16>,
    strict: bool,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Known(u8),
    WithPort(u8, u16),
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Net {
    Known(u8),
    V4([u8; 4], u8),
    V6([u8; 16], u8),
    Other(String),
}

#[derive(Arbitrary, Debug)]
struct Rule {
    path: Option<(u8, Option<String>)>,
    method: Option<u8>,
    query: Option<(String, String)>,
    header: Option<String>,
    then: u8,
    word: Option<String>,
}

#[derive(Arbitrary, Debug)]
struct Asked {
    name: Name,
    address: Address,
    port: u16,
    method: u8,
    path: Vec<Bit>,
    query: Option<String>,
    header: Option<(String, Vec<u8>)>,
}

#[derive(Arbitrary, Debug)]
enum Address {
    Known(u8),
    V4([u8; 4]),
    V6([u8; 16]),
    Mapped([u8; 4]),
}

#[derive(Arbitrary, Debug)]
enum Bit {
    Known(u8),
    Other(String),
}

const NAMES: [&str; 8] =
    ["a.com", "*.a.com", "*", "www.*.com", "x.a.com", HOST_NAME, "*.internal", "bücher.example"];
const NETS: [&str; 8] = [
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "127.0.0.0/8",
    "fd00::/8",
    "198.18.0.0/15",
    "8.8.8.8",
    "169.254.0.0/16",
];
const ADDRESSES: [&str; 8] = [
    "8.8.8.8",
    "10.0.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "2606:4700::1",
    "::ffff:127.0.0.1",
    "2002:a00:1::1",
    "fd00::1",
];
const PATHS: [&str; 8] = ["/", "a", "/a", "..", "%2e", "%2F", ";", "//"];
const METHODS: [&str; 4] = ["GET", "POST", "put", "DELETE"];
const PORTS: [u16; 4] = [80, 443, 22, 8443];

fn pick<T: Copy, const N: usize>(list: [T; N], at: u8) -> T {
    list[usize::from(at) % N]
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Known(at) => pick(NAMES, *at).to_owned(),
            Self::WithPort(at, port) => format!("{}:{}", pick(NAMES, *at), port % 9000),
            Self::Other(text) => text.clone(),
        }
    }
}

impl Net {
    fn text(&self) -> String {
        match self {
            Self::Known(at) => pick(NETS, *at).to_owned(),
            Self::V4(bytes, prefix) => format!("{}/{prefix}", Ipv4Addr::from(*bytes)),
            Self::V6(bytes, prefix) => format!("{}/{prefix}", Ipv6Addr::from(*bytes)),
            Self::Other(text) => text.clone(),
        }
    }
}

impl Rule {
    fn json(&self) -> Value {
        let word = self.word.clone().unwrap_or_else(|| "x-a".to_owned());
        let mut rule = match self.then % 8 {
            0 => json!({"action": "allow"}),
            1 => json!({"action": "deny"}),
            2 => json!({"transform": [{"headers": {word: SECRET}}]}),
            3 => json!({"forwardURL": format!("https://b.com/{word}")}),
            4 => {
                json!({"response": {"statusCode": 403, "body": word, "contentType": "text/plain"}})
            }
            5 => json!({"credential": {"secret": "KEY"}}),
            6 => {
                json!({"credential": {"secret": word, "placeholder": true}, "pin": {"headers": ["x-b"]}})
            }
            _ => json!({"pin": true, "transform": [{"headers": {"authorization": SECRET}}]}),
        };
        let mut when = json!({});
        if let Some((kind, text)) = &self.path {
            let text = text.clone().unwrap_or_else(|| pick(PATHS, *kind).to_owned());
            when["path"] = json!({pick(["exact", "startsWith", "regex"], *kind): text});
        }
        if let Some(at) = self.method {
            when["method"] = json!([pick(METHODS, at)]);
        }
        if let Some((key, value)) = &self.query {
            when["queryString"] = json!([{"key": {"exact": key}, "value": {"startsWith": value}}]);
        }
        if let Some(key) = &self.header {
            when["headers"] = json!([{"key": {"exact": key}}]);
        }
        if when != json!({}) {
            rule["match"] = when;
        }
        rule
    }
}

impl Made {
    fn json(&self) -> Value {
        let texts = |nets: &[Net]| nets.iter().map(Net::text).collect::<Vec<_>>();
        let rules = |rules: &[Rule]| rules.iter().map(Rule::json).collect::<Vec<_>>();
        let mut made = json!({"strict": self.strict, "hostPorts": self.ports});
        match self.mode % 8 {
            0 => made["mode"] = json!("allow-all"),
            1 => made = json!({"mode": "deny-all", "strict": self.strict}),
            2 | 3 => {
                made["mode"] = json!(pick(["custom", "default-allow"], self.mode));
                let names: Vec<String> = self.domains.iter().map(|(name, _)| name.text()).collect();
                made["allowedDomains"] = json!(names);
                made["allowedCIDRs"] = json!(texts(&self.allow));
                made["deniedCIDRs"] = json!(texts(&self.deny));
                let injection = |(name, rule): &(Name, Rule)| {
                    let word = rule.word.clone().unwrap_or_default();
                    json!({"domain": name.text(), "headers": {word: SECRET}})
                };
                made["injectionRules"] = json!(self.old.iter().map(injection).collect::<Vec<_>>());
                return made;
            }
            _ => {}
        }
        if self.mode % 8 != 1 {
            let domains = self.domains.iter().map(|(name, list)| (name.text(), json!(rules(list))));
            made["allow"] = Value::Object(domains.collect());
            made["subnets"] = json!({"allow": texts(&self.allow), "deny": texts(&self.deny)});
            if self.presets % 16 == 15 {
                made["presets"] = json!(["github-read"]);
            }
        }
        made
    }
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Raw(text) => text.clone(),
            Self::Made(made) => made.json().to_string(),
            Self::Cut(made, at) => {
                let mut text = made.json().to_string();
                text.truncate(text.floor_char_boundary(usize::from(*at)));
                text
            }
        }
    }
}

impl Address {
    fn ip(&self) -> IpAddr {
        match self {
            Self::Known(at) => pick(ADDRESSES, *at).parse().expect("a known address"),
            Self::V4(bytes) => IpAddr::from(*bytes),
            Self::V6(bytes) => IpAddr::from(*bytes),
            Self::Mapped(bytes) => Ipv4Addr::from(*bytes).to_ipv6_mapped().into(),
        }
    }
}

fuzz_target!(|input: Input| {
    let Ok(wire) = serde_json::from_str::<NetworkPolicy>(&input.text.text()) else { return };
    assert!(!format!("{wire:?}").contains(SECRET));
    let policy = match network_policy::policy(&wire, &|name| format!("PLACEHOLDER_{name}")) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.to_string().contains(SECRET), "{error}");
            return;
        }
    };
    let shown = serde_json::to_string(&network_policy::reply(&policy)).expect("it is JSON");
    assert!(!shown.contains(SECRET) && !format!("{policy:?}").contains(SECRET));
    let bytes = serde_json::to_vec(&policy).expect("it is JSON");
    assert_eq!(serde_json::from_slice::<Policy>(&bytes).expect("it is a policy"), policy);
    for asked in &input.asked {
        ask(&policy, asked);
    }
});

fn ask(policy: &Policy, asked: &Asked) {
    let port = if asked.port % 2 == 0 { pick(PORTS, asked.method) } else { asked.port };
    let address = asked.address.ip();
    let host = Host::parse(&asked.name.text().replace('*', "b")).ok();
    check_address(policy, address, port, host.as_ref());
    let Some(host) = host else { return };
    let nothing = policy.reach == Reach::Listed
        && policy.domains.is_empty()
        && policy.subnets.allow.is_empty()
        && policy.host_ports.is_empty();
    let connected = policy.connect(&host, port).is_ok();
    assert!(!connected || policy.resolve(&host).is_ok(), "connected without a name");
    assert!(!nothing || policy.resolve(&host).is_err(), "nothing allows something");
    let path: String = asked
        .path
        .iter()
        .map(|bit| match bit {
            Bit::Known(at) => pick(PATHS, *at).to_owned(),
            Bit::Other(text) => text.clone(),
        })
        .collect();
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = &asked.header
        && let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
    {
        headers.insert(name, value);
    }
    let query = asked.query.as_deref();
    let head = Head { method: pick(METHODS, asked.method), path: &path, query, headers: &headers };
    assert!(policy.request(&host, port, &head).is_err() || connected, "asked without a connection");
    let url = format!("https://{host}:{port}{path}?{}", query.unwrap_or_default());
    if let Ok(told) = policy.explain(head.method, &url) {
        let told = serde_json::to_string(&told).expect("it is JSON");
        assert!(!told.contains(SECRET));
    }
}

fn check_address(policy: &Policy, address: IpAddr, port: u16, name: Option<&Host>) {
    let allows = |address| policy.subnets.allow.iter().any(|net| net.contains(address));
    let denies = policy.subnets.deny.iter().any(|net| net.contains(address));
    let dialled = policy.dial(address, port, name).is_ok();
    assert!(!dialled || !denies, "a denied subnet is dialled");
    let is_host = name.is_some_and(|name| name.as_str() == HOST_NAME)
        && [IpAddr::from(GATEWAY_V4), GATEWAY_V6.into()].contains(&address.to_canonical());
    assert!(
        !dialled || reserved(address).is_none() || allows(address) || is_host,
        "{address} is reserved and no subnet names it"
    );
    assert!(!dialled || !is_host || policy.host_ports.contains(&port));
    if let IpAddr::V6(v6) = address
        && let Some(inner) = v6.to_ipv4_mapped().filter(|_| dialled && !is_host)
    {
        let inner = IpAddr::V4(inner);
        assert!(reserved(inner).is_none() || allows(inner), "{address} carries {inner}");
    }
    let alone = policy.dial(address, port, None).is_ok();
    assert_eq!(policy.connect_address(address, port).is_ok(), alone);
    assert!(!alone || policy.reach == Reach::Public || allows(address));
}
