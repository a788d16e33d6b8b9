//! An address that is allowed by itself, once names have led to it.

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::*, origin::*, world::*};
use crate::{
    event::Kind,
    policy::{Action, Domain, Policy, Reach},
};

const HOST: &str = "api.example.test";

fn web(name: &str, rules: Vec<crate::policy::Rule>) -> Domain {
    Domain { port: None, ..domain(name, 0, rules) }
}

fn public(domains: Vec<Domain>) -> Policy {
    Policy { reach: Reach::Public, domains, ..Policy::default() }
}

/// How a connection goes on whose hello says this name, or none: `spliced NAME`, `opened NAME`, or why not.
fn hello(policy: &Policy, names: &[&str], address: &str, said: Option<&str>) -> String {
    let world = World::new(policy.clone(), &TestCa::new().root);
    let mut peer = world.peer(names, 443);
    peer.address.set_ip(address.parse().unwrap());
    let active = world.gateway.active().unwrap();
    let planned = match plan(&world.gateway, &active, &peer) {
        Ok(Plan::Raw { host, .. }) => return format!("raw {}", named(host.as_ref())),
        Ok(Plan::Inspect(candidates)) => candidates,
        Err(denial) => return denial.to_string(),
    };
    let server_name = said.map(|name| Host::parse(name).unwrap());
    let encrypted = super::super::super::client_hello::Encrypted::No;
    let hello = ClientHello { server_name, encrypted, protocols: vec![] };
    match judge_hello(&active, &hello, &peer, planned) {
        Ok(Passage::Spliced(Spliced { host, .. })) => format!("spliced {}", named(host.as_ref())),
        Ok(Passage::Opened { host, .. }) => format!("opened {host}"),
        Err(denial) => denial.to_string(),
    }
}

fn named(host: Option<&Host>) -> String {
    host.map_or_else(|| "-".to_owned(), Host::to_string)
}

#[test]
fn a_hello_is_judged_by_its_name_or_by_an_address_that_is_allowed_by_itself() {
    let subnet = policy(vec![web("a.test", vec![]), web("ruled.test", vec![look()])]);
    let strict = Policy { strict: true, ..subnet.clone() };
    let denied = web("denied.test", vec![rule(Action::Deny)]);
    let all = public(vec![web("ruled.test", vec![look()]), denied.clone()]);
    let closed =
        Policy { domains: [subnet.domains.clone(), vec![denied]].concat(), ..policy(vec![]) };
    let listed = Policy { subnets: Default::default(), ..subnet.clone() };
    const NO_NAME: &str = "a TLS connection must say which host it is for (SNI)";
    let local = "127.0.0.1";
    let far = "192.88.100.7";
    run(async {
        for (policy, names, address, said, goes) in [
            // What a subnet names.
            (&subnet, &[][..], local, None, "raw -"),
            (&subnet, &["a.test"], local, None, "spliced -"),
            (&subnet, &["a.test"], local, Some("a.test"), "spliced a.test"),
            (&subnet, &["a.test"], local, Some("unknown.test"), "spliced -"),
            (&subnet, &["a.test"], local, Some("ruled.test"), "opened ruled.test"),
            (&closed, &["a.test"], local, Some("denied.test"), "a rule denies it"),
            (&subnet, &["a.test", "ruled.test"], local, None, NO_NAME),
            (&subnet, &["a.test", "ruled.test"], local, Some("a.test"), "spliced a.test"),
            (&subnet, &["ruled.test"], local, Some("unknown.test"), "no rule allows unknown.test"),
            (&strict, &[], local, None, NO_NAME),
            (&strict, &["a.test"], local, None, NO_NAME),
            (&strict, &["a.test"], local, Some("a.test"), "opened a.test"),
            // What is public, where all of it is allowed.
            (&all, &[], far, None, "spliced -"),
            (&all, &["a.test"], far, None, "spliced -"),
            (&all, &["a.test"], far, Some("b.test"), "spliced b.test"),
            (&all, &["a.test"], far, Some("ruled.test"), "opened ruled.test"),
            (&all, &["a.test"], far, Some("denied.test"), "a rule denies it"),
            (&all, &["a.test", "ruled.test"], far, None, NO_NAME),
            (&all, &["denied.test"], far, None, NO_NAME),
            // What no word of the policy allows but a name's.
            (&listed, &["a.test"], far, None, NO_NAME),
            (
                &listed,
                &["a.test"],
                far,
                Some("ruled.test"),
                "ruled.test is not a name that this address was given out for",
            ),
            (&listed, &[], far, None, "the address was never given out for a name that is allowed"),
        ] {
            assert_eq!(hello(policy, names, address, said), goes, "{names:?} {address} {said:?}");
        }
    });
}

#[test]
fn a_request_may_be_for_the_address_whatever_names_lead_there() {
    run(async {
        let ca = TestCa::new();
        let seen = Seen::default();
        let port = http(echo(&seen)).await;
        let deny = domain("ruled.test", port, vec![rule(Action::Deny), look()]);
        let ruled = domain(HOST, port, vec![look()]);
        let world = World::new(policy(vec![domain("a.test", port, vec![]), ruled, deny]), &ca.root);
        let status = async |names: &[&str], host: &str| {
            let mut client = speak1(world.open(world.peer(names, port)).0).await;
            client.send_request(get(host, "/")).await.unwrap().status()
        };
        let own = format!("127.0.0.1:{port}");
        assert_eq!(status(&[HOST], &own).await, StatusCode::OK);
        assert_eq!(status(&[HOST], HOST).await, StatusCode::OK);
        assert_eq!(status(&["ruled.test", HOST], &own).await, StatusCode::OK);
        assert_eq!(
            status(&["ruled.test", HOST], "ruled.test").await,
            StatusCode::MISDIRECTED_REQUEST
        );
        assert_eq!(status(&[HOST], "127.0.0.2").await, StatusCode::MISDIRECTED_REQUEST);
        let told = world.told(Kind::Http, 5).await;
        assert_eq!(told[0].rule, "subnets.allow 127.0.0.0/8");
        assert_eq!(told[0].host.as_deref(), Some("127.0.0.1"));
        assert_eq!(seen.len(), 3);
        // Not where only the name opens it.
        let listed = Policy { subnets: Default::default(), ..policy(vec![web("a.test", vec![])]) };
        let world = World::new(listed, &ca.root);
        let mut peer = world.peer(&["a.test"], 80);
        peer.address.set_ip("192.88.100.7".parse().unwrap());
        let (mut client, _carrying) = world.open(peer);
        client.write_all(b"GET / HTTP/1.1\r\nHost: 192.88.100.7\r\n\r\n").await.unwrap();
        let mut reply = [0; 12];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"HTTP/1.1 421");
    });
}

#[test]
fn bytes_that_say_no_name_are_told_of_with_none_where_several_lead_there() {
    run(async {
        let ca = TestCa::new();
        let (listener, port) = listen().await;
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(b"220 ready\r\n").await.unwrap();
            }
        });
        let raw = |name: &str| domain(name, port, vec![]);
        let world = World::new(policy(vec![raw("a.test"), raw("b.test")]), &ca.root);
        for names in [&["a.test", "b.test"][..], &["b.test"], &[]] {
            let (mut client, carrying) = world.open(world.peer(names, port));
            let mut all = Vec::new();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, b"220 ready\r\n");
            carrying.await.unwrap();
        }
        let told = world.told(Kind::Tcp, 3).await;
        let told: Vec<_> = told.iter().map(|event| (event.host.as_deref(), &*event.rule)).collect();
        let [a, b] = ["a.test", "b.test"].map(|name| format!("{name}:{port}"));
        let both = format!("{a}, {b}");
        let subnet = "subnets.allow 127.0.0.0/8";
        assert_eq!(told, [(None, &*both), (Some("b.test"), &*b), (None, subnet)]);
    });
}

#[test]
fn what_passes_by_its_address_is_cut_when_that_may_not_be_any_more() {
    run(async {
        let ca = TestCa::new();
        let (listener, port) = listen().await;
        let world = World::new(policy(vec![]), &ca.root);
        let (mut client, carrying) = world.open(world.peer(&["a.test"], port));
        let (_stream, _) = listener.accept().await.unwrap();
        // Nothing that concerns it.
        world.change(|c| c.policy.domains.push(web("b.test", vec![look()])));
        client.write_all(b"x").await.unwrap();
        assert!(!carrying.is_finished());
        // A name that leads there has rules now.
        world.change(|c| c.policy.domains.push(domain("a.test", port, vec![look()])));
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        carrying.await.unwrap();
    });
}
