//! A policy that changes holds at once, for what is open too.

use std::rc::Rc;

use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode, body::Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{origin::*, versions::channel, world::*};
use crate::{
    event::{Decision, Kind},
    policy::{Action, Match, Rule},
};

const HOST: &str = "api.example.test";

fn on(method: &str, then: Action) -> Rule {
    let when = Match { methods: vec![method.to_owned()], ..Match::default() };
    Rule { when, then }
}

#[test]
fn the_next_request_is_judged_by_the_new_policy() {
    run(async {
        let ca = TestCa::new();
        let seen = Seen::default();
        let port = https(ca.server(&[HOST], &["h2", "http/1.1"]), echo(&seen)).await;
        let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
        let mut client = world.http1(HOST, port).await;
        assert_eq!(client.send_request(get(HOST, "/")).await.unwrap().status(), StatusCode::OK);
        client.ready().await.unwrap();
        world.change(|c| c.policy.domains[0].rules.insert(0, on("GET", Action::Deny)));
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        client.ready().await.unwrap();
        world.change(|c| drop(c.policy.domains[0].rules.remove(0)));
        assert_eq!(client.send_request(get(HOST, "/")).await.unwrap().status(), StatusCode::OK);
        // Without the domain the connection is gone.
        client.ready().await.unwrap();
        world.change(|c| c.policy.domains.clear());
        assert!(client.send_request(get(HOST, "/")).await.is_err());
        assert_eq!(seen.len(), 2);
    });
}

/// A host that sends a piece, and then nothing for ever.
fn endless() -> Rc<Handler> {
    Rc::new(|_request| {
        Box::pin(async {
            let (sender, body) = channel();
            tokio::task::spawn_local(async move {
                sender.send(Frame::data("piece".into())).await.unwrap();
                sender.closed().await;
            });
            Response::new(body)
        })
    })
}

#[test]
fn a_running_stream_is_cut_and_others_go_on() {
    run(async {
        let ca = TestCa::new();
        let port = https(ca.server(&[HOST], &["h2", "http/1.1"]), endless()).await;
        let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
        let mut client = world.http2(HOST, port).await;
        let mut started = Vec::new();
        for method in ["POST", "GET"] {
            let uri = format!("https://{HOST}/");
            let request = Request::builder().method(method).uri(uri).body(full("")).unwrap();
            let mut body = client.send_request(request).await.unwrap().into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
            started.push(body);
        }
        world.change(|c| c.policy.domains[0].rules.insert(0, on("POST", Action::Deny)));
        assert!(started[0].frame().await.unwrap().is_err());
        let told = world.told(Kind::Http, 1).await;
        assert_eq!((told[0].decision, told[0].method.as_deref()), (Decision::Deny, Some("POST")));
        // The other one lives; a request beside it is served.
        let mut body = client.send_request(get2(HOST, "/")).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
        world.change(|c| c.policy.domains.clear());
        assert!(started[1].frame().await.is_none_or(|frame| frame.is_err()));
        assert!(body.frame().await.is_none_or(|frame| frame.is_err()));
        world.told(Kind::Http, 3).await;
    });
}

#[test]
fn what_takes_long_is_told_before_it_is_over() {
    run(async {
        let ca = TestCa::new();
        let port = https(ca.server(&[HOST], &["http/1.1"]), endless()).await;
        let looked = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
        let mut client = looked.http1(HOST, port).await;
        let mut body = client.send_request(get(HOST, "/long")).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
        let spliced = World::new(policy(vec![domain(HOST, port, vec![])]), &ca.root);
        let raw = spliced.plain(HOST, port);
        let (request, connection) = tokio::join!(looked.under_way(), spliced.under_way());
        assert_eq!((request.path.as_deref(), request.received), (Some("/long"), Some(5)));
        assert_eq!((request.status, request.decision), (Some(200), Decision::Allow));
        assert_eq!((connection.kind, connection.host.as_deref()), (Kind::Tcp, Some(HOST)));
        assert!(looked.events(Kind::Http).is_empty() && spliced.events(Kind::Tcp).is_empty());
        drop((body, client, raw));
        let over = looked.told(Kind::Http, 1).await;
        assert_eq!((over.len(), over[0].at), (1, request.at));
        spliced.told(Kind::Tcp, 1).await;
    });
}

#[test]
fn a_running_stream_of_http1_is_cut() {
    run(async {
        let ca = TestCa::new();
        let port = https(ca.server(&[HOST], &["http/1.1"]), endless()).await;
        let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
        let mut client = world.http1(HOST, port).await;
        let mut body = client.send_request(get(HOST, "/")).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
        world.change(|c| c.policy.domains[0].rules.insert(0, on("GET", Action::Deny)));
        assert!(body.frame().await.unwrap().is_err());
        let told = world.told(Kind::Http, 1).await;
        assert_eq!(told[0].decision, Decision::Deny);
    });
}

#[test]
fn spliced_bytes_are_cut_when_they_are_to_be_looked_into_or_not_let_through() {
    run(async {
        let ca = TestCa::new();
        let (listener, port) = listen().await;
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let (mut reader, mut writer) = stream.split();
                    drop(tokio::io::copy(&mut reader, &mut writer).await);
                });
            }
        });
        let world = World::new(policy(vec![domain(HOST, port, vec![])]), &ca.root);
        let change = |world: &World, n: usize| {
            world.change(|c| match n {
                0 => c.policy.domains.clear(),
                1 => c.policy.domains[0].rules = vec![look()],
                _ => c.policy.subnets.allow.clear(),
            });
        };
        for n in 0..3 {
            world.change(|c| c.policy = policy(vec![domain(HOST, port, vec![])]));
            let (mut client, carrying) = world.open(world.peer(&[HOST], port));
            client.write_all(b"ping").await.unwrap();
            let mut bytes = [0; 4];
            client.read_exact(&mut bytes).await.unwrap();
            // A change that leaves it allowed leaves it open.
            world.change(|c| c.revision += 1);
            client.write_all(b"ping").await.unwrap();
            client.read_exact(&mut bytes).await.unwrap();
            change(&world, n);
            assert_eq!(client.read(&mut bytes).await.unwrap_or(0), 0);
            carrying.await.unwrap();
            let told = world.events(Kind::Tcp);
            assert_eq!(told[n].reason.as_deref(), Some("the policy has changed"));
            assert_eq!((told[n].sent, told[n].received), (Some(8), Some(8)));
        }
    });
}

#[test]
fn a_connection_of_an_idle_host_ends_with_it() {
    run(async {
        let ca = TestCa::new();
        let (listener, port) = listen().await;
        let tls = ca.server(&[HOST], &["http/1.1"]);
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tls.accept(stream).await.unwrap();
            let mut bytes = [0; 4096];
            assert!(0 < stream.read(&mut bytes).await.unwrap());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let world = World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root);
        let mut client = world.http1(HOST, port).await;
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(text(reply).await, "ok");
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    });
}
