//! Requests whose end or address two servers read differently.
//!
//! The world's servers are careless on purpose: on port 80 and 443 they believe Transfer-Encoding,
//! on 8080 and 9443 Content-Length, and they refuse nothing for its form.

use serde_json::{Value, json};

use super::{Group, cases};
use crate::{
    guest::{As, Guest},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "smuggling",
    variables: &[],
    guest: |hood| {
        let rules = json!([
            {"match": {"path": {"startsWith": "/secret"}}, "action": "deny"},
            {"match": {}, "action": "allow"},
        ]);
        let policy = json!({"allow": {
            "good.test": rules, "good.test:8080": rules, "good.test:9443": rules,
        }});
        Guest::new(hood, &["--policy", &crate::guest::policy_file(hood, "smuggling", &policy)])
    },
    cases: cases![
        two_lengths,
        chunks_that_are_none,
        two_hosts,
        heads_that_are_none,
        a_request_in_a_body,
        a_request_behind_another,
        absolute_targets,
        connect_through_an_allowed_host,
        a_method_that_says_back,
        other_protocols_by_upgrade,
        http2_in_the_clear,
        trailers_that_are_headers,
        heads_without_end,
    ],
};

/// The places of one server that differ in whom they believe, in the clear and opened.
const PLACES: [(u16, bool); 4] = [(80, false), (8080, false), (443, true), (9443, true)];

/// Every head at every place.
fn everywhere(heads: &[String]) -> Value {
    let mut asked = Vec::new();
    for (port, tls) in PLACES {
        for raw in heads {
            asked.push(json!({"do": "http1", "host": "good.test", "port": port, "tls": tls,
                "raw": raw, "at_once": true}));
        }
    }
    json!(asked)
}

/// Whatever the server believes, it must not have heard of what was hidden.
#[track_caller]
fn nothing_hidden(t: &mut Trial<'_>, heads: &[String]) {
    let tried = t
        .attempt(As::User, &everywhere(heads))
        .untold("a malformed head may be answered with 400 and nothing more");
    for one in tried.seen().heard() {
        let text = one.to_string();
        assert!(!text.contains("smuggled") && !text.contains("/secret"), "{text}");
    }
}

/// None of them may be understood at all.
#[track_caller]
fn all_refused(t: &mut Trial<'_>, heads: &[String]) {
    t.attack(&everywhere(heads))
        .told_as("a denial", |event| event.text("decision") == "deny")
        .unheard();
}

#[track_caller]
fn ordinary(t: &mut Trial<'_>) {
    let whole =
        "POST /echo HTTP/1.1\r\nHost: good.test\r\nContent-Length: 5\r\n\r\nhello".to_owned();
    let chunked = "POST /echo HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n"
        .to_owned();
    t.lawful(&everywhere(&[whole]));
    t.lawful(&json!([
        {"do": "http1", "host": "good.test", "port": 80, "raw": chunked},
        {"do": "http1", "host": "good.test", "port": 443, "tls": true, "raw": chunked},
    ]));
}

fn two_lengths(t: &mut Trial<'_>) {
    let hidden = "GET /secret/smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n";
    let post = |fields: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: good.test\r\n{fields}\r\n\r\n{body}")
    };
    let all = hidden.len() + 5;
    nothing_hidden(
        t,
        &[
            // CL.TE and TE.CL.
            post(
                &format!("Content-Length: {all}\r\nTransfer-Encoding: chunked"),
                &format!("0\r\n\r\n{hidden}"),
            ),
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4",
                &format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
            ),
            // TE.TE: encodings that one of the two does not know.
            post(
                &format!("Content-Length: {all}\r\nTransfer-Encoding: xchunked"),
                &format!("0\r\n\r\n{hidden}"),
            ),
            post(
                &format!("Content-Length: {all}\r\nTransfer-Encoding : chunked"),
                &format!("0\r\n\r\n{hidden}"),
            ),
            post(
                &format!("Content-Length: {all}\r\nTransfer-Encoding:\u{b}chunked"),
                &format!("0\r\n\r\n{hidden}"),
            ),
            post(
                &format!("Content-Length: {all}\r\nTransfer-Encoding: chunked, identity"),
                &format!("0\r\n\r\n{hidden}"),
            ),
            post(
                &format!(
                    "Content-Length: {all}\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked"
                ),
                &format!("0\r\n\r\n{hidden}"),
            ),
            post(
                &format!("Content-Length: {all}\r\n Transfer-Encoding: chunked"),
                &format!("0\r\n\r\n{hidden}"),
            ),
            post(
                &format!("X: y\nTransfer-Encoding: chunked\r\nContent-Length: {all}"),
                &format!("0\r\n\r\n{hidden}"),
            ),
            // Two lengths that differ.
            post(&format!("Content-Length: 0\r\nContent-Length: {}", hidden.len()), hidden),
            post(&format!("Content-Length: {}\r\nContent-Length: 0", hidden.len()), hidden),
            post(&format!("Content-Length: 0, {}", hidden.len()), hidden),
            post("Content-Length: +0", hidden),
            post("Content-Length: 0x0", hidden),
            post("Content-Length: -1", hidden),
            post("Content-Length: 99999999999999999999999999", hidden),
        ],
    );
    ordinary(t);
}

fn chunks_that_are_none(t: &mut Trial<'_>) {
    let hidden = "GET /secret/smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n";
    let post = |body: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        )
    };
    nothing_hidden(
        t,
        &[
            post(&format!("0\n\n{hidden}")),
            post(&format!("-0\r\n\r\n{hidden}")),
            post(&format!("0x0\r\n\r\n{hidden}")),
            post(&format!("ffffffffffffffff\r\n{hidden}")),
            post(&format!("10000000000000000\r\n{hidden}")),
            post(&format!("1;a=\"\n0\r\n\r\n{hidden}")),
            post(&format!("1\r\nxX\r\n0\r\n\r\n{hidden}")),
            post(&format!("1 \r\nx\r\n0\r\n\r\n{hidden}")),
            post(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(70_000))),
        ],
    );
    ordinary(t);
}

fn two_hosts(t: &mut Trial<'_>) {
    let head = |fields: &str| format!("GET /echo HTTP/1.1\r\n{fields}\r\n\r\n");
    all_refused(
        t,
        &[
            head("Host: good.test\r\nHost: evil.test"),
            head("Host: evil.test\r\nHost: good.test"),
            head("Host: good.test\r\nhost: good.test"),
            head("Host: good.test\r\nHost : evil.test"),
            head("Host: evil.test"),
            head("X: y"),
        ],
    );
    ordinary(t);
}

fn heads_that_are_none(t: &mut Trial<'_>) {
    nothing_hidden(
        t,
        &[
            "GET /echo HTTP/1.1\r\nHost: good.test\r\nX: a\r\n smuggled: b\r\n\r\n".to_owned(),
            "GET /echo HTTP/1.1\r\nHost: good.test\r\n : smuggled\r\n\r\n".to_owned(),
            "GET /echo HTTP/1.1\r\nHost: good.test\r\nX-\0: smuggled\r\n\r\n".to_owned(),
            "GET /echo HTTP/1.1\r\nHost: good.test\r\nX: \0smuggled\r\n\r\n".to_owned(),
            "GET /echo HTTP/1.1\r\nHost: good.test\r\nX: a\rsmuggled: b\r\n\r\n".to_owned(),
            "GET  /secret/smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n".to_owned(),
            "GET\t/secret/smuggled\tHTTP/1.1\r\nHost: good.test\r\n\r\n".to_owned(),
            "GET /secret/smuggled\r\n\r\n".to_owned(),
            "GET /secret/smuggled HTTP/0.9\r\nHost: good.test\r\n\r\n".to_owned(),
            "GET /secret/smuggled HTTP/1.2\r\nHost: good.test\r\n\r\n".to_owned(),
            "GET /secret/smuggled HTTP/3.0\r\nHost: good.test\r\n\r\n".to_owned(),
            "\r\n\r\n\r\nGET /secret/smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n".to_owned(),
            "G\0T /secret/smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n".to_owned(),
            "GET /echo?\0/secret/smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n".to_owned(),
        ],
    );
    ordinary(t);
}

/// A body is a body, whatever it looks like.
fn a_request_in_a_body(t: &mut Trial<'_>) {
    let hidden = "GET /secret/in-a-body HTTP/1.1\r\nHost: good.test\r\n\r\n";
    let whole = format!(
        "POST /echo HTTP/1.1\r\nHost: good.test\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    let get = whole.replace("POST", "GET");
    let mark = t.world.mark();
    t.lawful(&everywhere(&[whole, get]));
    for one in t.world.since(mark).heard() {
        assert_eq!(one["target"], "/echo", "{one}");
    }
}

/// Each request of a connection is judged, pipelined or not.
fn a_request_behind_another(t: &mut Trial<'_>) {
    let first = "GET /echo/first HTTP/1.1\r\nHost: good.test\r\n\r\n";
    let denied = "GET /secret HTTP/1.1\r\nHost: good.test\r\n\r\n";
    let mut asked = Vec::new();
    for (port, tls) in PLACES {
        let place = json!({"do": "http1", "host": "good.test", "port": port, "tls": tls});
        for more in
            [json!({"raw": format!("{first}{denied}")}), json!({"raw": first, "then": denied})]
        {
            let mut one = place.clone();
            one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            asked.push(one);
        }
    }
    let tried = t.attempt(As::User, &json!(asked)).told("http", "a rule denies it");
    for one in tried.seen().heard() {
        assert_eq!(one["target"], "/echo/first", "{one}");
    }
    ordinary(t);
}

fn absolute_targets(t: &mut Trial<'_>) {
    let heads: Vec<_> = [
        ("http://evil.test/echo", "good.test"),
        ("http://good.test/secret", "good.test"),
        ("http://good.test/echo", "evil.test"),
        ("https://evil.test/echo", "good.test"),
        ("ftp://good.test/echo", "good.test"),
        ("evil.test/echo", "good.test"),
        ("http:/evil.test/echo", "good.test"),
        ("http://good.test@evil.test/echo", "good.test"),
        ("http://evil.test#@good.test/echo", "good.test"),
    ]
    .iter()
    .map(|(target, host)| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    .collect();
    all_refused(t, &heads);
    t.lawful(&json!([
        {"do": "http1", "host": "good.test", "raw": "GET http://good.test/echo HTTP/1.1\r\nHost: good.test\r\n\r\n"},
        {"do": "http1", "host": "good.test", "raw": "OPTIONS * HTTP/1.1\r\nHost: good.test\r\n\r\n"},
    ]));
}

/// The world's servers would open a tunnel.
fn connect_through_an_allowed_host(t: &mut Trial<'_>) {
    let heads = [
        "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
        "CONNECT evil.test:443 HTTP/1.1\r\nHost: good.test\r\n\r\n",
        "CONNECT good.test:22 HTTP/1.1\r\nHost: good.test\r\n\r\n",
        "CONNECT 127.0.0.1:8081 HTTP/1.1\r\nHost: good.test\r\n\r\n",
    ];
    all_refused(t, &heads.map(str::to_owned));
    // Nothing else speaks against this one.
    let own = "CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:443\r\n\r\n";
    t.attack(&everywhere(&[own.to_owned()])).told("http", "this is no proxy").unheard();
    ordinary(t);
}

/// TRACE has a server say back what it was sent, with what was put in.
fn a_method_that_says_back(t: &mut Trial<'_>) {
    all_refused(t, &["TRACE /echo HTTP/1.1\r\nHost: good.test\r\n\r\n".to_owned()]);
    ordinary(t);
}

/// Behind a 101 nothing is judged any more: only WebSocket gets one.
fn other_protocols_by_upgrade(t: &mut Trial<'_>) {
    let places = [(80, false), (443, true)];
    let mut asked = Vec::new();
    for (port, tls) in places {
        for protocol in ["foo", "h2c", "TLS/1.0", "connect-udp", "websocket, foo", "foo, websocket"]
        {
            asked.push(json!({"do": "upgrade", "host": "good.test", "port": port, "tls": tls, "protocol": protocol}));
        }
        asked.push(json!({"do": "upgrade", "host": "good.test", "port": port, "tls": tls,
            "protocol": "h2c", "extra": ["HTTP2-Settings: AAMAAABkAAQAAP__"]}));
        asked.push(json!({"do": "upgrade", "host": "good.test", "port": port, "tls": tls,
            "protocol": "websocket", "path": "/secret/upgrade"}));
    }
    let tried = t
        .attempt(As::User, &json!(asked))
        .told_as("a denial", |event| event.text("decision") == "deny");
    for outcome in &tried.outcomes {
        assert_ne!(outcome["status"], 101, "{outcome}");
    }
    for one in tried.seen().heard() {
        assert_ne!(one["version"], "tunnel", "{one}");
        assert!(
            !one["raw"].as_str().unwrap_or_default().to_lowercase().contains("upgrade:"),
            "{one}"
        );
    }
    let key = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"];
    t.lawful(&json!([
        {"do": "upgrade", "host": "good.test", "port": 80, "tls": false, "protocol": "websocket", "extra": key},
        {"do": "upgrade", "host": "good.test", "port": 443, "tls": true, "protocol": "websocket", "extra": key},
    ]));
}

/// Prior knowledge: the preface is no HTTP/1 and no TLS.
fn http2_in_the_clear(t: &mut Trial<'_>) {
    let tried = t
        .attempt(
            As::User,
            &json!([
                {"do": "http2", "host": "good.test", "port": 80, "tls": false,
                    "requests": [{"path": "/secret", "scheme": "http"}]},
                {"do": "http2", "host": "good.test", "port": 80, "tls": false,
                    "requests": [{"authority": "evil.test", "scheme": "http"}]},
            ]),
        )
        .told_as("a denial", |event| event.text("decision") == "deny");
    for outcome in &tried.outcomes {
        assert!(outcome["status"] != 200, "{outcome}");
    }
    tried.unheard();
    ordinary(t);
}

/// What stands behind a body is not a header any more.
fn trailers_that_are_headers(t: &mut Trial<'_>) {
    let body = "5\r\nhello\r\n0\r\nHost: evil.test\r\nAuthorization: Bearer mine\r\n\
        Content-Length: 0\r\nTransfer-Encoding: chunked\r\nX-Sum: 42\r\n\r\n";
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\nTrailer: Host\r\n\r\n{body}"
    );
    let tried = t
        .attempt(
            As::User,
            &json!([
                {"do": "http1", "host": "good.test", "port": 80, "raw": head},
                {"do": "http1", "host": "good.test", "port": 443, "tls": true, "raw": head},
            ]),
        )
        .untold("a trailer that is left out refuses nothing");
    for one in tried.seen().heard() {
        assert!(!one["raw"].as_str().unwrap_or_default().contains("evil.test"), "{one}");
    }
    ordinary(t);
}

fn heads_without_end(t: &mut Trial<'_>) {
    let long = "x".repeat(200_000);
    let many = "X: y\r\n".repeat(5000);
    t.attack(&json!([
        {"do": "http1", "host": "good.test", "raw": format!("GET /{} HTTP/1.1\r\nHost: good.test\r\n\r\n", &long[..90_000])},
        {"do": "http1", "host": "good.test", "port": 443, "tls": true,
            "raw": format!("GET / HTTP/1.1\r\nHost: good.test\r\n{many}\r\n")},
        {"do": "http1", "host": "good.test", "raw": format!("GET / HTTP/1.1\r\nHost: good.test\r\n{many}\r\n")},
    ]))
    .untold("it was never a request")
    .unheard();
    ordinary(t);
}
