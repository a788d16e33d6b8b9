//! From JSON to policies and back to what is shown.

mod bounds;
mod faults;
mod round_trip;

use api::network_policy::{NetworkPolicy, NetworkPolicyReply};
use egress::policy::{Action, Edits, Pin, Place, Policy, Reach};
use serde_json::{Value, json};

use super::*;

fn read(asked: &Value) -> Result<Policy, InvalidPolicy> {
    let asked: NetworkPolicy = serde_json::from_value(asked.clone()).unwrap();
    policy(&asked, &|name| format!("FUMEHOOD_SECRET_{name}_0123"))
}

#[track_caller]
fn made(asked: &Value) -> Policy {
    read(asked).unwrap_or_else(|error| panic!("{asked}: {error}"))
}

fn shown(asked: &Value) -> Value {
    serde_json::to_value(reply(&made(asked))).unwrap()
}

/// The edits of the first rule of the first domain.
fn edits(policy: &Policy) -> &Edits {
    match &policy.domains[0].rules[0].then {
        Action::Send(edits) => edits,
        other @ (Action::Deny | Action::Forward(_) | Action::Respond(_)) => panic!("{other:?}"),
    }
}

#[test]
fn modes_are_reaches() {
    let table = [
        (json!({}), Reach::Listed, json!({"mode": "deny-all"})),
        (json!({"mode": "deny-all"}), Reach::Listed, json!({"mode": "deny-all"})),
        (json!({"mode": "allow-all"}), Reach::Public, json!({"mode": "allow-all"})),
        (json!({"allow": []}), Reach::Listed, json!({"mode": "deny-all"})),
        (json!({"allow": {}}), Reach::Listed, json!({"mode": "deny-all"})),
        (json!({"mode": "custom"}), Reach::Listed, json!({"mode": "deny-all"})),
        (json!({"mode": "default-deny"}), Reach::Listed, json!({"mode": "deny-all"})),
        (
            json!({"mode": "default-allow", "deniedCIDRs": ["9.0.0.0/8"]}),
            Reach::Public,
            json!({"mode": "allow-all", "deniedCIDRs": ["9.0.0.0/8"]}),
        ),
        (
            json!({"mode": "deny-all", "strict": true}),
            Reach::Listed,
            json!({"mode": "deny-all", "strict": true}),
        ),
    ];
    for (asked, reach, reply) in table {
        assert_eq!((made(&asked).reach, shown(&asked)), (reach, reply), "{asked}");
    }
    assert_eq!(made(&json!({})), Policy::default());
}

#[test]
fn the_modern_form_is_shown_in_the_mode_form() {
    let asked = json!({
        "allow": ["*.NPMjs.org", "GitHub.com", "github.com.", "db.example.com:5432"],
        "subnets": {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]},
        "hostPorts": [8080, 80], "strict": true,
    });
    let reply = json!({
        "mode": "custom",
        "allowedDomains": ["*.npmjs.org", "github.com", "db.example.com:5432"],
        "allowedCIDRs": ["10.0.0.0/8"], "deniedCIDRs": ["10.1.0.0/16"],
        "hostPorts": [80, 8080], "strict": true,
    });
    assert_eq!(shown(&asked), reply);
}

#[test]
fn rules_are_shown_without_the_values_of_headers() {
    let when = json!({"path": {"startsWith": "/v1/"}, "method": ["POST"],
        "queryString": [{"key": {"exact": "Beta"}}], "headers": [{"key": {"exact": "x-key"}}]});
    let response = json!({"statusCode": 403, "headers": {"x-a": "b"}, "body": "no", "contentType": "text/plain"});
    let asked = json!({"mode": "allow-all", "allow": {
        "api.example.com": [
            {"match": when, "transform": [{"headers": {"Authorization": "Bearer sesame"}}]},
            {"credential": {"secret": "KEY"}},
            {"forwardURL": "https://Proxy.dev/"},
            {"response": response},
            {"action": "deny"},
        ],
        "*": [],
    }});
    let reply = shown(&asked);
    assert!(!reply.to_string().contains("sesame"));
    let expected = json!({
        "mode": "allow-all",
        "allowedDomains": ["api.example.com", "*"],
        "injectionRules": [
            {"domain": "api.example.com", "headerNames": ["authorization"], "match": when},
            {"domain": "api.example.com", "headerNames": ["authorization"]},
        ],
        "forwardRules": [{"domain": "api.example.com", "forwardURL": "https://proxy.dev"}],
        "responseRules": [{"domain": "api.example.com", "statusCode": 403,
            "headers": {"x-a": "b"}, "body": "no", "contentType": "text/plain"}],
        "rules": {
            "api.example.com": [
                {"match": when, "action": "allow", "headerNames": ["authorization"], "pin": true},
                {"action": "allow", "credential": {"secret": "KEY",
                    "header": {"name": "authorization", "prefix": "Bearer "}}, "pin": true},
                {"forwardURL": "https://proxy.dev"},
                {"response": response},
                {"action": "deny"},
            ],
            "*": [],
        },
    });
    assert_eq!(reply, expected);
}

#[test]
fn the_old_form_is_the_modern_one() {
    let old = json!({
        "mode": "custom",
        "allowedDomains": ["a.com", "b.com"],
        "allowedCIDRs": ["10.0.0.0/8"], "deniedCIDRs": ["10.1.0.0/16"],
        "injectionRules": [
            {"domain": "b.com", "headers": {"authorization": "Bearer x"}, "match": {"method": ["GET"]}},
            {"domain": "c.com", "headers": {"x-a": "b"}},
        ],
        "forwardRules": [{"domain": "b.com", "forwardURL": "https://proxy.dev"}],
        "responseRules": [{"domain": "b.com", "statusCode": 404}],
    });
    let modern = json!({
        "allow": {
            "a.com": [],
            "b.com": [
                {"match": {"method": ["GET"]}, "transform": [{"headers": {"authorization": "Bearer x"}}]},
                {"forwardURL": "https://proxy.dev"},
                {"response": {"statusCode": 404}},
            ],
            "c.com": [{"transform": [{"headers": {"x-a": "b"}}]}],
        },
        "subnets": {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]},
    });
    assert_eq!(made(&old), made(&modern));
}

#[test]
fn a_secret_has_its_place() {
    let table = [
        (
            json!({"secret": "K"}),
            Place::Header { name: "authorization".into(), prefix: "Bearer ".into() },
        ),
        (
            json!({"secret": "K", "header": {"name": "X-Api-Key"}}),
            Place::Header { name: "x-api-key".into(), prefix: String::new() },
        ),
        (
            json!({"secret": "K", "header": {"prefix": "token "}}),
            Place::Header { name: "authorization".into(), prefix: "token ".into() },
        ),
        (json!({"secret": "K", "basic": {"user": "me"}}), Place::Basic { user: "me".into() }),
        (json!({"secret": "K", "query": {}}), Place::Query { name: "key".into() }),
        (json!({"secret": "K", "query": {"name": "t"}}), Place::Query { name: "t".into() }),
        (
            json!({"secret": "K", "placeholder": true}),
            Place::Placeholder("FUMEHOOD_SECRET_K_0123".into()),
        ),
    ];
    for (credential, place) in table {
        let policy = made(&json!({"allow": {"a.com": [{"credential": credential}]}}));
        assert_eq!(edits(&policy).credentials[0].place, place);
        assert_eq!(edits(&policy).credentials[0].secret.as_str(), "K");
    }
}

#[test]
fn who_puts_an_identity_in_takes_others_out() {
    let pin = |rules: Value| edits(&made(&json!({"allow": {"a.com": rules}}))).pin.clone();
    let on = |headers: &[&str], query: &[&str]| {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Pin::On { headers: set(headers), query: set(query) }
    };
    assert_eq!(pin(json!([{"action": "allow"}])), Pin::Off);
    assert_eq!(pin(json!([{"transform": [{"headers": {"x-team": "a"}}]}])), Pin::Off);
    assert_eq!(pin(json!([{"transform": [{"headers": {"X-API-Key": "a"}}]}])), on(&[], &[]));
    assert_eq!(pin(json!([{"credential": {"secret": "K"}}])), on(&[], &[]));
    assert_eq!(pin(json!([{"credential": {"secret": "K"}, "pin": false}])), Pin::Off);
    assert_eq!(pin(json!([{"pin": true}])), on(&[], &[]));
    let rules = json!([
        {"pin": {"headers": ["X-Team"], "query": ["T"]}, "match": {"method": ["GET"]}},
        {"pin": {"headers": ["x-org"]}},
    ]);
    assert_eq!(pin(rules), on(&["x-org", "x-team"], &["t"]));
}

#[test]
fn presets_come_after_the_users_own_domains() {
    let policy =
        made(&json!({"allow": ["pypi.org"], "presets": ["registries-read", "registries-read"]}));
    assert_eq!(policy.domains[0].preset, None);
    assert!(policy.domains.len() > 10);
    let preset = Preset::find("registries-read").unwrap();
    assert_eq!(policy.domains[1..], preset.domains);
    assert_eq!(
        serde_json::to_value(reply(&policy)).unwrap(),
        json!({"mode": "custom", "allowedDomains": ["pypi.org"], "presets": ["registries-read"]})
    );
    // The user's own entry decides.
    let head = egress::policy::Head {
        method: "POST",
        path: "/legacy/",
        query: None,
        headers: &http::HeaderMap::new(),
    };
    let name = egress::host::Host::parse("pypi.org").unwrap();
    assert!(policy.request(&name, 443, &head).is_ok());
    let alone = made(&json!({"presets": ["registries-read"]}));
    assert!(alone.request(&name, 443, &head).is_err());
}

#[test]
fn paths_and_names_are_brought_into_their_form() {
    let rule = json!({"action": "allow", "match": {
        "path": {"exact": "/a b/%61"}, "method": ["get"],
        "headers": [{"key": {"startsWith": "X-"}, "value": {"exact": "V"}}]}});
    let match_shown = &shown(&json!({"allow": {"a.com": [rule]}}))["rules"]["a.com"][0]["match"];
    assert_eq!(
        *match_shown,
        json!({"path": {"exact": "/a%20b/a"}, "method": ["GET"],
            "headers": [{"key": {"startsWith": "x-"}, "value": {"exact": "V"}}]})
    );
}

#[test]
fn an_explanation_has_its_form_on_the_wire() {
    let policy = made(&json!({"allow": {"a.com": [
        {"action": "deny", "match": {"method": ["PUT"]}}, {"credential": {"secret": "K"}}]}}));
    let told = |method| {
        let told = explanation(policy.explain(method, "https://a.com/x?y").unwrap());
        serde_json::to_value(told).unwrap()
    };
    let get = told("GET");
    assert_eq!(get["outcome"], json!({"kind": "sent"}));
    assert_eq!(get["credentials"], json!(["K"]));
    assert_eq!(get["steps"][2]["question"], json!("request"));
    let put = told("PUT");
    assert_eq!(put["decision"], json!("deny"));
    assert_eq!((&put["rule"], &put["reason"]), (&json!("a.com[0]"), &json!("a rule denies it")));
}
