use super::*;

#[track_caller]
fn check(asked: &Value, message: &str) {
    let error = read(asked).map(|policy| format!("{policy:?}")).unwrap_err();
    assert_eq!(error.to_string(), message, "{asked}");
}

/// A policy with one rule for `a.com`.
fn one(rule: &Value) -> Value {
    json!({"allow": {"a.com": [rule]}})
}

#[test]
fn a_fault_of_the_whole_is_told_with_its_field() {
    let table = [
        (json!({"mode": "deny-all", "allow": []}), "allow`: does not go with this `mode`"),
        (json!({"mode": "deny-all", "presets": []}), "presets`: does not go with this `mode`"),
        (json!({"mode": "custom", "subnets": {}}), "subnets`: does not go with this `mode`"),
        (json!({"allowedDomains": []}), "allowedDomains`: does not go with this `mode`"),
        (
            json!({"mode": "allow-all", "deniedCIDRs": []}),
            "deniedCIDRs`: does not go with this `mode`",
        ),
        (
            json!({"presets": ["npm"]}),
            "presets[0]`: there is none of this name, but github-read, llm-apis, registries-read",
        ),
        (json!({"hostPorts": [80, 0]}), "hostPorts[1]`: 0 is no port"),
        (
            json!({"subnets": {"deny": ["10.0.0.1/8"]}}),
            "subnets.deny[0]`: the address has bits beyond the prefix; the network is 10.0.0.0/8",
        ),
        (
            json!({"subnets": {"allow": ["fd00::/8", "example.com"]}}),
            "subnets.allow[1]`: an IP address comes first, as in 10.0.0.0/8: invalid IP address syntax",
        ),
        (
            json!({"mode": "custom", "injectionRules": [{"domain": "*x", "headers": {}}]}),
            "injectionRules[0].domain`: a * stands for a whole part of a name, as in *.example.com",
        ),
    ];
    for (asked, rest) in table {
        check(&asked, &format!("`networkPolicy.{rest}"));
    }
}

#[test]
fn a_fault_of_a_domain_is_told_with_its_name() {
    let table = [
        ("https://a.com", "a name alone is meant here, as in `example.com`, not a URL"),
        ("a.com/x", "a host name cannot hold '/'"),
        ("a.com:", "the port is not a number from 1 to 65535"),
        ("a.com:0", "the port is not a number from 1 to 65535"),
        ("a.com:+1", "the port is not a number from 1 to 65535"),
        ("127.1", "an IP address is not a host name; addresses belong to `subnets.allow`"),
        ("10.0.0.*", "an IP address is not a host name; addresses belong to `subnets.allow`"),
        ("::1", "an IP address is not a host name; addresses belong to `subnets.allow`"),
        ("[::1]:80", "an IP address is not a host name; addresses belong to `subnets.allow`"),
        ("**", "a * stands for a whole part of a name, as in *.example.com"),
        ("", "a host name cannot be empty"),
        ("host.fumehood.internal", "ports of the host are opened by `hostPorts`"),
        ("Host.Fumehood.internal.:80", "ports of the host are opened by `hostPorts`"),
    ];
    for (name, fault) in table {
        check(&json!({"allow": [name]}), &format!("`networkPolicy.allow[0]`: {fault}"));
        let message = format!("`networkPolicy.allow[{name:?}]`: {fault}");
        check(&json!({"allow": {name: []}}), &message);
    }
    check(
        &json!({"allow": {"a.com": [], "A.com.": []}}),
        "`networkPolicy.allow[\"A.com.\"]`: the same domain comes twice",
    );
}

#[test]
fn a_fault_of_a_rule_is_told_with_its_place() {
    let together = |a: &str, b: &str| format!("`: `{a}` and `{b}` do not go together");
    let response = json!({"statusCode": 200});
    let table = [
        (
            json!({}),
            "`: one of `action`, `transform`, `credential`, `pin`, `forwardURL` and `response` is needed"
                .to_owned(),
        ),
        (json!({"action": "deny", "transform": []}), together("action", "transform")),
        (json!({"action": "deny", "pin": true}), together("action", "pin")),
        (json!({"forwardURL": "https://b.com", "response": response}), together("forwardURL", "response")),
        (json!({"response": response, "action": "allow"}), together("response", "action")),
        (json!({"forwardURL": "https://b.com", "credential": {"secret": "K"}}), together("forwardURL", "credential")),
        (json!({"forwardURL": "https://b.com?x"}), ".forwardURL`: a URL to forward to may not have a query or a fragment".to_owned()),
        (json!({"forwardURL": "https://1.2.3.4"}), ".forwardURL`: a URL to forward to has a host name: an IP address is not a host name".to_owned()),
    ];
    for (rule, rest) in table {
        check(&one(&rule), &format!("`networkPolicy.allow[\"a.com\"][0]{rest}"));
    }
}

#[test]
fn a_fault_of_an_edit_is_told() {
    let set = |name: &str, value: &str| json!({"transform": [{"headers": {name: value}}]});
    let field = |name: &str| format!(".transform[0].headers[{name:?}]");
    let own = "the gateway sets this header itself";
    let table = [
        (set("Host", "b.com"), field("Host"), own),
        (set("Transfer-Encoding", "chunked"), field("Transfer-Encoding"), own),
        (set("a b", "c"), field("a b"), "is no name of a header"),
        (set(":path", "c"), field(":path"), "is no name of a header"),
        (set("a", "b\r\nc: d"), field("a"), "the value has a character that no header may have"),
        (
            set("a", "<redacted>"),
            field("a"),
            "the value is missing: this is what a reply shows in its place",
        ),
        (
            json!({"transform": [{"headers": {"a": "b", "A": "c"}}]}),
            field("a"),
            "the header is set twice",
        ),
        (
            json!({"credential": {"secret": "1K"}}),
            ".credential.secret".to_owned(),
            "\"1K\" is not a secret's name: letters, digits and _, no digit first, at most 64",
        ),
        (
            json!({"credential": {"secret": "K", "basic": {"user": "a"}, "query": {}}}),
            ".credential".to_owned(),
            "one of `header`, `basic`, `query` and `placeholder` is given at most",
        ),
        (
            json!({"credential": {"secret": "K", "basic": {"user": "a:b"}}}),
            ".credential.basic.user".to_owned(),
            "a user name has no colon and no control character",
        ),
        (
            json!({"credential": {"secret": "K", "header": {"name": "host"}}}),
            ".credential.header.name".to_owned(),
            own,
        ),
        (
            json!({"credential": {"secret": "K", "header": {"prefix": "\n"}}}),
            ".credential.header.prefix".to_owned(),
            "has a character that no header may have",
        ),
        (
            json!({"credential": {"secret": "K", "query": {"name": ""}}}),
            ".credential.query.name".to_owned(),
            "is empty",
        ),
        (
            json!({"credential": {"secret": "K", "placeholder": false}}),
            ".credential.placeholder".to_owned(),
            "is true or absent",
        ),
        (json!({"pin": {"headers": ["a b"]}}), ".pin.headers[0]".to_owned(), "is no name"),
    ];
    for (rule, place, fault) in table {
        check(&one(&rule), &format!("`networkPolicy.allow[\"a.com\"][0]{place}`: {fault}"));
    }
}

#[test]
fn a_secret_goes_to_hosts_of_one_owner() {
    for name in ["*", "*.com", "www.*.com", "api.*", "*:8443", "*.*.com"] {
        let asked = json!({"allow": {name: [{"credential": {"secret": "K"}}]}});
        let pattern = name.trim_end_matches(":8443");
        check(
            &asked,
            &format!(
                "`networkPolicy.allow[{name:?}][0].credential`: \
                 a secret may not go to whatever matches `{pattern}`"
            ),
        );
    }
    for name in ["a.com", "localhost", "*.a.com", "x.*.a.com", "a.com:8443"] {
        made(&json!({"allow": {name: [{"credential": {"secret": "K"}}]}}));
    }
}

#[test]
fn a_fault_of_a_match_is_told() {
    let exactly = "exactly one of `exact`, `startsWith` and `regex` is given";
    let table = [
        (json!({"path": {}}), ".path", exactly),
        (json!({"path": {"exact": "/", "regex": "/"}}), ".path", exactly),
        (json!({"path": {"exact": "v1"}}), ".path", "a path begins with /"),
        (
            json!({"path": {"startsWith": "/v1?x="}}),
            ".path",
            "a path ends before `?`; the query is matched by `queryString`",
        ),
        (
            json!({"path": {"regex": "("}}),
            ".path.regex",
            "is no regular expression: unclosed group",
        ),
        (
            json!({"path": {"regex": "(?=x)"}}),
            ".path.regex",
            "is no regular expression: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            json!({"path": {"regex": "(a{1000}){1000}"}}),
            ".path.regex",
            "is no regular expression: Compiled regex exceeds size limit of 1048576 bytes.",
        ),
        (json!({"method": []}), ".method", "no method is in the list; leave it out to match any"),
        (json!({"method": ["GET", "A B"]}), ".method[1]", "\"A B\" is no method"),
        (json!({"queryString": [{}]}), ".queryString[0]", "neither `key` nor `value` is given"),
        (json!({"headers": [{"key": {}}]}), ".headers[0].key", exactly),
    ];
    for (when, place, fault) in table {
        let message = format!("`networkPolicy.allow[\"a.com\"][0].match{place}`: {fault}");
        check(&one(&json!({"action": "allow", "match": when})), &message);
    }
}

#[test]
fn a_fault_of_an_answer_is_told() {
    let table = [
        (json!({"statusCode": 199}), ".statusCode", "is not from 200 to 599"),
        (json!({"statusCode": 600}), ".statusCode", "is not from 200 to 599"),
        (json!({"statusCode": 200, "body": "x"}), ".contentType", "is needed with a `body`"),
        (
            json!({"statusCode": 204, "body": "", "contentType": "a/b"}),
            ".body",
            "is not allowed with 204",
        ),
        (
            json!({"statusCode": 200, "headers": {"Content-Length": "1"}}),
            ".headers[\"Content-Length\"]",
            "the gateway sets this header itself",
        ),
        (
            json!({"statusCode": 200, "headers": {"a": "1", "A": "2"}}),
            ".headers[\"a\"]",
            "the header comes twice",
        ),
        (
            json!({"statusCode": 200, "headers": {"Content-Type": "a/b"}, "body": "", "contentType": "a/b"}),
            ".contentType",
            "the header comes twice",
        ),
        (
            json!({"statusCode": 200, "headers": {"a": "b\n"}}),
            ".headers[\"a\"]",
            "the value has a character that no header may have",
        ),
    ];
    for (response, place, fault) in table {
        let message = format!("`networkPolicy.allow[\"a.com\"][0].response{place}`: {fault}");
        check(&one(&json!({"response": response})), &message);
    }
}
