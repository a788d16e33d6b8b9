//! A policy in lines, for people.

use api::network_policy::{
    CredentialUse, Match, NetworkPolicyReply, PairMatch, PinUse, ReplyMode, RuleAction, RuleReply,
    TextMatch,
};

use crate::failure::printable;

/// What holds by default, then what is listed, each rule under its host.
pub(crate) fn outline(policy: &NetworkPolicyReply) -> String {
    let mut lines = vec![
        match policy.mode {
            ReplyMode::AllowAll => "Every public address may be reached.",
            ReplyMode::DenyAll => "Nothing may be reached.",
            ReplyMode::Custom => "What is listed may be reached, and nothing else.",
        }
        .to_owned(),
    ];
    let with_rules = policy.rules.iter().flat_map(|rules| &rules.0);
    for (domain, rules) in with_rules.clone() {
        lines.push(format!("allow  {domain}"));
        lines.extend(rules.iter().enumerate().map(|(index, rule)| rule_line(index, rule)));
    }
    for domain in &policy.allowed_domains {
        if with_rules.clone().all(|(told, _)| told != domain) {
            lines.push(format!("allow  {domain}"));
        }
    }
    lines.extend(policy.presets.iter().map(|preset| format!("allow  @{preset}")));
    lines.extend(policy.allowed_cidrs.iter().map(|subnet| format!("allow  {subnet}")));
    lines.extend(policy.host_ports.iter().map(|port| format!("allow  host port {port}")));
    lines.extend(policy.denied_cidrs.iter().map(|subnet| format!("deny   {subnet}")));
    if policy.strict == Some(true) {
        lines.push("Every TLS connection is opened.".to_owned());
    }
    printable(&lines.join("\n")) + "\n"
}

/// One rule, as explanations and the audit log call it.
pub(crate) fn rule_line(index: usize, rule: &RuleReply) -> String {
    let asked = rule.when.as_ref().map_or_else(String::new, matching);
    let asked = if asked.is_empty() { "any request".to_owned() } else { asked };
    format!("         [{index}] {asked}: {}", action(rule))
}

fn matching(when: &Match) -> String {
    let mut parts = Vec::new();
    if let Some(methods) = &when.method {
        parts.push(methods.join(" or "));
    }
    if let Some(path) = &when.path {
        parts.push(format!("path {}", text(path)));
    }
    let mut pairs = |what: &str, pairs: &Option<Vec<PairMatch>>| {
        parts.extend(pairs.iter().flatten().map(|one| format!("{what} {}", pair(one))));
    };
    pairs("query", &when.query_string);
    pairs("header", &when.headers);
    parts.join(", ")
}

fn pair(pair: &PairMatch) -> String {
    match (&pair.key, &pair.value) {
        (Some(key), Some(value)) => format!("{} with {}", text(key), text(value)),
        (Some(key), None) => text(key),
        (None, Some(value)) => format!("with {}", text(value)),
        (None, None) => "of any kind".to_owned(),
    }
}

fn text(asked: &TextMatch) -> String {
    match (&asked.exact, &asked.starts_with, &asked.regex) {
        (Some(exact), _, _) => exact.clone(),
        (None, Some(start), _) => format!("{start}..."),
        (None, None, Some(regex)) => format!("~ {regex}"),
        (None, None, None) => "of any kind".to_owned(),
    }
}

fn action(rule: &RuleReply) -> String {
    if rule.action == Some(RuleAction::Deny) {
        return "deny".to_owned();
    }
    if let Some(url) = &rule.forward_url {
        return format!("forward to {url}");
    }
    if let Some(response) = &rule.response {
        return format!("answer {}", response.status_code);
    }
    let mut parts = vec!["allow".to_owned()];
    if !rule.header_names.is_empty() {
        parts.push(format!("set {}", rule.header_names.join(" and ")));
    }
    parts.extend(rule.credential.as_ref().map(credential));
    match &rule.pin {
        Some(PinUse::Switch(true) | PinUse::Beside(_)) => {
            parts.push("take other identities out".to_owned());
        }
        Some(PinUse::Switch(false)) | None => {}
    }
    parts.join(", ")
}

fn credential(used: &CredentialUse) -> String {
    let secret = &used.secret;
    if used.placeholder == Some(true) {
        return format!("put {secret} in place of its placeholder");
    }
    if let Some(basic) = &used.basic {
        return format!("log in as {} with {secret}", basic.user);
    }
    if let Some(query) = &used.query {
        return format!(
            "put {secret} into the query as {}",
            query.name.as_deref().unwrap_or("key")
        );
    }
    let name = used.header.as_ref().and_then(|header| header.name.as_deref());
    format!("put {secret} into {}", name.unwrap_or("authorization"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(policy: serde_json::Value) -> Vec<String> {
        let policy = serde_json::from_value(policy).unwrap();
        outline(&policy).lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_holds_by_default() {
        for (policy, wanted) in [
            (json!({"mode": "allow-all"}), "Every public address may be reached."),
            (json!({"mode": "deny-all"}), "Nothing may be reached."),
        ] {
            assert_eq!(lines(policy), [wanted]);
        }
    }

    #[test]
    fn every_kind_of_rule_is_told() {
        let policy = json!({
            "mode": "custom",
            "allowedDomains": ["a.test", "*.b.test:22"],
            "allowedCIDRs": ["10.0.0.0/8"],
            "deniedCIDRs": ["10.1.0.0/16"],
            "presets": ["github-read"],
            "hostPorts": [8080],
            "strict": true,
            "rules": {"a.test": [
                {"match": {"method": ["PUT", "POST"], "path": {"startsWith": "/v1/"}},
                    "action": "deny"},
                {"match": {"path": {"regex": "^/x$"},
                    "queryString": [{"key": {"exact": "a"}, "value": {"exact": "b"}}],
                    "headers": [{"key": {"exact": "x-a"}}]},
                    "action": "allow", "headerNames": ["x-b", "x-c"], "pin": false},
                {"forwardURL": "https://proxy.test/"},
                {"response": {"statusCode": 403}},
                {"action": "allow", "pin": true,
                    "credential": {"secret": "A", "placeholder": true}},
                {"credential": {"secret": "B"}},
                {"credential": {"secret": "C", "basic": {"user": "me"}}},
                {"credential": {"secret": "D", "query": {}}},
            ]},
        });
        assert_eq!(
            lines(policy),
            [
                "What is listed may be reached, and nothing else.",
                "allow  a.test",
                "         [0] PUT or POST, path /v1/...: deny",
                "         [1] path ~ ^/x$, query a with b, header x-a: allow, set x-b and x-c",
                "         [2] any request: forward to https://proxy.test/",
                "         [3] any request: answer 403",
                "         [4] any request: allow, put A in place of its placeholder, take other \
                 identities out",
                "         [5] any request: allow, put B into authorization",
                "         [6] any request: allow, log in as me with C",
                "         [7] any request: allow, put D into the query as key",
                "allow  *.b.test:22",
                "allow  @github-read",
                "allow  10.0.0.0/8",
                "allow  host port 8080",
                "deny   10.1.0.0/16",
                "Every TLS connection is opened.",
            ]
        );
    }
}
