//! What is refused is said, and goes nowhere; what a rule answers or sends elsewhere does so.

use std::collections::BTreeMap;

use hyper::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::Peer, origin::*, world::*};
use crate::{
    address::stand_in,
    event::{Decision, Kind},
    host::Host,
    policy::{Action, Canned, Cidr, ForwardTo, Match, Policy, Rule, TextMatch},
    secret::SecretText,
};

const HOST: &str = "api.example.test";

async fn world(rules: Vec<Rule>) -> (World, u16, Seen) {
    let ca = TestCa::new();
    let seen = Seen::default();
    let names = [HOST, "other.example.test", "elsewhere.test"];
    let port = https(ca.server(&names, &["h2", "http/1.1"]), echo(&seen)).await;
    let world = World::new(policy(vec![domain(HOST, port, rules)]), &ca.root);
    (world, port, seen)
}

fn on_post(then: Action) -> Rule {
    let when = Match { methods: vec!["POST".to_owned()], ..Match::default() };
    Rule { when, then }
}

#[test]
fn a_denied_request_is_told_why_and_the_next_is_served() {
    run(async {
        let (world, port, seen) = world(vec![on_post(Action::Deny)]).await;
        let mut client = world.http1(HOST, port).await;
        // With a body, which must not be in the way of the reply.
        let big = vec![b'x'; 3 << 20];
        let request =
            Request::post("/it's?q=private").header("host", HOST).body(full(big)).unwrap();
        let reply = client.send_request(request).await.unwrap();
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        assert_eq!(reply.headers()["x-fumehood"], "refused");
        let why = text(reply).await;
        assert!(why.contains(&format!("Rule: {HOST}:{port}[0]")), "{why}");
        let explain = "fumehood policy explain SANDBOX 'POST https://api.example.test/it%27s'";
        assert!(why.contains(explain), "{why}");
        client.ready().await.unwrap();
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        let mut client = world.http2(HOST, port).await;
        let request = Request::post(format!("https://{HOST}:{port}/"))
            .header("accept", "application/json")
            .body(full("{}"))
            .unwrap();
        let reply = client.send_request(request).await.unwrap();
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        let why: serde_json::Value = serde_json::from_str(&text(reply).await).unwrap();
        assert_eq!(why["error"]["code"], "egress_denied");
        assert_eq!(seen.len(), 1);
        let events = world.told(Kind::Http, 2).await;
        assert_eq!(events[0].decision, Decision::Deny);
        assert_eq!(events[0].rule, format!("{HOST}:{port}[0]"));
        assert_eq!(events[0].reason.as_deref(), Some("a rule denies it"));
        assert!(!world.log().contains("private"));
    });
}

#[test]
fn a_rule_may_answer() {
    run(async {
        let canned = Canned {
            status: 418,
            headers: vec![("x-tea".to_owned(), "pot".to_owned())],
            body: b"short and stout".to_vec(),
        };
        let (world, port, seen) = world(vec![on_post(Action::Respond(canned))]).await;
        let mut client = world.http2(HOST, port).await;
        let request = Request::post(format!("https://{HOST}/")).body(full("x")).unwrap();
        let reply = client.send_request(request).await.unwrap();
        assert_eq!(
            (reply.status().as_u16(), reply.headers()["x-tea"].to_str().unwrap()),
            (418, "pot")
        );
        assert_eq!(text(reply).await, "short and stout");
        assert_eq!(seen.len(), 0);
        let events = world.told(Kind::Http, 1).await;
        assert_eq!((events[0].decision, events[0].status), (Decision::Allow, Some(418)));
    });
}

const IDENTITY: &str = "vercel-sandbox-oidc-token";

#[test]
fn a_rule_may_send_elsewhere_and_no_secret_goes_along() {
    run(async {
        let (world, port, seen) = world(vec![]).await;
        let to = |secure, port| ForwardTo {
            secure,
            host: Host::parse("elsewhere.test").unwrap(),
            port,
            path: "/base".to_owned(),
        };
        let key = inject(
            "KEY",
            crate::policy::Place::Header { name: "x-api-key".to_owned(), prefix: String::new() },
        );
        let rules = vec![on_post(Action::Forward(to(true, port))), key];
        world.secret("KEY", "0123456789");
        world.change(|c| c.policy.domains[0].rules = rules);
        let post = |uri: &str| {
            let request = Request::post(uri).header("host", HOST);
            let request =
                request.header("x-forwarded-host", "liar.test").header(IDENTITY, "forged");
            request.header("x_forwarded_host", "liar.test")
        };
        let mut client = world.http1(HOST, port).await;
        let reply = client.send_request(post("/v1?q=1").body(full("body")).unwrap()).await.unwrap();
        assert_eq!(text(reply).await, "body");
        assert_eq!(seen.line(), "POST /base/v1?q=1");
        assert_eq!(seen.header("host").unwrap(), format!("elsewhere.test:{port}"));
        assert_eq!(seen.header("x-forwarded-host").unwrap(), HOST);
        assert_eq!(seen.header("x_forwarded_host"), None);
        assert_eq!(seen.header("vercel-forwarded-path").unwrap(), "/v1?q=1");
        assert_eq!(seen.header("x-forwarded-proto").unwrap(), "https");
        assert_eq!(seen.header("x-api-key"), None);
        assert_eq!(seen.header(IDENTITY), None, "a guest says who it is");
        // Who gets it is told whose it is, and only that one.
        for (whose, told) in [("/base", Some("signed")), ("/other", None)] {
            let token = SecretText::new("signed".to_owned());
            let url = format!("https://elsewhere.test:{port}{whose}");
            world.change(|c| c.identities = BTreeMap::from([(url, token)]));
            let mut client = world.http1(HOST, port).await;
            drop(client.send_request(post("/").body(full("")).unwrap()).await.unwrap());
            assert_eq!(seen.header(IDENTITY).as_deref(), told);
        }
        // To a server that speaks another version, in the clear.
        let plain = http(echo(&seen)).await;
        world.change(|c| c.policy.domains[0].rules[0] = on_post(Action::Forward(to(false, plain))));
        let mut client = world.http2(HOST, port).await;
        let request = Request::post(format!("https://{HOST}/v2")).header("cookie", "a=1");
        let request = request.header("cookie", "b=2").body(full("more")).unwrap();
        let reply = client.send_request(request).await.unwrap();
        assert_eq!(text(reply).await, "more");
        assert_eq!(seen.line(), "POST /base/v2");
        assert_eq!(seen.header("cookie").unwrap(), "a=1; b=2");
        // Not to this host, if no subnet names it.
        world.change(|c| c.policy.subnets.allow.clear());
        world.change(|c| c.policy.domains[0].rules[0] = on_post(Action::Forward(to(false, plain))));
        assert!(client.send_request(get2(HOST, "/")).await.is_err(), "the connection is cut too");
    });
}

#[test]
fn what_stands_in_for_a_host_is_never_dialled() {
    run(async {
        let canned = Canned { status: 200, headers: vec![], body: b"made up".to_vec() };
        let (world, ..) = world(vec![on_post(Action::Respond(canned))]).await;
        world.change(|c| c.policy.domains[0].port = None);
        world.change(|c| c.policy.subnets.allow.push(Cidr::parse("198.18.0.0/15").unwrap()));
        let at = |name: &str| {
            let address = stand_in(&Host::parse(name).unwrap());
            Peer { address: (address, 443).into(), ..world.peer(&[HOST], 443) }
        };
        let tls = world.tls_as(at(HOST), HOST, &["http/1.1"]).await.unwrap();
        let mut client = speak1(tls).await;
        let post = Request::post("/").header("host", HOST).body(full("")).unwrap();
        assert_eq!(text(client.send_request(post).await.unwrap()).await, "made up");
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_GATEWAY);
        let said = text(reply).await;
        assert!(said.contains("no address that may be reached"), "{said}");
    });
}

#[test]
fn connect_and_trace_are_refused() {
    run(async {
        let (world, port, seen) = world(vec![look()]).await;
        for request in [
            format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
            format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n"),
        ] {
            let mut client = world.tls(HOST, port, &["http/1.1"]).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            let mut reply = vec![0; 4096];
            let length = client.read(&mut reply).await.unwrap();
            let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
            assert!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
        }
        let mut client = world.http2(HOST, port).await;
        for method in ["TRACE", "CONNECT"] {
            let uri = if method == "CONNECT" {
                format!("{HOST}:{port}")
            } else {
                format!("https://{HOST}/")
            };
            let request = Request::builder().method(method).uri(uri).body(full("")).unwrap();
            let reply = client.send_request(request).await.unwrap();
            assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
        assert_eq!(seen.len(), 0);
    });
}

#[test]
fn a_host_that_is_down_is_told_of_inside_tls() {
    run(async {
        let (world, _, _) = world(vec![look()]).await;
        let (listener, port) = listen().await;
        drop(listener);
        world.change(|c| c.policy.domains.push(domain(HOST, port, vec![look()])));
        let mut client = world.http1(HOST, port).await;
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(reply.headers()["x-fumehood"], "failed");
        let why = text(reply).await;
        assert!(why.contains("refused"), "{why}");
        let events = world.told(Kind::Http, 1).await;
        assert_eq!((events[0].decision, events[0].status), (Decision::Allow, Some(502)));
    });
}

#[test]
fn tls_without_the_name_of_the_address_is_refused_at_once() {
    run(async {
        let (world, port, seen) = world(vec![look()]).await;
        let other = domain("other.example.test", port, vec![look()]);
        world.change(|c| c.policy.domains.push(other));
        // Allowed, yet not for this address; not allowed; an address instead of a name.
        for (name, reason) in [
            ("other.example.test", "other.example.test is not a name that this address"),
            ("denied.example.test", "no rule allows"),
            ("127.0.0.1", "must say which host it is for"),
        ] {
            let mut peer = world.peer(&[HOST], port);
            // No subnet names it.
            peer.address.set_ip("192.88.100.7".parse().unwrap());
            let error = world.tls_as(peer, name, &["http/1.1"]).await.unwrap_err();
            assert!(error.to_string().contains("AccessDenied"), "{error}");
            let told = world.events(Kind::Tls);
            let last = told.last().unwrap();
            assert_eq!(last.decision, Decision::Deny);
            assert!(last.reason.as_deref().unwrap().contains(reason), "{last:?}");
        }
        // Two names for one address are both good.
        let peer = world.peer(&[HOST, "other.example.test"], port);
        world.tls_as(peer, "other.example.test", &["http/1.1"]).await.unwrap();
        assert_eq!(seen.len(), 0);
    });
}

#[test]
fn what_is_neither_tls_nor_http_is_closed() {
    run(async {
        let (world, port, _) = world(vec![look()]).await;
        let mut client = world.plain(HOST, port);
        client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        let told = world.events(Kind::Tcp);
        assert_eq!(told[0].reason.as_deref(), Some("only HTTP and TLS are let through here"));
        // TLS with something inside that cannot be looked into.
        let refused = world.tls(HOST, port, &["imap"]).await.unwrap_err();
        assert!(refused.to_string().contains("AccessDenied"), "{refused}");
    });
}

#[test]
fn a_connection_that_the_policy_does_not_know_is_not_admitted() {
    run(async {
        let (world, port, _) = world(vec![look()]).await;
        assert!(world.gateway.admits(&world.peer(&[HOST], port)));
        let outside = |names, port| {
            let mut peer = world.peer(names, port);
            peer.address.set_ip("192.88.100.7".parse().unwrap());
            peer
        };
        assert!(!world.gateway.admits(&outside(&["evil.test"], port)));
        assert!(!world.gateway.admits(&outside(&[HOST], 22)));
        // What a subnet names may be reached whatever led there, as by its address alone.
        assert!(world.gateway.admits(&world.peer(&["evil.test"], port)));
        assert!(world.gateway.admits(&world.peer(&[], port)));
        // By an address alone only where a subnet names it.
        world.change(|c| c.policy.subnets.allow.clear());
        assert!(!world.gateway.admits(&world.peer(&[], port)));
        assert!(!world.gateway.admits(&world.peer(&[HOST], port)), "it is this host");
        let told = world.events(Kind::Tcp);
        assert_eq!(told.len(), 4, "{told:?}");
        // And nothing at all without a policy.
        world.change(|c| c.policy = Policy::default());
        assert!(!world.gateway.admits(&world.peer(&[HOST], port)));
    });
}

#[test]
fn the_host_itself_is_out_of_reach_at_its_public_address_too() {
    run(async {
        let (world, port, seen) = world(vec![look()]).await;
        let mut peer = world.peer(&[HOST], port);
        peer.address.set_ip("192.88.100.7".parse().unwrap());
        assert!(world.gateway.admits(&peer));
        let shared = &world.gateway;
        let (recorder, lookup) = (shared.recorder.clone(), std::rc::Rc::clone(&shared.lookup));
        let mut gateway = super::super::Gateway::new(shared.current.clone(), recorder, lookup);
        gateway.is_own = |address| address.to_string() == "192.88.100.7";
        assert!(!gateway.admits(&peer));
        let told = world.events(Kind::Tcp);
        assert_eq!(told[0].reason.as_deref(), Some("it is an address of the host itself"));
        // A subnet that names it opens it.
        let net = Cidr { address: peer.address.ip(), prefix: 32 };
        world.change(|c| c.policy.subnets.allow.push(net));
        assert!(gateway.admits(&peer));
        assert_eq!(seen.len(), 0);
    });
}

#[test]
fn paths_are_judged_as_they_are_sent() {
    run(async {
        let path = Some(TextMatch::StartsWith("/admin".to_owned()));
        let deny = Rule { when: Match { path, ..Match::default() }, then: Action::Deny };
        let (world, port, seen) = world(vec![deny]).await;
        let mut client = world.http1(HOST, port).await;
        for path in ["/admin", "/%61dmin/x", "/x/../admin", "/ADMIN", "//admin"] {
            let reply = client.send_request(get(HOST, path)).await.unwrap();
            assert_eq!(reply.status(), StatusCode::FORBIDDEN, "{path}");
            client.ready().await.unwrap();
        }
        let reply = client.send_request(get(HOST, "/%61bc")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(seen.line(), "GET /%61bc");
    });
}
