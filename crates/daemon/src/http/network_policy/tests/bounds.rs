use super::*;

/// At the bound it is taken; one more is refused in this field.
#[track_caller]
fn check(max: usize, asked: impl Fn(usize) -> Value, field: &str, fault: &str) {
    made(&asked(max));
    let error = read(&asked(max + 1)).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), format!("`networkPolicy{field}`: {fault}"));
}

fn one(rule: &Value) -> Value {
    json!({"allow": {"a.com": [rule]}})
}

fn many(count: usize, make: impl Fn(usize) -> Value) -> Value {
    (0..count).map(make).collect()
}

#[test]
fn everything_that_is_counted_has_a_bound() {
    let names = |count| json!({"allow": many(count, |at| json!(format!("a{at}.com")))});
    check(1000, names, ".allow", "has more than 1000");
    let old = |count| {
        let rule = |at| json!({"domain": format!("a{at}.com"), "headers": {}});
        json!({"mode": "custom", "injectionRules": many(count, rule)})
    };
    check(1000, old, ".injectionRules[1000].domain", "there are more than 1000 domains");
    let rules = |count| json!({"allow": {"a.com": many(count, |_| json!({"action": "deny"}))}});
    check(64, rules, ".allow[\"a.com\"]", "has more than 64");
    let all_rules = |count: usize| {
        let rules = |at: usize| many((count - at * 50).min(50), |_| json!({"action": "deny"}));
        let domains = (0..count.div_ceil(50)).map(|at| (format!("a{at:02}.com"), rules(at)));
        json!({"allow": domains.collect::<serde_json::Map<_, _>>()})
    };
    check(2000, all_rules, ".allow[\"a40.com\"][0]", "there are more than 2000 rules");
    let regexes = |count| {
        let rule = |_| json!({"action": "deny", "match": {"path": {"regex": "x"}}});
        let half = count / 2;
        json!({"allow": {"a.com": many(half, rule), "b.com": many(count - half, rule)}})
    };
    check(100, regexes, ".allow[\"b.com\"][50]", "there are more than 100 regular expressions");
    let forwards = |count| {
        let rule = |half: usize| move |at| json!({"forwardURL": format!("https://c.com/{}", half * 50 + at)});
        // Those of the one are in the other too.
        let more = many(count - 50, rule(1));
        json!({"allow": {"a.com": many(50, rule(0)), "b.com": more, "c.com": many(50, rule(0))}})
    };
    check(100, forwards, ".allow[\"b.com\"][50]", "there are more than 100 URLs to forward to");
    let nets =
        |count| json!({"subnets": {"deny": many(count, |at| json!(format!("10.0.{at}.0/24")))}});
    assert!(read(&nets(256)).is_ok());
    let nets = |count| json!({"subnets": {"deny": many(count, |_| json!("10.0.0.0/24"))}});
    check(256, nets, ".subnets.deny", "has more than 256");
    let ports = |count| json!({"hostPorts": many(count, |at| json!(at + 1))});
    check(64, ports, ".hostPorts", "has more than 64");
    let presets = |count| json!({"presets": many(count, |_| json!("github-read"))});
    check(16, presets, ".presets", "has more than 16");
    let place = ".allow[\"a.com\"][0]";
    let methods =
        |count| one(&json!({"action": "deny", "match": {"method": many(count, |_| json!("A"))}}));
    check(16, methods, &format!("{place}.match.method"), "has more than 16");
    let headers = |count: usize| {
        let headers = (0..count).map(|at| (format!("a{at}"), json!("b")));
        one(&json!({"transform": [{"headers": headers.collect::<serde_json::Map<_, _>>()}]}))
    };
    check(32, headers, &format!("{place}.transform[0].headers"), "has more than 32");
}

#[test]
fn every_text_has_a_bound() {
    let place = ".allow[\"a.com\"][0]";
    let too_long = |max| format!("is longer than {max} bytes");
    let value = |len| one(&json!({"transform": [{"headers": {"a": "x".repeat(len)}}]}));
    check(8192, value, &format!("{place}.transform[0].headers[\"a\"]"), &too_long(8192));
    let regex =
        |len| one(&json!({"action": "deny", "match": {"path": {"regex": "x".repeat(len)}}}));
    check(1024, regex, &format!("{place}.match.path.regex"), &too_long(1024));
    let path = |len: usize| {
        one(
            &json!({"action": "deny", "match": {"path": {"exact": format!("/{}", "x".repeat(len - 1))}}}),
        )
    };
    check(2048, path, &format!("{place}.match.path.exact"), &too_long(2048));
    let method = |len| one(&json!({"action": "deny", "match": {"method": ["X".repeat(len)]}}));
    check(32, method, &format!("{place}.match.method[0]"), &too_long(32));
    let user =
        |len| one(&json!({"credential": {"secret": "K", "basic": {"user": "x".repeat(len)}}}));
    check(256, user, &format!("{place}.credential.basic.user"), &too_long(256));
    let body = |len| {
        one(
            &json!({"response": {"statusCode": 200, "body": "x".repeat(len), "contentType": "a/b"}}),
        )
    };
    check(65536, body, &format!("{place}.response.body"), &too_long(65536));
    let url = |len: usize| {
        one(
            &json!({"forwardURL": format!("https://b.com/{}", "x".repeat(len - "https://b.com/".len()))}),
        )
    };
    check(2048, url, &format!("{place}.forwardURL"), &too_long(2048));
    // What a client made up is told shortened.
    let error = read(&json!({"allow": {"x".repeat(100_000): []}})).map(|_| ()).unwrap_err();
    assert!(error.to_string().len() < 250, "{error}");
}
