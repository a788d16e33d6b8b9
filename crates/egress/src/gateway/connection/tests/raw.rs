//! Bytes that are almost requests: what arrives upstream is what was judged, or nothing.

use std::{cell::RefCell, rc::Rc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::{origin::*, world::*};
use crate::{
    event::{Decision, Kind},
    policy::{Action, Match, Rule},
};

const HOST: &str = "api.example.test";

/// A host that writes down every byte, and answers each head with a short reply.
async fn scribe(tls: tokio_rustls::TlsAcceptor) -> (u16, Rc<RefCell<Vec<u8>>>) {
    let (listener, port) = listen().await;
    let written = Rc::new(RefCell::new(Vec::new()));
    let writing = Rc::clone(&written);
    let _accepting: JoinHandle<()> = tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, writing) = (tls.clone(), Rc::clone(&writing));
            tokio::task::spawn_local(async move {
                let Ok(mut stream) = tls.accept(stream).await else { return };
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    writing.borrow_mut().extend_from_slice(&bytes[..length]);
                    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    drop(stream.write_all(reply).await);
                }
            });
        }
    });
    (port, written)
}

/// What the guest gets for these bytes, and what the host got. PUT is denied.
async fn sent(bytes: &[u8]) -> (String, String) {
    let ca = TestCa::new();
    let (port, written) = scribe(ca.server(&[HOST], &["http/1.1"])).await;
    let when = Match { methods: vec!["PUT".to_owned()], ..Match::default() };
    let rules = vec![Rule { when, then: Action::Deny }, look()];
    let world = World::new(policy(vec![domain(HOST, port, rules)]), &ca.root);
    let mut client = world.tls(HOST, port, &["http/1.1"]).await.unwrap();
    client.write_all(bytes).await.unwrap();
    // A last request shows that all before it has been dealt with.
    drop(
        client
            .write_all(b"GET /last HTTP/1.1\r\nHost: api.example.test\r\nConnection: close\r\n\r\n")
            .await,
    );
    let mut reply = Vec::new();
    drop(client.read_to_end(&mut reply).await);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let arrived = text(&written.borrow());
    assert!(!arrived.contains("PUT "), "what is denied is never sent");
    for event in world.events(Kind::Http) {
        assert!(event.decision == Decision::Deny || event.method.as_deref() != Some("PUT"));
    }
    (text(&reply), arrived)
}

#[test]
fn requests_that_two_readers_would_read_in_two_ways_are_refused() {
    run(async {
        let host = "Host: api.example.test\r\n";
        let hidden = "PUT /hidden HTTP/1.1\r\nHost: api.example.test\r\n\r\n";
        for (name, head) in [
            ("two hosts", format!("GET /x HTTP/1.1\r\n{host}Host: evil.test\r\n\r\n")),
            ("the same host twice", format!("GET /x HTTP/1.1\r\n{host}{host}\r\n")),
            ("no host", "GET /x HTTP/1.1\r\n\r\n".to_owned()),
            ("a host of 1.0", "GET /x HTTP/1.0\r\n\r\n".to_owned()),
            ("another URL", format!("GET https://evil.test/x HTTP/1.1\r\n{host}\r\n")),
            ("another scheme", format!("GET http://api.example.test/x HTTP/1.1\r\n{host}\r\n")),
            ("a user", "GET /x HTTP/1.1\r\nHost: u@api.example.test\r\n\r\n".to_owned()),
            ("a fold", format!("GET /x HTTP/1.1\r\n{host}X-A: b\r\n c\r\n\r\n")),
            (
                "a fold of the host",
                "GET /x HTTP/1.1\r\nHost: api.example.test\r\n .evil.test\r\n\r\n".to_owned(),
            ),
            ("a space before the colon", format!("GET /x HTTP/1.1\r\n{host}X-A : b\r\n\r\n")),
            ("NUL", format!("GET /x HTTP/1.1\r\n{host}X-A: b\0c\r\n\r\n")),
            (
                "NUL in the host",
                "GET /x HTTP/1.1\r\nHost: api.example.test\0.evil.test\r\n\r\n".to_owned(),
            ),
            ("a lone CR", format!("GET /x HTTP/1.1\r\n{host}X-A: b\rX-B: c\r\n\r\n")),
            (
                "two lengths",
                format!(
                    "POST /x HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello"
                ),
            ),
            (
                "a list of lengths",
                format!("POST /x HTTP/1.1\r\n{host}Content-Length: 5, 6\r\n\r\nhello"),
            ),
            (
                "a signed length",
                format!("POST /x HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\nhello"),
            ),
            (
                "another coding",
                format!(
                    "POST /x HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
                ),
            ),
            (
                "an unknown coding",
                format!("POST /x HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
            ),
            (
                "chunked, but not last",
                format!(
                    "POST /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n{hidden}"
                ),
            ),
            (
                "chunked in 1.0",
                format!("POST /x HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n{hidden}"),
            ),
            ("HTTP/0.9", "GET /x\r\n\r\n".to_owned()),
            ("a version of its own", format!("GET /x HTTP/1.7\r\n{host}\r\n")),
            ("two spaces", format!("GET  /x HTTP/1.1\r\n{host}\r\n")),
            ("HTTP/2 without having said so", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ] {
            let (reply, arrived) = sent(head.as_bytes()).await;
            let status = reply.get(9..12).unwrap_or("");
            assert!(["400", "421", "501", "505", ""].contains(&status), "{name}: {reply}");
            assert!(!arrived.contains("/x"), "{name}: {arrived}");
            assert!(!arrived.contains("/hidden"), "{name}: {arrived}");
        }
    });
}

#[test]
fn what_is_understood_is_written_anew() {
    run(async {
        let host = "Host: api.example.test\r\n";
        let hidden = "PUT /hidden HTTP/1.1\r\nHost: api.example.test\r\n\r\n";
        // A length beside chunks: the chunks count, and the length is gone (RFC 9112, 6.3).
        for head in [
            format!(
                "POST /x HTTP/1.1\r\n{host}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                hidden.len()
            ),
            format!(
                "POST /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
            ),
            // A length alone says where the body ends, whatever it holds.
            format!("POST /x HTTP/1.1\r\n{host}Content-Length: 4\r\n\r\n0\r\n\r"),
            // Lines that end with LF alone.
            format!("GET /x HTTP/1.1\n{}\n", host.replace('\r', "")),
            // A chunk with an extension, and trailers that name a host.
            format!(
                "POST /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nHost: evil.test\r\n\r\n"
            ),
        ] {
            let (reply, arrived) = sent(head.as_bytes()).await;
            if reply.starts_with("HTTP/1.1 400") {
                assert!(!arrived.contains("/x"), "{head}: {arrived}");
                continue;
            }
            assert!(reply.starts_with("HTTP/1.1 200"), "{head}: {reply}");
            let lower = arrived.to_ascii_lowercase();
            let first = lower.split("\r\n\r\n").next().unwrap();
            let both = first.contains("content-length") && first.contains("transfer-encoding");
            assert!(!both, "{arrived}");
            assert!(
                !lower.contains("evil.test") && !lower.replace("\r\n", "").contains('\n'),
                "{arrived}"
            );
        }
        // Pipelined requests are judged one by one and answered in turn.
        let two = format!("GET /x HTTP/1.1\r\n{host}\r\n{hidden}GET /y HTTP/1.1\r\n{host}\r\n");
        let (reply, arrived) = sent(two.as_bytes()).await;
        let statuses: Vec<&str> = reply.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
        assert_eq!(statuses, ["200", "403", "200", "200"], "{reply}");
        let paths: Vec<&str> = arrived.split("GET ").skip(1).map(|part| &part[..2]).collect();
        assert_eq!(paths, ["/x", "/y", "/l"]);
    });
}

#[test]
fn names_of_headers_keep_their_case() {
    run(async {
        let head = "GET /x HTTP/1.1\r\nHost: api.example.test\r\nX-ODD-Case: 1\r\n\r\n";
        let (_, arrived) = sent(head.as_bytes()).await;
        assert!(arrived.contains("\r\nX-ODD-Case: 1\r\n"), "{arrived}");
        assert!(arrived.contains("\r\nHost: api.example.test\r\n"), "{arrived}");
    });
}
