use serde_json::{Value, json};

use super::*;

/// Read, and written again as it was.
fn same(value: &Value) -> NetworkPolicy {
    let policy: NetworkPolicy = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&policy).unwrap(), value);
    policy
}

#[test]
fn every_request_form_is_read() {
    let forms = [
        json!({"mode": "allow-all"}),
        json!({"mode": "deny-all"}),
        json!({}),
        json!({"allow": ["*.npmjs.org", "github.com"], "subnets": {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]}}),
        json!({"allow": {"ai-gateway.vercel.sh": [{
            "match": {"method": ["POST"], "path": {"startsWith": "/v1/"},
                "headers": [{"key": {"exact": "x-api-key"}, "value": {"exact": "placeholder"}}],
                "queryString": [{"key": {"regex": "^a"}}]},
            "transform": [{"headers": {"authorization": "Bearer x"}}]}],
            "*": []}}),
        json!({"allow": {"a.com": [{"forwardURL": "https://proxy.dev"}, {"response":
            {"statusCode": 403, "headers": {"a": "b"}, "body": "no", "contentType": "text/plain"}}]}}),
        json!({"mode": "custom", "allowedDomains": ["a.com"], "allowedCIDRs": ["10.0.0.0/8"],
            "deniedCIDRs": ["10.1.0.0/16"],
            "injectionRules": [{"domain": "a.com", "headers": {"a": "b"}, "match": {"method": ["GET"]}}],
            "forwardRules": [{"domain": "a.com", "forwardURL": "https://b.com"}],
            "responseRules": [{"domain": "a.com", "statusCode": 404}]}),
        json!({"mode": "allow-all", "allow": {"db.example.com:5432": []}, "presets": ["github-read"],
            "strict": true, "hostPorts": [8080]}),
        json!({"allow": {"a.com": [
            {"action": "deny", "match": {"method": ["PUT"]}},
            {"credential": {"secret": "KEY"}, "pin": false},
            {"credential": {"secret": "KEY", "header": {"name": "x-api-key", "prefix": ""}}},
            {"credential": {"secret": "KEY", "basic": {"user": "me"}}},
            {"credential": {"secret": "KEY", "query": {"name": "key"}}},
            {"credential": {"secret": "KEY", "placeholder": true},
                "pin": {"headers": ["x-team"], "query": ["t"]}}]}}),
    ];
    for form in &forms {
        same(form);
    }
}

#[test]
fn domains_keep_their_order_and_come_once() {
    let text = r#"{"allow":{"b.com":[],"a.com":[],"*":[]}}"#;
    let policy: NetworkPolicy = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&policy).unwrap(), text);
    let twice = r#"{"allow":{"b.com":[],"b.com":[]}}"#;
    let error = serde_json::from_str::<NetworkPolicy>(twice).unwrap_err();
    assert!(error.to_string().starts_with("\"b.com\" comes twice"), "{error}");
}

#[test]
fn a_member_that_is_not_known_is_refused() {
    let table = [
        json!({"alow": []}),
        json!({"subnets": {"denied": []}}),
        json!({"allow": {"a.com": [{"matches": {}, "action": "deny"}]}}),
        json!({"allow": {"a.com": [{"match": {"paths": {}}, "action": "deny"}]}}),
        json!({"allow": {"a.com": [{"match": {"path": {"startswith": "/"}}, "action": "deny"}]}}),
        json!({"allow": {"a.com": [{"pin": {"header": []}}]}}),
        json!({"allow": {"a.com": [{"credential": {"secret": "K", "bearer": {}}}]}}),
        json!({"mode": "custom", "injectionRules": [{"domain": "a.com", "headerNames": ["a"]}]}),
        json!({"mode": "allow"}),
        json!({"allow": "a.com"}),
        json!("allow-all"),
    ];
    for form in table {
        assert!(serde_json::from_value::<NetworkPolicy>(form.clone()).is_err(), "{form}");
    }
}

#[test]
fn the_values_of_headers_are_not_shown() {
    let policy = same(&json!({"allow": {"a.com": [
        {"transform": [{"headers": {"authorization": "Bearer sesame"}}]}]}}));
    let shown = format!("{policy:?}");
    assert!(shown.contains("authorization") && !shown.contains("sesame"), "{shown}");
}

#[test]
fn a_reply_is_in_the_mode_form() {
    let reply: NetworkPolicyReply = serde_json::from_value(json!({"mode": "deny-all"})).unwrap();
    assert_eq!(serde_json::to_value(&reply).unwrap(), json!({"mode": "deny-all"}));
    let full = json!({"mode": "custom", "allowedDomains": ["a.com"],
        "injectionRules": [{"domain": "a.com", "headerNames": ["authorization"]}],
        "rules": {"a.com": [{"action": "allow", "headerNames": ["authorization"], "pin": true}]}});
    let reply: NetworkPolicyReply = serde_json::from_value(full.clone()).unwrap();
    assert_eq!(serde_json::to_value(&reply).unwrap(), full);
}

#[test]
fn a_list_is_no_object_and_faults_are_told_in_words() {
    let table = [
        ("[]", "invalid type: sequence, expected an object"),
        (r#"["deny-all"]"#, "invalid type: sequence, expected an object"),
        (r#""deny-all""#, "invalid type: string \"deny-all\", expected an object"),
        (r#"{"subnets": [["10.0.0.0/8"]]}"#, "invalid type: sequence, expected an object"),
        (r#"{"allow": {"a.com": [[]]}}"#, "invalid type: sequence, expected an object"),
        (r#"{"allow": {"a.com": [{"match": []}]}}"#, "invalid type: sequence, expected an object"),
        (
            r#"{"allow": {"a.com": [{"transform": [[]]}]}}"#,
            "invalid type: sequence, expected an object",
        ),
        (
            r#"{"allow": {"a.com": [{"match": {"path": "/a"}}]}}"#,
            "invalid type: string \"/a\", expected an object",
        ),
        (
            r#"{"allow": {"a.com": [{"credential": "KEY"}]}}"#,
            "invalid type: string \"KEY\", expected an object",
        ),
        (
            r#"{"allow": {"a.com": [{"pin": []}]}}"#,
            "expected true, false, or an object with `headers` and `query`",
        ),
        (
            r#"{"hostPorts": ["80"]}"#,
            "invalid type: string \"80\", expected a whole number from 0 to 65535",
        ),
        (
            r#"{"hostPorts": [70000]}"#,
            "invalid value: integer `70000`, expected a whole number from 0 to 65535",
        ),
        (
            r#"{"allow": {"a.com": [{"response": {"statusCode": -1}}]}}"#,
            "invalid value: integer `-1`, expected a whole number from 0 to 65535",
        ),
    ];
    for (text, fault) in table {
        let error = NetworkPolicy::read(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(fault), "{text}: {error}");
    }
}
