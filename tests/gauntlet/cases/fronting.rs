//! Where connections are opened: whom a request is for must be whom its connection is for.

use serde_json::json;

use super::{Group, cases};
use crate::{guest::Guest, trial::Trial};

pub(super) const GROUP: Group = Group {
    name: "fronting",
    variables: &[],
    guest: |hood| {
        let allow = "front.test,good.test,also.test,wrong.test,expired.test,self.test";
        Guest::new(hood, &["--strict", "--allow", allow])
    },
    cases: cases![
        another_host_in_http1,
        another_host_in_http2,
        a_stream_beside_lawful_ones,
        two_hosts_in_one_request,
        pseudo_headers_that_lie,
        the_next_request_of_a_connection,
        servers_that_are_somebody_else,
        who_signs,
        a_refusal_can_be_read,
    ],
};

/// `front.test` and `hidden.test` are behind one address and in one certificate.
fn another_host_in_http1(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "get", "host": "front.test", "authority": "hidden.test"},
        {"do": "get", "host": "front.test", "authority": "also.test"},
        {"do": "get", "host": "front.test", "authority": "evil.test"},
        {"do": "get", "host": "front.test", "authority": "front.test.evil.test"},
    ]))
    .told("http", "")
    .unheard();
    t.lawful(&json!([
        {"do": "get", "host": "front.test"},
        {"do": "get", "host": "front.test", "authority": "FRONT.test:443"},
    ]));
}

fn another_host_in_http2(t: &mut Trial<'_>) {
    let asked: Vec<_> = ["hidden.test", "also.test", "evil.test", "front.test@hidden.test", ""]
        .iter()
        .map(|name| json!({"do": "http2", "host": "front.test", "requests": [{"authority": name}]}))
        .collect();
    t.attack(&json!(asked)).told("http", "").unheard();
    t.lawful(&json!({"do": "http2", "host": "front.test", "requests": [{}, {"authority": "front.test:443"}]}));
}

/// Browsers put requests for another name on a connection whose certificate has it too. Each stream
/// is judged by itself, and the connection is still good.
fn a_stream_beside_lawful_ones(t: &mut Trial<'_>) {
    let tried = t
        .attempt(
            crate::guest::As::User,
            &json!({"do": "http2", "host": "front.test", "together": false, "requests": [
                {"path": "/echo/first"},
                {"authority": "hidden.test", "path": "/echo/second"},
                {"path": "/echo/third"},
            ]}),
        )
        .told("http", "");
    let streams = tried.outcomes[0]["streams"].as_array().unwrap().clone();
    let seen = tried.seen();
    let paths: Vec<_> = seen.heard().iter().map(|one| one["target"].clone()).collect();
    assert_eq!(paths, ["/echo/first", "/echo/third"], "{streams:?}");
    assert_eq!(streams[1]["status"], 421, "{streams:?}");
    assert_eq!((&streams[0]["status"], &streams[2]["status"]), (&json!(200), &json!(200)));
    t.passed();
}

fn two_hosts_in_one_request(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "http2", "host": "front.test", "requests": [{"headers": [["host", "hidden.test"]]}]},
        {"do": "http2", "host": "front.test",
            "requests": [{"authority": "hidden.test", "headers": [["host", "front.test"]]}]},
        {"do": "http2", "host": "front.test", "requests": [{"pseudo": [[":authority", "hidden.test"]]}]},
        {"do": "http1", "host": "front.test", "tls": true, "replies": 1,
            "port": 443, "raw": "GET /echo HTTP/1.1\r\nHost: front.test\r\nHost: hidden.test\r\n\r\n"},
        {"do": "http1", "host": "front.test", "tls": true, "replies": 1,
            "port": 443, "raw": "GET /echo HTTP/1.1\r\nHost: hidden.test\r\nHost: front.test\r\n\r\n"},
        {"do": "http1", "host": "front.test", "tls": true, "replies": 1,
            "port": 443, "raw": "GET https://hidden.test/echo HTTP/1.1\r\nHost: front.test\r\n\r\n"},
        {"do": "http1", "host": "front.test", "tls": true, "replies": 1,
            "port": 443, "raw": "GET https://front.test/echo HTTP/1.1\r\nHost: hidden.test\r\n\r\n"},
        {"do": "http1", "host": "front.test", "tls": true, "replies": 1,
            "port": 443, "raw": "GET http://front.test/echo HTTP/1.1\r\nHost: front.test\r\n\r\n"},
        {"do": "http1", "host": "front.test", "tls": true, "replies": 1,
            "port": 443, "raw": "GET /echo HTTP/1.1\r\n\r\n"},
    ]))
    .told_as("a denial", |event| event.text("decision") == "deny")
    .unheard();
    t.lawful(&json!([
        {"do": "http2", "host": "front.test", "requests": [{"headers": [["host", "front.test"]]}]},
        {"do": "http1", "host": "front.test", "tls": true, "replies": 1,
            "port": 443, "raw": "GET https://front.test/echo HTTP/1.1\r\nHost: front.test\r\n\r\n"},
    ]));
}

fn pseudo_headers_that_lie(t: &mut Trial<'_>) {
    let requests = [
        json!({"path": "https://hidden.test/echo"}),
        json!({"path": "//hidden.test/echo"}),
        json!({"path": "echo"}),
        json!({"path": ""}),
        json!({"path": "/echo\r\nhost: hidden.test"}),
        json!({"path": "/echo HTTP/1.1\r\nhost: hidden.test\r\n\r\n"}),
        json!({"scheme": "http"}),
        json!({"method": "CONNECT"}),
        json!({"method": "GET /x HTTP/1.1\r\nhost: hidden.test"}),
        json!({"headers": [["x-a", "b\r\nhost: hidden.test"]]}),
        json!({"headers": [["x-a", "b\u{0}"]]}),
        json!({"headers": [["X-Upper", "b"]]}),
        json!({"headers": [["connection", "upgrade"]]}),
        json!({"headers": [["transfer-encoding", "chunked"]]}),
        json!({"headers": [["x a", "b"]]}),
        json!({"headers": [["x:a", "b"]]}),
        json!({"pseudo": [[":path", "/again"]]}),
        json!({"pseudo": [[":protocol", "websocket"]], "method": "CONNECT"}),
        json!({"pseudo": [[":unknown", "x"]]}),
        json!({"method": "POST", "headers": [["content-length", "3"]], "body": "longer than three"}),
    ];
    // `//host/path` is a path like any other; its server must see it as it was judged.
    let (paths, lies): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|one| one["path"] == "//hidden.test/echo");
    let asked: Vec<_> = lies
        .iter()
        .map(|one| json!({"do": "http2", "host": "front.test", "requests": [one]}))
        .collect();
    t.attack(&json!(asked)).untold("a malformed stream is reset before it is a request").unheard();
    let told = t.lawful(&json!({"do": "http2", "host": "front.test", "requests": paths}));
    assert!(told[0]["streams"][0]["body"].as_str().unwrap().contains("\"//hidden.test/echo\""));
}

fn the_next_request_of_a_connection(t: &mut Trial<'_>) {
    let first = "GET /echo/first HTTP/1.1\r\nHost: front.test\r\n\r\n";
    let next = "GET /echo/next HTTP/1.1\r\nHost: hidden.test\r\n\r\n";
    let tried = t
        .attempt(
            crate::guest::As::User,
            &json!([
                {"do": "http1", "host": "front.test", "tls": true, "port": 443, "raw": first, "then": next},
                {"do": "http1", "host": "front.test", "tls": true, "port": 443,
                    "raw": format!("{first}{next}")},
            ]),
        )
        .told("http", "");
    let seen = tried.seen();
    for one in seen.heard() {
        assert_eq!(one["target"], "/echo/first", "{one}");
    }
    assert_eq!(seen.heard().len(), 2);
    let again = first.replace("first", "again");
    t.lawful(&json!({"do": "http1", "host": "front.test", "tls": true, "port": 443, "raw": first, "then": again}));
}

/// The guest sees our certificate and cannot check theirs, so we do.
fn servers_that_are_somebody_else(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "get", "host": "wrong.test"},
        {"do": "get", "host": "expired.test"},
        {"do": "get", "host": "self.test"},
        {"do": "http2", "host": "wrong.test", "requests": [{}]},
    ]))
    .told_as("a failure", |event| {
        event.text("host") == "wrong.test" && !event.text("reason").is_empty()
    })
    .unheard();
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}

fn who_signs(t: &mut Trial<'_>) {
    let told = t.lawful(&json!([
        {"do": "tls", "host": "good.test", "alpn": ["h2", "http/1.1"]},
        {"do": "tls", "host": "front.test", "alpn": ["http/1.1"]},
    ]));
    for one in &told {
        let issuer = one["issuer"].as_str().unwrap();
        assert!(!issuer.contains("World"), "it is opened: {issuer}");
    }
    assert_eq!((&told[0]["alpn"], &told[1]["alpn"]), (&json!("h2"), &json!("http/1.1")));
}

/// What a person sees in the guest says what to do.
fn a_refusal_can_be_read(t: &mut Trial<'_>) {
    let refused = t
        .attack(&json!([
            {"do": "get", "host": "front.test", "authority": "hidden.test"},
            {"do": "http2", "host": "front.test", "requests": [{"authority": "hidden.test"}]},
        ]))
        .told_as("a denial", |event| event.text("decision") == "deny");
    let http1 = refused.outcomes[0]["body"].as_str().unwrap_or_default().to_owned();
    let http2 = refused.outcomes[1]["streams"][0]["body"].as_str().unwrap_or_default().to_owned();
    refused.unheard();
    for body in [&http1, &http2] {
        assert!(body.contains("fumehood") && body.contains("hidden.test"), "{body:?}");
    }
    t.lawful(&json!({"do": "get", "host": "front.test"}));
}
