//! HTTP in the clear, bytes of other protocols, and the host's own proxy.

use std::{cell::RefCell, rc::Rc};

use hyper::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use super::{super::*, origin::*, world::*};
use crate::{
    event::Kind,
    policy::{Domain, Reach},
};

const HOST: &str = "api.example.test";

#[test]
fn plain_http_is_read_request_by_request() {
    run(async {
        let ca = TestCa::new();
        let seen = Seen::default();
        let port = http(echo(&seen)).await;
        let domains = vec![domain(HOST, port, vec![look()]), domain("b.test", port, vec![look()])];
        let world = World::new(policy(domains), &ca.root);
        // The address stands for two names; the first request says which of them it is.
        let peer = world.peer(&["b.test", HOST], port);
        let mut client = speak1(world.open(peer).0).await;
        let reply = client.send_request(get(HOST, "/1")).await.unwrap();
        assert_eq!(text(reply).await, "GET /1");
        let reply = client.send_request(get("b.test", "/2")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::MISDIRECTED_REQUEST);
        client.ready().await.unwrap();
        let reply = client.send_request(get(&format!("{HOST}:{port}"), "/3")).await.unwrap();
        assert_eq!(text(reply).await, "GET /3");
        assert_eq!(seen.len(), 2);
    });
}

/// A server that does not read it would take it for the next request.
#[test]
fn a_body_that_few_expect_is_the_last_of_its_connection() {
    run(async {
        let ca = TestCa::new();
        let seen = Seen::default();
        let port = http(echo(&seen)).await;
        let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
        for (method, body, ends) in [
            ("POST", "x", None),
            ("GET", "", None),
            ("GET", "x", Some("close")),
            ("DELETE", "x", Some("close")),
        ] {
            let mut client = speak1(world.plain(HOST, port)).await;
            let mut request = get(HOST, "/");
            *request.method_mut() = method.parse().unwrap();
            *request.body_mut() = full(body);
            let reply = text(client.send_request(request).await.unwrap()).await;
            assert_eq!(
                reply,
                if body.is_empty() { format!("{method} /") } else { body.to_owned() }
            );
            assert_eq!(seen.header("connection").as_deref(), ends, "{method} {body}");
        }
    });
}

#[test]
fn http2_in_the_clear_is_read_too() {
    run(async {
        let ca = TestCa::new();
        let (listener, port) = listen().await;
        let seen = Seen::default();
        let handler = echo(&seen);
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve2(stream, handler).await;
        });
        let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
        let io = TokioIo::new(world.plain(HOST, port));
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut client, connection) = handshake.await.unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        let ask =
            |host: &str| hyper::Request::get(format!("http://{host}/1")).body(full("")).unwrap();
        let reply = client.send_request(ask(HOST)).await.unwrap();
        assert_eq!(text(reply).await, "GET /1");
        let reply = client.send_request(ask("evil.test")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::MISDIRECTED_REQUEST);
        let reply = client.send_request(get2(HOST, "/1")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "another scheme");
        assert_eq!(seen.len(), 1);
    });
}

#[test]
fn other_bytes_pass_untouched_where_they_may() {
    run(async {
        let ca = TestCa::new();
        let (listener, port) = listen().await;
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // The server speaks first.
                stream.write_all(b"220 ready\r\n").await.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
            }
        });
        let raw = domain("git.example.test", port, Vec::new());
        let world = World::new(policy(vec![raw, domain(HOST, port, vec![look()])]), &ca.root);
        // Also where another name of the address is to be looked into.
        for names in [&["git.example.test"][..], &[HOST, "git.example.test"]] {
            let (mut client, carrying) = world.open(world.peer(names, port));
            let mut first = [0; 11];
            client.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"220 ready\r\n");
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"hello");
            carrying.await.unwrap();
        }
        let told = world.events(Kind::Tcp);
        assert_eq!((told[1].sent, told[1].received), (Some(5), Some(16)));
        assert_eq!(told[1].host.as_deref(), Some("git.example.test"));
        assert_eq!(told[1].rule, format!("git.example.test:{port}"));
    });
}

/// The host's proxy: every name leads to this port.
async fn proxy(to: u16) -> (u16, Rc<RefCell<Vec<String>>>) {
    let (listener, port) = listen().await;
    let asked = Rc::new(RefCell::new(Vec::new()));
    let asking = Rc::clone(&asked);
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let refuse = head.starts_with("CONNECT forbidden.");
            asking.borrow_mut().push(head);
            if refuse {
                stream.write_all(b"HTTP/1.1 403 No\r\n\r\n").await.unwrap();
                continue;
            }
            let mut upstream = TcpStream::connect((LOCAL, to)).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 Connected\r\nX-A: b\r\n\r\n").await.unwrap();
            tokio::task::spawn_local(async move {
                drop(copy_bidirectional(&mut stream, &mut upstream).await);
            });
        }
    });
    (port, asked)
}

/// A name on the web's own ports, whose address is nobody's.
fn elsewhere(world: &World, name: &str, port: u16) -> Peer {
    let mut peer = world.peer(&[name], port);
    peer.address = "192.88.100.7:0".parse().unwrap();
    peer.address.set_port(port);
    peer
}

#[test]
fn the_hosts_proxy_is_gone_through_and_tls_passes_by_its_name() {
    run(async {
        let ca = TestCa::new();
        let seen = Seen::default();
        let port = https(ca.server(&[HOST], &["http/1.1"]), echo(&seen)).await;
        let (through, asked) = proxy(port).await;
        let web = |name, rules| Domain { port: None, ..domain(name, 0, rules) };
        let domains = vec![
            web(HOST, vec![]),
            web("forbidden.test", vec![look()]),
            web("direct.test", vec![look()]),
        ];
        let world = World::new(policy(domains), &ca.root);
        world.proxy(through);
        // Spliced: the guest sees the host's own certificate.
        let config = world.guest_config(&ca.root, &["http/1.1"]);
        let (stream, carrying) = world.open(elsewhere(&world, HOST, 443));
        let connector = tokio_rustls::TlsConnector::from(config);
        let tls = connector.connect(HOST.try_into().unwrap(), stream).await.unwrap();
        let mut client = speak1(tls).await;
        let reply = client.send_request(get(HOST, "/1")).await.unwrap();
        assert_eq!(text(reply).await, "GET /1");
        drop(client);
        carrying.await.unwrap();
        let told = world.told(Kind::Tls, 1).await;
        assert_eq!(told[0].host.as_deref(), Some(HOST));
        assert!(told[0].received.unwrap() > 500);
        let head = asked.borrow()[0].clone();
        assert!(head.starts_with("CONNECT api.example.test:443 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nProxy-Authorization: Basic bWU6cGFzcw==\r\n"), "{head}");
        // Its no is told, and what is excepted does not come to it.
        let peer = elsewhere(&world, "forbidden.test", 443);
        let tls = world.tls_as(peer, "forbidden.test", &["http/1.1"]).await.unwrap();
        let mut client = speak1(tls).await;
        let reply = client.send_request(get("forbidden.test", "/")).await.unwrap();
        let why = text(reply).await;
        assert!(why.contains("the host's proxy answered with status 403"), "{why}");
        assert!(!world.log().contains("pass") && !why.contains("pass"));
        assert_eq!(asked.borrow().len(), 2);
    });
}

#[test]
fn what_may_hide_a_name_is_opened() {
    run(async {
        use crate::gateway::client_hello::Encrypted;
        // By hand, since rustls sends no such extension of its own: a hello as it is judged.
        let ca = TestCa::new();
        let world =
            World::new(policy(vec![Domain { port: None, ..domain(HOST, 0, vec![]) }]), &ca.root);
        let peer = elsewhere(&world, HOST, 443);
        let active = world.gateway.active().unwrap();
        let judge = |encrypted| {
            let Ok(Plan::Inspect(candidates)) = plan(&world.gateway, &active, &peer) else {
                panic!("it is not looked at");
            };
            let server_name = Some(Host::parse(HOST).unwrap());
            let hello = ClientHello { server_name, encrypted, protocols: vec![] };
            judge_hello(&active, &hello, &peer, candidates).unwrap()
        };
        assert!(matches!(judge(Encrypted::No), Passage::Spliced(_)));
        assert!(matches!(judge(Encrypted::Perhaps), Passage::Opened { .. }));
    });
}

#[test]
fn an_address_by_itself_may_be_called_by_its_number_or_an_allowed_name() {
    run(async {
        let ca = TestCa::new();
        let seen = Seen::default();
        let port = http(echo(&seen)).await;
        let (through, _) = proxy(port).await;
        let mut all = policy(vec![]);
        all.reach = Reach::Public;
        let world = World::new(all, &ca.root);
        world.proxy(through);
        for (host, status) in [
            ("192.88.100.7", StatusCode::OK),
            ("192.88.100.7:80", StatusCode::OK),
            ("named.test", StatusCode::OK),
            ("192.88.100.8", StatusCode::MISDIRECTED_REQUEST),
            ("192.88.100.7:81", StatusCode::MISDIRECTED_REQUEST),
        ] {
            let mut peer = elsewhere(&world, HOST, 80);
            peer.names.clear();
            let mut client = speak1(world.open(peer).0).await;
            let reply = client.send_request(get(host, "/")).await.unwrap();
            assert_eq!(reply.status(), status, "{host}");
        }
    });
}
