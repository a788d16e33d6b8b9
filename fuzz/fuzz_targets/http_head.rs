//! Whatever a guest sends inside an opened connection, no request reaches the host that the policy
//! denies, that is for another host, or that says who else sends it; and the connection ends.

#![no_main]

use std::collections::BTreeSet;

use egress::{
    gateway::trial::{Trial, Version},
    host::Host,
    policy::{
        Action, Credential, Domain, Edits, Head, HostPattern, Match, Pin, Place, Policy, Rule,
        Ruling, TextMatch,
    },
    secret::{SecretName, SecretText},
};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "the-secret-of-the-host";

struct Fixed {
    trial: Trial,
    policy: Policy,
    host: Host,
}

thread_local! {
    static FIXED: Fixed = fixed();
}

fn fixed() -> Fixed {
    let host = Host::parse("a.test").expect("it is a name");
    let key = SecretName::parse("KEY").expect("it is a name");
    let deny = |when| Rule { when, then: Action::Deny };
    let methods = |method: &str| Match { methods: vec![method.to_owned()], ..Match::default() };
    let path = Some(TextMatch::StartsWith("/admin".to_owned()));
    let place = Place::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() };
    let edits = Edits {
        credentials: vec![Credential { secret: key.clone(), place }],
        pin: Pin::On { headers: BTreeSet::new(), query: BTreeSet::new() },
        ..Edits::default()
    };
    let send = Rule { when: Match::default(), then: Action::Send(edits) };
    let rules = vec![deny(methods("PUT")), deny(Match { path, ..Match::default() }), send];
    let pattern = HostPattern::Exact(host.clone());
    let domains = vec![Domain { pattern, port: None, rules, preset: None }];
    let policy = Policy { domains, ..Policy::default() };
    let secrets = vec![(key, SecretText::new(SECRET.to_owned()))];
    let trial = Trial::new(policy.clone(), secrets, host.clone()).expect("it is set up");
    Fixed { trial, policy, host }
}

fuzz_target!(|input: (bool, &[u8])| {
    let (http2, bytes) = input;
    let version = if http2 { Version::Http2 } else { Version::Http1 };
    FIXED.with(|fixed| {
        for request in fixed.trial.run(bytes, version).expect("the connection ends") {
            let headers = request.headers();
            let head = Head {
                method: request.method().as_str(),
                path: request.uri().path(),
                query: request.uri().query(),
                headers,
            };
            let ruling = fixed.policy.request(&fixed.host, 443, &head);
            assert!(matches!(ruling, Ok(Ruling::Send { .. })), "{request:?}");
            let named = request.uri().authority().map(|authority| authority.host().to_owned());
            let host =
                headers.get("host").map(|host| host.to_str().expect("it is a name").to_owned());
            let said = named.or(host).expect("it names its host").to_ascii_lowercase();
            assert!(said == "a.test" || said == "a.test:443", "{said}");
            let ours = format!("Bearer {SECRET}");
            assert_eq!(headers.get("authorization").expect("it is ours"), ours.as_str());
            assert_eq!(headers.get_all("authorization").iter().count(), 1);
            assert!(!headers.contains_key("cookie") && !headers.contains_key("x-api-key"));
        }
    });
});
