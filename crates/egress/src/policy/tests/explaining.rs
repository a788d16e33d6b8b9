use super::*;
use crate::{
    event::Decision,
    secret::{SecretName, SecretText},
};

fn policy() -> Policy {
    let edits = Edits {
        headers: vec![HeaderEdit {
            name: "x-team".to_owned(),
            value: SecretText::new("sesame".to_owned()),
        }],
        credentials: vec![Credential {
            secret: SecretName::parse("API_KEY").unwrap(),
            place: Place::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() },
        }],
        pin: Pin::On { headers: Default::default(), query: Default::default() },
    };
    let to = ForwardTo::parse("https://proxy.dev:8443/base/").unwrap();
    let canned = Canned { status: 418, headers: vec![], body: vec![] };
    let tea = Match {
        headers: vec![PairMatch { key: Some(exact("accept")), value: None }],
        ..path(exact("/tea"))
    };
    let mut policy = listed(vec![
        domain(
            "api.example.com",
            vec![
                deny(path(starts("/v1/files"))),
                rule(path(starts("/v1/")), Action::Send(edits)),
                rule(path(exact("/forward")), Action::Forward(to)),
                rule(tea, Action::Respond(canned.clone())),
                rule(path(exact("/teapot")), Action::Respond(canned)),
            ],
        ),
        domain("plain.example.com", vec![]),
        domain("git.example.com:22", vec![]),
    ]);
    policy.subnets.allow = vec![cidr("10.0.0.0/8")];
    policy
}

/// Steps and end in one line: `N` is the question about the name, and so on.
fn told(method: &str, url: &str) -> String {
    let told = policy().explain(method, url).unwrap();
    let mark = |decision| if decision == Decision::Allow { '+' } else { '-' };
    let mut text = String::new();
    for step in &told.steps {
        let question = format!("{:?}", step.question);
        text += &format!("{}{}{} ", &question[..1], mark(step.decision), step.rule);
    }
    text + &format!("{}{} {:?}", mark(told.decision), told.rule, told.outcome)
}

#[test]
fn each_step_is_told_up_to_the_one_that_denies() {
    let api = |path: &str| format!("https://api.example.com{path}");
    let seen = "N+api.example.com C+api.example.com ";
    let told_of_api = [
        ("POST", "/v1/files", "R-api.example.com[0] -api.example.com[0] Denied"),
        ("get", ":443/v1/me?a=b#x", "R+api.example.com[1] +api.example.com[1] Sent"),
        (
            "GET",
            "/forward",
            "R+api.example.com[2] +api.example.com[2] \
             Forwarded { url: \"https://proxy.dev:8443/base\" }",
        ),
        ("GET", "/teapot", "R+api.example.com[4] +api.example.com[4] Answered { status: 418 }"),
    ];
    for (method, path, rest) in told_of_api {
        assert_eq!(told(method, &api(path)), format!("{seen}{rest}"), "{method} {path}");
    }
    let table = [
        (
            "https://plain.example.com",
            "N+plain.example.com C+plain.example.com +plain.example.com Spliced",
        ),
        (
            "http://plain.example.com/a",
            "N+plain.example.com C+plain.example.com R+plain.example.com +plain.example.com Sent",
        ),
        ("http://other.example.com/", "N-default -default Denied"),
        (
            "tcp://git.example.com:22",
            "N+git.example.com:22 C+git.example.com:22 +git.example.com:22 Raw",
        ),
        (
            "tcp://plain.example.com:443",
            "N+plain.example.com C+plain.example.com -plain.example.com Denied",
        ),
        (
            "http://10.1.2.3:9000/x",
            "A+subnets.allow 10.0.0.0/8 C+subnets.allow 10.0.0.0/8 +subnets.allow 10.0.0.0/8 Raw",
        ),
        ("http://[::1]/", "A-default -default Denied"),
        (
            "wss://plain.example.com/a",
            "N+plain.example.com C+plain.example.com +plain.example.com Spliced",
        ),
        (
            "ws://plain.example.com/a",
            "N+plain.example.com C+plain.example.com R+plain.example.com +plain.example.com Sent",
        ),
    ];
    for (url, expected) in table {
        assert_eq!(told("GET", url), expected, "{url}");
    }
}

#[test]
fn secrets_and_queries_are_told_by_name_at_most() {
    let told = policy().explain("GET", "https://api.example.com/v1/me?token=sesame").unwrap();
    assert_eq!(told.credentials, ["API_KEY"]);
    assert_eq!(told.headers, ["x-team"]);
    assert!(told.pinned);
    assert_eq!(told.url, "https://api.example.com/v1/me");
    let json = serde_json::to_string(&told).unwrap();
    assert!(!json.contains("sesame"), "{json}");
    assert!(
        told.notes.iter().any(|note| note == "with other headers api.example.com[3] could match")
    );
}

fn reason(policy: &Policy, method: &str, url: &str) -> String {
    let told = policy.explain(method, url).unwrap();
    told.reason.unwrap_or_else(|| format!("{:?}", told.outcome))
}

#[test]
fn what_the_gateway_refuses_is_told_so() {
    let long = format!("https://{}.long.test/", "a".repeat(53));
    let mut policy = policy();
    policy.domains.push(domain("*.long.test", vec![]));
    let clear = Why::InTheClear.to_string();
    for (method, url, told) in [
        ("GET", "http://api.example.com/v1/me", &*clear),
        ("GET", "https://api.example.com/v1/me", "Sent"),
        ("TRACE", "https://api.example.com/v1/me", "TRACE would show what was put in"),
        ("CONNECT", "http://plain.example.com/", "this is no proxy: CONNECT"),
        // It is not seen.
        ("TRACE", "https://plain.example.com/", "Spliced"),
        ("trace", "https://api.example.com/v1/me", "Sent"),
        ("M-SEARCH", "https://api.example.com/v1/me", "Sent"),
        (
            "GET",
            "https://api.example.com./v1/me",
            "the request's host is no host name: it ends with a dot",
        ),
        ("GET", "https://plain.example.com./", "Spliced"),
        ("GET", &long, "too many or too long names were asked for"),
    ] {
        assert_eq!(reason(&policy, method, url), told, "{method} {url}");
    }
    let told = policy.explain("GET", "http://api.example.com/v1/me").unwrap();
    assert_eq!(told.rule, "api.example.com[1]");
    assert!(told.credentials.is_empty() && told.headers.is_empty() && !told.pinned, "{told:?}");
    // The secret is gone.
    let url = "https://api.example.com/v1/me";
    let told = policy.explain_with("GET", url, &|name| name.as_str() != "API_KEY").unwrap();
    assert_eq!(told.decision, Decision::Deny);
    assert_eq!(told.reason.unwrap(), "a credential of the policy is missing: API_KEY");
}

#[test]
fn an_address_is_told_of_as_it_is_reached() {
    let mut policy = public(vec![]);
    policy.subnets.allow = vec![cidr("10.0.0.0/8")];
    let no_name = Why::NoSni.to_string();
    let table = [
        ("https://10.1.2.3/", "Raw", &*no_name),
        ("http://10.1.2.3/", "Raw", "Sent"),
        ("tcp://10.1.2.3:5432", "Raw", "Raw"),
        ("https://8.8.8.8/", "Spliced", &*no_name),
        ("http://8.8.8.8/", "Sent", "Sent"),
        (
            "tcp://8.8.8.8:443",
            "only HTTP and TLS are let through here",
            "only HTTP and TLS are let through here",
        ),
        ("tcp://8.8.8.8:22", "Raw", "Raw"),
        (
            "http://169.254.169.254/",
            "it is a cloud metadata address, and no subnet of the policy names it",
            "it is a cloud metadata address, and no subnet of the policy names it",
        ),
    ];
    let strict = Policy { strict: true, ..policy.clone() };
    for (url, told, when_strict) in table {
        assert_eq!(reason(&policy, "GET", url), told, "{url}");
        assert_eq!(reason(&strict, "GET", url), when_strict, "strict {url}");
    }
    assert_eq!(reason(&policy, "TRACE", "http://8.8.8.8/"), "TRACE would show what was put in");
    assert!(policy.explain("GET", "https://8.8.8.8/").unwrap().notes.len() == 1);
    policy.domains.push(domain("a.test", vec![allow(every())]));
    assert!(policy.explain("GET", "https://8.8.8.8/").unwrap().notes.len() == 2);
}

#[test]
fn what_is_no_request_is_refused() {
    let table = [
        (
            "GET",
            "api.example.com/v1",
            "a URL begins with http:// or https://, or with tcp:// and has a port",
        ),
        (
            "GET",
            "ftp://api.example.com/",
            "a URL begins with http:// or https://, or with tcp:// and has a port",
        ),
        (
            "GET",
            "tcp://api.example.com",
            "a URL begins with http:// or https://, or with tcp:// and has a port",
        ),
        ("GET", "https://user@api.example.com/", "a URL may not hold a user name or password here"),
        ("GET", "https://2130706433/", "the URL has no host that can be reached"),
        ("GET", "https:///x", "the URL has no host that can be reached"),
        ("GET", "https://[::1/", "the URL has no host that can be reached"),
        ("GET", "https://a.com:0/", "the port of the URL is not a number from 1 to 65535"),
        ("GET", "https://a.com:65536/", "the port of the URL is not a number from 1 to 65535"),
        ("GE T", "https://a.com/", "a method is made of letters"),
    ];
    for (method, url, message) in table {
        let error = policy().explain(method, url).unwrap_err();
        assert_eq!(error.to_string(), message, "{method} {url}");
    }
}

#[test]
fn a_url_to_forward_to_is_in_its_form() {
    for (text, form) in [
        ("https://Proxy.dev", "https://proxy.dev"),
        ("https://proxy.dev:443/a/", "https://proxy.dev/a"),
        ("http://proxy.dev:8080/a/b", "http://proxy.dev:8080/a/b"),
    ] {
        assert_eq!(ForwardTo::parse(text).unwrap().to_string(), form);
    }
    for text in [
        "proxy.dev",
        "ftp://proxy.dev",
        "https://u:p@proxy.dev",
        "https://proxy.dev/?x",
        "https://proxy.dev/#x",
        "https://127.0.0.1/",
        "https://proxy.dev:0",
        "https://proxy.dev/../x",
        "https://proxy.dev/%2e%2e/x",
        "https://proxy.dev/a b",
    ] {
        assert!(ForwardTo::parse(text).is_err(), "{text}");
    }
}
