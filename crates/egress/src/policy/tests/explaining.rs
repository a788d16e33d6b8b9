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

/// Steps and end in one line each.
fn lines(method: &str, url: &str) -> Vec<String> {
    let told = policy().explain(method, url).unwrap();
    let mark = |decision| if decision == Decision::Allow { '+' } else { '-' };
    let step = |step: &Step| format!("{:?} {}{}", step.question, mark(step.decision), step.rule);
    let mut lines: Vec<String> = told.steps.iter().map(step).collect();
    lines.push(format!("{}{} {:?}", mark(told.decision), told.rule, told.outcome));
    lines
}

#[test]
fn each_step_is_told_up_to_the_one_that_denies() {
    let api = "https://api.example.com";
    let table: [(&str, String, &[&str]); 8] = [
        (
            "POST",
            format!("{api}/v1/files"),
            &[
                "Name +api.example.com",
                "Connection +api.example.com",
                "Request -api.example.com[0]",
                "-api.example.com[0] Denied",
            ],
        ),
        (
            "get",
            format!("{api}:443/v1/me?token=sesame#x"),
            &[
                "Name +api.example.com",
                "Connection +api.example.com",
                "Request +api.example.com[1]",
                "+api.example.com[1] Sent",
            ],
        ),
        (
            "GET",
            format!("{api}/forward"),
            &[
                "Name +api.example.com",
                "Connection +api.example.com",
                "Request +api.example.com[2]",
                r#"+api.example.com[2] Forwarded { url: "https://proxy.dev:8443/base" }"#,
            ],
        ),
        (
            "GET",
            format!("{api}/teapot"),
            &[
                "Name +api.example.com",
                "Connection +api.example.com",
                "Request +api.example.com[4]",
                "+api.example.com[4] Answered { status: 418 }",
            ],
        ),
        (
            "GET",
            "https://plain.example.com".to_owned(),
            &[
                "Name +plain.example.com",
                "Connection +plain.example.com",
                "+plain.example.com Spliced",
            ],
        ),
        ("GET", "http://other.example.com/".to_owned(), &["Name -default", "-default Denied"]),
        (
            "GET",
            "tcp://git.example.com:22".to_owned(),
            &[
                "Name +git.example.com:22",
                "Connection +git.example.com:22",
                "+git.example.com:22 Raw",
            ],
        ),
        (
            "GET",
            "http://10.1.2.3:9000/x".to_owned(),
            &[
                "Address +subnets.allow 10.0.0.0/8",
                "Connection +subnets.allow 10.0.0.0/8",
                "+subnets.allow 10.0.0.0/8 Raw",
            ],
        ),
    ];
    for (method, url, expected) in table {
        assert_eq!(lines(method, &url), expected, "{method} {url}");
    }
    assert_eq!(lines("GET", "http://[::1]/"), ["Address -default", "-default Denied"]);
    let http = lines("GET", "http://plain.example.com/a");
    assert_eq!(http.last().unwrap(), "+plain.example.com Sent");
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
