//! Secrets reach their host and nobody else, and no other identity does.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hyper::{Request, Response, StatusCode};

use super::{origin::*, world::*};
use crate::{
    event::{Decision, Kind},
    policy::{Action, Edits, HeaderEdit, HostPattern, Pin, Place},
    secret::SecretText,
};

const HOST: &str = "api.example.test";
const SECRET: &str = "sk-0123456789abcdef";
const PLACE: &str = "FUMEHOOD_SECRET_0011aabb";

fn bearer() -> Place {
    Place::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() }
}

async fn world(rule: crate::policy::Rule) -> (World, u16, Seen) {
    let ca = TestCa::new();
    let seen = Seen::default();
    let names = [HOST, "other.example.test", "api.example.test.evil.test"];
    let port = https(ca.server(&names, &["h2", "http/1.1"]), echo(&seen)).await;
    let domains = vec![
        domain(HOST, port, vec![rule]),
        domain("other.example.test", port, vec![look()]),
        domain("*.evil.test", port, vec![look()]),
    ];
    let world = World::new(policy(domains), &ca.root);
    world.secret("KEY", SECRET);
    (world, port, seen)
}

#[test]
fn a_secret_is_put_in_and_other_identities_are_taken_out() {
    run(async {
        let basic = format!("Basic {}", BASE64.encode(format!("me:{SECRET}")));
        for (place, header, value) in [
            (bearer(), "authorization", format!("Bearer {SECRET}")),
            (Place::Basic { user: "me".to_owned() }, "authorization", basic),
            (
                Place::Header { name: "x-api-key".to_owned(), prefix: String::new() },
                "x-api-key",
                SECRET.to_owned(),
            ),
        ] {
            let (world, port, seen) = world(inject("KEY", place)).await;
            let ask = |request: Request<GuestBody>| {
                let (mut parts, body) = request.into_parts();
                for (name, value) in [
                    ("authorization", "Bearer stolen"),
                    ("x-api-key", "stolen"),
                    ("cookie", "session=stolen"),
                    ("private-token", "stolen"),
                    ("x-mine", "kept"),
                ] {
                    parts.headers.append(name, value.parse().unwrap());
                }
                Request::from_parts(parts, body)
            };
            let mut client = world.http1(HOST, port).await;
            let request = ask(get(HOST, "/v1?access_token=stolen&q=kept"));
            let reply = client.send_request(request).await.unwrap();
            assert_eq!(reply.status(), StatusCode::OK);
            assert_eq!(seen.header(header).unwrap(), value);
            assert_eq!(seen.line(), "GET /v1?q=kept");
            let mut client = world.http2(HOST, port).await;
            let request = ask(get2(&format!("{HOST}:{port}"), "/v1?q=kept&key=stolen"));
            client.send_request(request).await.unwrap();
            assert_eq!(seen.header(header).unwrap(), value);
            assert_eq!(seen.header("x-mine").unwrap(), "kept");
            assert!(!seen.ever("stolen"));
            let events = world.told(Kind::Http, 2).await;
            assert!(events.iter().all(|event| event.credentials == ["KEY"]));
            assert!(!world.log().contains(SECRET) && !world.log().contains("stolen"));
        }
    });
}

#[test]
fn a_secret_goes_to_no_other_host() {
    run(async {
        let (world, port, seen) = world(inject("KEY", bearer())).await;
        // Not to a host that looks alike, nor to one that the host leads to.
        for other in ["api.example.test.evil.test", "other.example.test"] {
            let mut client = world.http1(other, port).await;
            let reply = client.send_request(get(other, "/")).await.unwrap();
            assert_eq!(reply.status(), StatusCode::OK);
        }
        assert!(!seen.ever(SECRET));
        // Nor in the clear.
        let plain = http(echo(&seen)).await;
        let ours = domain(HOST, plain, vec![inject("KEY", bearer())]);
        world.change(|c| c.policy.domains.push(ours));
        let (mut client, connection) = hyper::client::conn::http1::handshake(
            hyper_util::rt::TokioIo::new(world.plain(HOST, plain)),
        )
        .await
        .unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        assert!(text(reply).await.contains("https"));
        assert_eq!(seen.len(), 2);
        // Nor to a server that is not the host, whatever the guest thinks of it.
        let liar = TestCa::new();
        let port = https(liar.server(&[HOST], &["http/1.1"]), echo(&seen)).await;
        let ours = domain(HOST, port, vec![inject("KEY", bearer())]);
        world.change(|c| c.policy.domains.push(ours));
        let mut client = world.http1(HOST, port).await;
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_GATEWAY);
        let why = text(reply).await;
        assert!(why.contains("certificate"), "{why}");
        assert_eq!(seen.len(), 2);
        let told = world.events(Kind::Tls);
        assert!(told[0].reason.as_deref().unwrap().contains("certificate"), "{told:?}");
    });
}

#[test]
fn a_placeholder_becomes_the_secret_at_its_host_alone() {
    run(async {
        let rule = inject("KEY", Place::Placeholder(PLACE.to_owned()));
        let (world, port, seen) = world(rule).await;
        let with = |host: &str, value: &str| {
            let request = Request::get("/").header("host", host).header("authorization", value);
            request.body(full("")).unwrap()
        };
        let mut client = world.http1(HOST, port).await;
        client.send_request(with(HOST, &format!("Bearer {PLACE}"))).await.unwrap();
        assert_eq!(seen.header("authorization").unwrap(), format!("Bearer {SECRET}"));
        let mut client = world.http1(HOST, port).await;
        let encoded = BASE64.encode(format!("{PLACE}:x-oauth-basic"));
        client.send_request(with(HOST, &format!("Basic {encoded}"))).await.unwrap();
        let expected = BASE64.encode(format!("{SECRET}:x-oauth-basic"));
        assert_eq!(seen.header("authorization").unwrap(), format!("Basic {expected}"));
        let other = "other.example.test";
        for request in [
            with(other, &format!("Bearer {PLACE}")),
            with(other, &format!("Basic {}", BASE64.encode(format!("x:{PLACE}")))),
            get(other, &format!("/?leak={PLACE}")),
        ] {
            let mut client = world.http1(other, port).await;
            let reply = client.send_request(request).await.unwrap();
            assert_eq!(reply.status(), StatusCode::FORBIDDEN);
            assert!(text(reply).await.contains("placeholder"));
        }
        assert_eq!(seen.len(), 2);
        let events = world.told(Kind::Http, 3).await;
        assert_eq!(events[2].decision, Decision::Deny);
    });
}

#[test]
fn a_secret_that_is_missing_stops_the_request() {
    run(async {
        let (world, port, seen) = world(inject("OTHER", bearer())).await;
        let mut client = world.http1(HOST, port).await;
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        assert!(text(reply).await.contains("missing: OTHER"));
        assert_eq!(seen.len(), 0);
    });
}

#[test]
fn headers_are_set_in_place_of_the_guests() {
    run(async {
        let value = SecretText::new("team-value-1".to_owned());
        let headers = vec![HeaderEdit { name: "x-team".to_owned(), value }];
        let edits = Edits { headers, pin: Pin::Off, ..Edits::default() };
        let (world, port, seen) = world(rule(Action::Send(edits))).await;
        let mut client = world.http1(HOST, port).await;
        let request = Request::get("/").header("host", HOST).header("x-team", "guest's");
        let request = request.header("authorization", "mine").body(full("")).unwrap();
        client.send_request(request).await.unwrap();
        assert_eq!(seen.header("x-team").unwrap(), "team-value-1");
        assert_eq!(seen.header("authorization").unwrap(), "mine", "nothing is pinned");
    });
}

#[test]
fn a_reply_that_repeats_the_secret_is_masked() {
    run(async {
        let handler: std::rc::Rc<Handler> = std::rc::Rc::new(|request| {
            let sent = request.headers()["authorization"].clone();
            Box::pin(async move {
                // In two frames, with the secret across them.
                let text = format!("you said: {} and more", sent.to_str().unwrap());
                let (one, two) = text.split_at(text.len() / 2);
                let (one, two) = (one.to_owned(), two.to_owned());
                let (sender, body) = super::versions::channel();
                tokio::task::spawn_local(async move {
                    drop(sender.send(hyper::body::Frame::data(one.into())).await);
                    drop(sender.send(hyper::body::Frame::data(two.into())).await);
                });
                Response::builder().header("x-echo", sent).body(body).unwrap()
            })
        });
        let ca = TestCa::new();
        let port = https(ca.server(&[HOST], &["http/1.1"]), handler).await;
        let domains = vec![domain(HOST, port, vec![inject("KEY", bearer())])];
        let world = World::new(policy(domains), &ca.root);
        world.secret("KEY", SECRET);
        let mut client = world.http1(HOST, port).await;
        let reply = client.send_request(get(HOST, "/")).await.unwrap();
        let stars = "*".repeat(SECRET.len());
        assert_eq!(reply.headers()["x-echo"], format!("Bearer {stars}"));
        assert_eq!(text(reply).await, format!("you said: Bearer {stars} and more"));
        let events = world.told(Kind::Http, 1).await;
        assert!(events[0].reason.as_deref().unwrap().contains("masked"));
    });
}

#[test]
fn patterns_hold_at_dots() {
    // That a secret's domain is not met by a longer name is the pattern's doing.
    let pattern = HostPattern::parse(HOST).unwrap();
    for other in ["api.example.test.evil.test", "xapi.example.test", "example.test"] {
        assert!(!pattern.matches(&super::super::Host::parse(other).unwrap()));
    }
}
