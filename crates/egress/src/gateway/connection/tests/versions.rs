//! HTTP in its versions passes through an opened connection, and stays what it is.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::{HeaderMap, Request, Response, StatusCode, body::Frame};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{origin::*, world::*};
use crate::event::{Decision, Kind};

const HOST: &str = "api.example.test";

async fn opened(handler: Rc<Handler>) -> (World, u16) {
    let ca = TestCa::new();
    let port = https(ca.server(&[HOST], &["h2", "http/1.1"]), handler).await;
    let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
    (world, port)
}

/// A body of frames as they are sent.
pub(super) fn channel() -> (mpsc::Sender<Frame<Bytes>>, GuestBody) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|frame| (Ok(frame), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

#[test]
fn requests_follow_each_other_in_http1() {
    run(async {
        let seen = Seen::default();
        let (world, port) = opened(echo(&seen)).await;
        let mut client = world.http1(HOST, port).await;
        let host = format!("{HOST}:{port}");
        for n in 0..3 {
            let reply = client.send_request(get(&host, &format!("/{n}?q=1"))).await.unwrap();
            assert!(!reply.headers().contains_key("x-fumehood"));
            assert_eq!(text(reply).await, format!("GET /{n}"));
            assert_eq!(seen.header("host").unwrap(), host);
        }
        // Chunked there and back.
        let (sender, chunked) = channel();
        let request = Request::post("/c").header("host", &host).body(chunked).unwrap();
        let sent = client.send_request(request);
        sender.send(Frame::data("a".into())).await.unwrap();
        sender.send(Frame::data("bc".into())).await.unwrap();
        drop(sender);
        assert_eq!(text(sent.await.unwrap()).await, "abc");
        assert_eq!(seen.header("transfer-encoding").unwrap(), "chunked");
        let events = world.told(Kind::Http, 4).await;
        let last = &events[3];
        assert_eq!((last.sent, last.received, last.status), (Some(3), Some(3), Some(200)));
        assert_eq!(events[0].path.as_deref(), Some("/0"), "without its query");
        assert_eq!(events[0].host.as_deref(), Some(HOST));
        assert!(events.iter().all(|event| event.decision == Decision::Allow));
    });
}

#[test]
fn a_head_has_the_length_of_its_body_and_none() {
    run(async {
        let seen = Seen::default();
        let noting = seen.clone();
        let handler: Rc<Handler> = Rc::new(move |request| {
            noting.note(&request);
            Box::pin(async {
                let reply = Response::builder().header("content-length", "12345");
                reply.header("X-Odd-Case", "1").body(body("")).unwrap()
            })
        });
        let (world, port) = opened(handler).await;
        let mut client = world.http1(HOST, port).await;
        let request = Request::head("/").header("host", HOST).body(full("")).unwrap();
        let reply = client.send_request(request).await.unwrap();
        assert_eq!(reply.headers()["content-length"], "12345");
        assert_eq!(text(reply).await, "");
        let again = client.send_request(get("api.example.test:1", "/")).await.unwrap();
        assert_eq!(again.status(), StatusCode::MISDIRECTED_REQUEST);
    });
}

#[test]
fn a_guest_that_waits_is_told_to_go_on_by_the_host() {
    run(async {
        let (go, started) = (CancellationToken::new(), CancellationToken::new());
        let (gone, starting) = (go.clone(), started.clone());
        let handler: Rc<Handler> = Rc::new(move |request| {
            let (go, started) = (gone.clone(), starting.clone());
            Box::pin(async move {
                started.cancel();
                if request.uri().path() == "/no" {
                    let reply = Response::builder().status(StatusCode::EXPECTATION_FAILED);
                    return reply.body(body("no")).unwrap();
                }
                go.cancelled().await;
                let sent = request.into_body().collect().await.unwrap().to_bytes();
                Response::new(body(sent))
            })
        });
        let (world, port) = opened(handler).await;
        let mut client = world.tls(HOST, port, &["http/1.1"]).await.unwrap();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let head = |path| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\
                 Expect: 100-continue\r\n\r\n"
            )
        };
        client.write_all(head("/yes").as_bytes()).await.unwrap();
        started.cancelled().await;
        // As long as another request takes from end to end, nothing comes.
        let mut other = world.http1(HOST, port).await;
        let refused = other.send_request(get("other.test", "/")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST);
        let mut first = [0; 12];
        tokio::select! {
            biased;
            _ = client.read_exact(&mut first) => panic!("the host has not said so"),
            () = tokio::task::yield_now() => (),
        }
        go.cancel();
        let mut reply = [0; 25];
        let got = client.read_exact(&mut reply).await;
        got.unwrap();
        assert_eq!(&reply, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hello").await.unwrap();
        let mut rest = vec![0; 4096];
        let length = client.read(&mut rest).await.unwrap();
        let reply = String::from_utf8_lossy(&rest[..length]).into_owned();
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        // The host says no: the guest hears that and nothing before it.
        let mut client = world.tls(HOST, port, &["http/1.1"]).await.unwrap();
        client.write_all(head("/no").as_bytes()).await.unwrap();
        let length = client.read(&mut rest).await.unwrap();
        let reply = String::from_utf8_lossy(&rest[..length]).into_owned();
        assert!(reply.starts_with("HTTP/1.1 417 "), "{reply}");
    });
}

#[test]
fn a_websocket_is_what_it_is_after_the_upgrade() {
    run(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let seen = Seen::default();
        let noting = seen.clone();
        let handler: Rc<Handler> = Rc::new(move |mut request| {
            noting.note(&request);
            Box::pin(async move {
                if request.uri().path() == "/no" {
                    return Response::new(body("no"));
                }
                tokio::task::spawn_local(async move {
                    let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                    let mut stream = hyper_util::rt::TokioIo::new(upgraded);
                    stream.write_all(b"first").await.unwrap();
                    let mut bytes = [0; 4];
                    stream.read_exact(&mut bytes).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
                let reply = Response::builder().status(101).header("upgrade", "websocket");
                let reply =
                    reply.header("connection", "Upgrade").header("sec-websocket-accept", "x");
                reply.body(body("")).unwrap()
            })
        });
        let (world, port) = opened(handler).await;
        let mut client = world.http1(HOST, port).await;
        let ask = |path, protocol| {
            let request = Request::get(path).header("host", HOST).header("upgrade", protocol);
            let request = request.header("connection", "keep-alive, Upgrade");
            request.header("sec-websocket-key", "k").body(full("")).unwrap()
        };
        // Another protocol is not asked for further on.
        let reply = client.send_request(ask("/no", "h2c")).await.unwrap();
        assert_eq!((reply.status().as_u16(), text(reply).await.as_str()), (200, "no"));
        assert_eq!(seen.header("upgrade"), None);
        drop(client);
        let tls = world.tls(HOST, port, &["http/1.1"]).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(tls)).await.unwrap();
        let driving = connection.with_upgrades();
        tokio::task::spawn_local(async move { drop(driving.await) });
        let reply = client.send_request(ask("/ws", "websocket")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(seen.header("upgrade").unwrap(), "websocket");
        let mut stream = hyper_util::rt::TokioIo::new(hyper::upgrade::on(reply).await.unwrap());
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"first");
        stream.write_all(b"echo").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"echo");
        drop(stream);
        let events = world.told(Kind::Http, 2).await;
        assert_eq!(events[1].status, Some(101));
        assert_eq!((events[1].sent, events[1].received), (Some(4), Some(9)));
    });
}

#[test]
fn server_sent_events_come_piece_by_piece() {
    run(async {
        let (sender, events) = channel();
        let events = std::cell::RefCell::new(Some(events));
        let handler: Rc<Handler> = Rc::new(move |_request| {
            let events = events.take().unwrap();
            Box::pin(async {
                Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(events)
                    .unwrap()
            })
        });
        let (world, port) = opened(handler).await;
        let mut client = world.http1(HOST, port).await;
        let reply = client.send_request(get(HOST, "/events")).await.unwrap();
        let mut body = reply.into_body();
        for n in 0..5 {
            let event = format!("data: {n}\n\n");
            sender.send(Frame::data(event.clone().into())).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event, "before the next is sent");
        }
    });
}

#[test]
fn streams_of_http2_are_judged_one_by_one() {
    run(async {
        let seen = Seen::default();
        let (world, port) = opened(echo(&seen)).await;
        let mut client = world.http2(HOST, port).await;
        let host = format!("{HOST}:{port}");
        let (sender, slow) = channel();
        let request = Request::post(format!("https://{host}/slow")).body(slow).unwrap();
        let first = client.send_request(request);
        sender.send(Frame::data("one ".into())).await.unwrap();
        for other in ["other.example.test", "api.example.test.evil.test", "api.example.test:1"] {
            let refused = client.send_request(get2(other, "/")).await.unwrap();
            assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST, "{other}");
        }
        sender.send(Frame::data("two".into())).await.unwrap();
        drop(sender);
        assert_eq!(text(first.await.unwrap()).await, "one two");
        assert_eq!(text(client.send_request(get2(&host, "/3")).await.unwrap()).await, "GET /3");
        assert_eq!(seen.len(), 2, "what was refused went nowhere");
        let denied: Vec<_> = world.told(Kind::Http, 5).await;
        let denied = denied.iter().filter(|event| event.decision == Decision::Deny);
        assert!(denied.clone().all(|event| event.status == Some(421)));
        assert_eq!(denied.count(), 3);
    });
}

/// Sends back each piece as it comes, and then trailers.
async fn repeat(request: Request<hyper::body::Incoming>, sender: mpsc::Sender<Frame<Bytes>>) {
    let mut pieces = request.into_body().into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        sender.send(Frame::data(piece)).await.unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    sender.send(Frame::trailers(trailers)).await.unwrap();
}

#[test]
fn a_grpc_like_call_streams_both_ways_and_ends_with_trailers() {
    run(async {
        let seen = Seen::default();
        let noting = seen.clone();
        let handler: Rc<Handler> = Rc::new(move |request| {
            noting.note(&request);
            Box::pin(async {
                let (sender, reply) = channel();
                tokio::task::spawn_local(repeat(request, sender));
                Response::builder().header("content-type", "application/grpc").body(reply).unwrap()
            })
        });
        let (world, port) = opened(handler).await;
        let mut client = world.http2(HOST, port).await;
        let (sender, messages) = channel();
        let request = Request::post(format!("https://{HOST}:{port}/pkg.Service/Call"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(messages)
            .unwrap();
        let reply = client.send_request(request).await.unwrap();
        let mut body = reply.into_body();
        for n in 0..20 {
            sender.send(Frame::data(format!("message {n}").into())).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("message {n}"));
        }
        drop(sender);
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert!(body.frame().await.is_none());
        assert_eq!(seen.header("te").unwrap(), "trailers");
    });
}

#[test]
fn the_guest_gets_the_protocol_that_the_host_chose() {
    run(async {
        let ca = TestCa::new();
        for (offered, chosen) in
            [(&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None), (&["h2"], Some(b"h2"))]
        {
            let port = https(ca.server(&[HOST], offered), echo(&Seen::default())).await;
            let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
            let tls = world.tls(HOST, port, &["h2", "http/1.1"]).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), chosen);
        }
    });
}
