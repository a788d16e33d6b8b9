//! A host that reaches the world through a proxy of its company: so do its guests, by the same rules.

use serde_json::json;

use super::{Group, cases};
use crate::{guest::Guest, trial::Trial};

pub(super) const GROUP: Group = Group {
    name: "uplink",
    variables: &[
        ("HTTPS_PROXY", "http://203.0.113.37:3128"),
        ("https_proxy", "http://203.0.113.37:3128"),
        ("NO_PROXY", "also.test"),
        ("no_proxy", "also.test"),
    ],
    guest: |hood| Guest::new(hood, &["--allow", "good.test,also.test,raw.test:9000"]),
    cases: cases![through_the_proxy, around_the_proxy],
};

fn through_the_proxy(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    t.lawful(&json!([
        {"do": "get", "host": "good.test"},
        {"do": "get", "host": "good.test", "tls": false},
        {"do": "connect", "host": "raw.test", "port": 9000, "send": "hello"},
    ]));
    let seen = t.world.since(mark);
    let through: Vec<_> = seen
        .requests
        .iter()
        .filter(|one| one["version"] == "proxy")
        .map(|one| one["target"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(through.len(), 3, "{through:?}");
    // The proxy is told the name that was judged, and looks it up itself.
    assert!(through.iter().all(|target| target.contains(".test:")), "{through:?}");
    t.attack(&json!([
        {"do": "get", "host": "evil.test"},
        {"do": "tls", "host": "good.test", "sni": "evil.test"},
        {"do": "connect", "host": "203.0.113.66", "port": 80, "send": "x"},
        {"do": "connect", "host": "203.0.113.37", "port": 3128, "send": "CONNECT evil.test:443 HTTP/1.1\r\n\r\n"},
    ]))
    .told_as("a denial", |event| event.text("decision") == "deny")
    .unheard();
}

fn around_the_proxy(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    t.lawful(&json!({"do": "get", "host": "also.test"}));
    let seen = t.world.since(mark);
    assert!(seen.requests.iter().all(|one| one["version"] != "proxy"), "{seen:?}");
}
