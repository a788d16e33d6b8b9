//! Credentials that the guest uses and never has, and other people's that it may not use.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::{Group, cases};
use crate::{
    guest::{As, Guest, policy_file},
    hood::Hood,
    servers::{GIT_PASSWORD, GIT_USER},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "credentials",
    variables: &[],
    guest: sandbox,
    cases: cases![
        it_is_put_in,
        it_is_put_in_unasked,
        a_live_fork_uses_it_and_loses_it_alone,
        it_is_not_said_back,
        look_alikes_get_nothing,
        other_hosts_get_nothing,
        redirects_take_nothing_along,
        not_in_the_clear,
        foreign_keys_are_taken_out,
        foreign_keys_in_http2,
        a_placeholder_beside_a_foreign_key,
        placeholders_that_are_not_ours,
        a_secret_that_is_gone,
        its_value_is_changed,
        a_source_is_fetched_with_one,
        the_log_holds_neither,
    ],
};

const SECRET: &str = "s3cr3t-of-the-gauntlet-c0ffee";

const POLICY: &[&str] = &[
    "--secret",
    "GAUNTLET_KEY@key.test",
    "--allow",
    "also.test,good.test,*.key.test,redirect.test",
];

fn set(hood: &Hood, value: &str) {
    let ran = hood.run_with_input(&["secret", "set", "GAUNTLET_KEY"], value.as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn sandbox(hood: &Hood) -> Guest<'_> {
    set(hood, SECRET);
    Guest::new(hood, POLICY)
}

/// A request as `curl` sends it, with the variable that the guest was given; gives what its server
/// heard.
#[track_caller]
fn with_variable(t: &mut Trial<'_>, url: &str) -> Value {
    heard_of(t, &format!("curl -sS -m 10 -H \"Authorization: Bearer $GAUNTLET_KEY\" '{url}'"))
}

/// Runs what has to succeed and sends one request, and gives what its server heard.
#[track_caller]
fn heard_of(t: &mut Trial<'_>, script: &str) -> Value {
    let mark = t.world.mark();
    let said = t.lawful_with(script);
    assert!(!said.contains(SECRET), "the guest was told: {said}");
    let seen = t.world.since(mark);
    let heard = seen.heard();
    assert_eq!(heard.len(), 1, "{script}: {said}: {heard:?}");
    heard[0].clone()
}

#[track_caller]
fn values<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let pairs = seen["headers"].as_array().unwrap().iter();
    pairs
        .filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name))
        .map(|pair| pair[1].as_str().unwrap())
        .collect()
}

fn it_is_put_in(t: &mut Trial<'_>) {
    let variable = t.lawful_with("echo -n \"$GAUNTLET_KEY\"");
    assert!(variable.starts_with("FUMEHOOD_SECRET_") && !variable.contains(SECRET), "{variable}");
    let seen = with_variable(t, "https://key.test/echo");
    assert_eq!(values(&seen, "authorization"), [format!("Bearer {SECRET}")]);
    let said = t.lawful_with(&format!(
        "curl -sS -m 10 -o /dev/null -w '%{{http_code}}' --http1.1 \
         -H \"Authorization: Bearer $GAUNTLET_KEY\" 'https://key.test/ticket?expect={SECRET}'"
    ));
    assert_eq!(said, "200");
    t.guest.told(0, "the name of what was used", |event| {
        event.0["credentials"].to_string().contains("GAUNTLET_KEY")
    });
    // Whoever sends it as a password sends it in base64.
    let seen = heard_of(t, "curl -sS -m 10 -u \"somebody:$GAUNTLET_KEY\" https://key.test/echo");
    // somebody:s3cr3t-of-the-gauntlet-c0ffee
    let basic = "Basic c29tZWJvZHk6czNjcjN0LW9mLXRoZS1nYXVudGxldC1jMGZmZWU=";
    assert_eq!(values(&seen, "authorization"), [basic]);
}

/// The guest need not know that there is a key.
fn it_is_put_in_unasked(t: &mut Trial<'_>) {
    for (place, wanted) in [
        (json!({"header": {}}), format!("Bearer {SECRET}")),
        (json!({"header": {"name": "x-api-key"}}), SECRET.to_owned()),
        (json!({"basic": {"user": "somebody"}}), "Basic c29tZWJvZHk6".to_owned()),
        (json!({"query": {"name": "key"}}), format!("key={SECRET}")),
    ] {
        let mut credential = place;
        credential["secret"] = json!("GAUNTLET_KEY");
        let policy = json!({"allow": {"key.test": [{"credential": credential}]}});
        let file = policy_file(t.guest.hood, "unasked", &policy);
        t.guest.set_policy(&["--policy", &file]);
        for version in ["--http1.1", "--http2"] {
            let seen = heard_of(
                t,
                &format!(
                    "curl -sS -m 10 {version} -H 'Authorization: Bearer attackers-key' \
                     -H 'X-Api-Key: attackers-key' 'https://key.test/echo?a=b&key=attackers-key'"
                ),
            );
            let text = seen.to_string();
            assert!(text.contains(&wanted) && !text.contains("attackers-key"), "{text}");
        }
    }
    t.guest.set_policy(POLICY);
}

/// The placeholder that a live fork has in its memory works at its own gateway, and is taken away there
/// alone.
fn a_live_fork_uses_it_and_loses_it_alone(t: &mut Trial<'_>) {
    let hood = t.guest.hood;
    let child = hood.ok(&["fork", &t.guest.name]);
    let ask = "curl -sS -m 10 -H \"Authorization: Bearer $GAUNTLET_KEY\" https://key.test/echo";
    let mark = t.world.mark();
    let ran = hood.run(&["exec", &child, "--", "bash", "-c", ask]);
    assert!(ran.code == Some(0) && !ran.stdout.contains(SECRET), "{ran:?}");
    let seen = t.world.since(mark);
    assert_eq!(values(seen.heard()[0], "authorization"), [format!("Bearer {SECRET}")]);
    hood.ok(&["policy", "set", &child, "--allow", "key.test"]);
    let mark = t.world.mark();
    hood.run(&["exec", &child, "--", "bash", "-c", ask]);
    let seen = t.world.since(mark);
    assert!(seen.heard().iter().all(|one| !one.to_string().contains(SECRET)), "{seen:?}");
    let seen = with_variable(t, "https://key.test/echo");
    assert_eq!(values(&seen, "authorization"), [format!("Bearer {SECRET}")]);
    hood.ok(&["rm", "-f", &child]);
}

/// A server that repeats what it was sent tells the guest nothing, as long as it is no accomplice.
fn it_is_not_said_back(t: &mut Trial<'_>) {
    let said = t.lawful_with(
        "for v in --http1.1 --http2; do \
           curl -sS -m 10 $v -H \"Authorization: Bearer $GAUNTLET_KEY\" https://key.test/echo; done",
    );
    assert!(said.contains("Bearer") && !said.contains(SECRET), "{said}");
    // Replies of a pinned domain are searched for all secrets; this one is searched for what was put in.
    let credential = json!({"secret": "GAUNTLET_KEY", "header": {}});
    let policy = json!({"allow": {"key.test": [{"credential": credential, "pin": false}]}});
    let file = policy_file(t.guest.hood, "unpinned", &policy);
    t.guest.set_policy(&["--policy", &file]);
    let said = t.lawful_with("curl -sS -m 10 https://key.test/echo");
    assert!(said.contains("Bearer **") && !said.contains(SECRET), "{said}");
    t.guest.set_policy(POLICY);
}

/// `x.key.test` may be reached; it is not `key.test`.
fn look_alikes_get_nothing(t: &mut Trial<'_>) {
    for host in ["x.key.test", "api.key.test"] {
        let seen = with_variable(t, &format!("https://{host}/echo"));
        assert!(!seen.to_string().contains(SECRET), "{seen}");
    }
    t.attack(&json!([
        {"do": "get", "host": "x.key.test", "authority": "key.test", "tls": false},
        {"do": "tls", "host": "x.key.test", "sni": "key.test"},
        {"do": "get", "host": "key.test", "authority": "x.key.test"},
        {"do": "http2", "host": "key.test", "requests": [{"authority": "x.key.test"}]},
    ]))
    .told_as("a denial", |event| event.text("decision") == "deny")
    .unheard();
}

/// Where nobody looks inside, the placeholder is all that goes; elsewhere not even that.
fn other_hosts_get_nothing(t: &mut Trial<'_>) {
    for url in ["https://also.test/echo", "https://good.test:443/echo"] {
        let seen = with_variable(t, url);
        let sent = values(&seen, "authorization").concat();
        assert!(sent.contains("FUMEHOOD_SECRET_") && !sent.contains(SECRET), "{seen}");
    }
    t.attack_with(
        "curl -sS -m 10 -f -o /dev/null -H \"X-Key: $GAUNTLET_KEY\" http://also.test/echo",
    )
    .told_of("http", "placeholder", &["also.test"])
    .unheard();
}

/// curl takes the header along to any host that a redirect names when it is told to trust it.
fn redirects_take_nothing_along(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    t.lawful_with(
        "curl -sS -m 10 -L --location-trusted -o /dev/null -H \"Authorization: Bearer $GAUNTLET_KEY\" \
         'https://key.test/redirect?to=https://also.test/echo'",
    );
    let seen = t.world.since(mark);
    let also: Vec<_> =
        seen.heard().into_iter().filter(|one| one["server"] == "203.0.113.11").collect();
    assert_eq!(also.len(), 1);
    assert!(!also[0].to_string().contains(SECRET), "{also:?}");
    let key: Vec<_> =
        seen.heard().into_iter().filter(|one| one["server"] == "203.0.113.30").collect();
    assert!(key[0].to_string().contains(SECRET), "{key:?}");
}

/// Anybody on the way could read it.
fn not_in_the_clear(t: &mut Trial<'_>) {
    t.attack_with(
        "curl -sS -m 10 -f -o /dev/null -H \"Authorization: Bearer $GAUNTLET_KEY\" \
         http://key.test/echo",
    )
    .told_of("http", "without TLS", &["key.test"])
    .unheard();
    with_variable(t, "https://key.test/echo");
}

/// An account of the attacker's at the very service that is allowed is a way out.
fn foreign_keys_are_taken_out(t: &mut Trial<'_>) {
    let keys = [
        vec![["Authorization", "Bearer attackers-key"]],
        vec![["authorization", "Basic YTphdHRhY2tlcnMta2V5"]],
        vec![["Authorization", "Bearer attackers-key"], ["Authorization", "Bearer attackers-key"]],
        vec![["X-Api-Key", "attackers-key"]],
        vec![["x-API-key", "attackers-key"]],
        vec![["Cookie", "session=attackers-key"]],
        vec![["Proxy-Authorization", "Bearer attackers-key"]],
        vec![["X-Auth-Token", "attackers-key"]],
        vec![["X-Goog-Api-Key", "attackers-key"]],
        vec![["Api-Key", "attackers-key"]],
        vec![["Private-Token", "attackers-key"]],
        vec![["X-Amz-Security-Token", "attackers-key"]],
    ];
    let queries = [
        "access_token=attackers-key",
        "a=b&api_key=attackers-key",
        "key=attackers-key",
        "%61ccess_token=attackers-key",
        "X-Amz-Signature=attackers-key",
        "token=attackers-key",
        "sig=attackers-key",
    ];
    let asked: Vec<_> = keys
        .iter()
        .map(|headers| json!({"do": "get", "host": "key.test", "headers": headers}))
        .chain(queries.iter().map(
            |query| json!({"do": "get", "host": "key.test", "path": format!("/echo?{query}")}),
        ))
        .collect();
    let mark = t.world.mark();
    t.guest.probe(As::User, &json!(asked));
    let seen = t.world.since(mark);
    for one in seen.heard() {
        let text = one.to_string();
        assert!(
            !text.contains("attackers-key") && !text.contains("YTphdHRhY2tlcnMta2V5"),
            "{text}"
        );
    }
    let lawful = t.lawful(
        &json!({"do": "get", "host": "also.test", "headers": [["X-Api-Key", "my-own-key"]]}),
    );
    assert!(
        lawful[0]["body"].as_str().unwrap().contains("my-own-key"),
        "other hosts are not pinned"
    );
    with_variable(t, "https://key.test/echo?page=2");
}

fn foreign_keys_in_http2(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    t.guest.probe(As::User, &json!({"do": "http2", "host": "key.test", "requests": [
        {"headers": [["authorization", "Bearer attackers-key"]]},
        {"headers": [["cookie", "a=attackers-key"], ["cookie", "b=attackers-key"]]},
        {"headers": [["x-api-key", "attackers-key"]], "path": "/echo?access_token=attackers-key"},
    ]}));
    for one in t.world.since(mark).heard() {
        assert!(!one.to_string().contains("attackers-key"), "{one}");
    }
    with_variable(t, "https://key.test/echo");
}

/// Ours in one header must not carry theirs in another.
fn a_placeholder_beside_a_foreign_key(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    let script = "curl -sS -m 10 -H \"Authorization: Bearer $GAUNTLET_KEY\" -H 'x-api-key: attackers-key' \
        -H 'Cookie: a=attackers-key' 'https://key.test/echo?api_key=attackers-key'; \
        curl -sS -m 10 -H \"Authorization: Bearer attackers-key $GAUNTLET_KEY\" https://key.test/echo; \
        curl -sS -m 10 -H 'Authorization: Bearer attackers-key' -H \"Authorization: Bearer $GAUNTLET_KEY\" \
            https://key.test/echo";
    t.guest.sh(script);
    for one in t.world.since(mark).heard() {
        let text = one.to_string();
        assert!(!text.contains("attackers-key"), "{text}");
    }
    with_variable(t, "https://key.test/echo");
}

fn placeholders_that_are_not_ours(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    t.guest.sh("curl -sS -m 10 -H 'X-Note: FUMEHOOD_SECRET_GAUNTLET_KEY' https://key.test/echo; \
         curl -sS -m 10 -H \"X-Note: ${GAUNTLET_KEY%?}\" https://key.test/echo; \
         curl -sS -m 10 -d \"$GAUNTLET_KEY\" https://key.test/echo; \
         curl -sS -m 10 \"https://key.test/echo/$GAUNTLET_KEY\"");
    for one in t.world.since(mark).heard() {
        assert!(!one.to_string().contains(SECRET), "{one}");
    }
    with_variable(t, "https://key.test/echo");
}

/// Closed, and not open without the credential.
fn a_secret_that_is_gone(t: &mut Trial<'_>) {
    t.guest.hood.ok(&["secret", "rm", "GAUNTLET_KEY"]);
    let refused = t
        .attack(&json!({"do": "get", "host": "key.test"}))
        .told_as("what is missing", |event| event.text("reason").contains("GAUNTLET_KEY"));
    refused.unheard();
    set(t.guest.hood, SECRET);
    with_variable(t, "https://key.test/echo");
}

fn its_value_is_changed(t: &mut Trial<'_>) {
    set(t.guest.hood, "another-value-0f-it");
    let seen = with_variable(t, "https://key.test/echo");
    assert_eq!(values(&seen, "authorization"), ["Bearer another-value-0f-it"]);
    set(t.guest.hood, SECRET);
}

/// Of all that was tried here, the log has names, and neither values nor queries nor headers.
fn the_log_holds_neither(t: &mut Trial<'_>) {
    with_variable(t, "https://key.test/echo?query-of-the-guest");
    for event in t.guest.audit() {
        let text = event.0.to_string();
        for value in [SECRET, "attackers-key", "another-value-0f-it", "query-of-the-guest"] {
            assert!(!text.contains(value), "{text}");
        }
    }
}

/// The password of a repository is used for that repository, while it is fetched, and is nowhere in
/// the guest.
fn a_source_is_fetched_with_one(t: &mut Trial<'_>) {
    let create = |path: &str, password: &str| {
        let source = json!({"type": "git", "url": format!("https://git.test/{path}"), "depth": 1,
            "username": GIT_USER, "password": password});
        let body = json!({"name": "sourced", "source": source, "runtime": "node24",
            "networkPolicy": {"allow": ["git.test"]}});
        let socket = t.guest.hood.state().join("api.sock");
        let curl = Command::new("curl")
            .args(["-sS", "-m", "300", "--unix-socket", socket.to_str().unwrap(), "-d"])
            .args([&body.to_string(), "http://localhost/v3/sandboxes"])
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&curl.stdout).unwrap()
    };
    let refused = create("private/repo.git", "another");
    assert_eq!(refused["error"]["code"], "source_failed", "{refused}");
    assert!(!refused.to_string().contains("another"), "{refused}");

    let made = create("private/repo.git", GIT_PASSWORD);
    assert!(made["sandbox"].is_object(), "{made}");
    let guest = Guest { hood: t.guest.hood, name: "sourced".to_owned() };
    assert_eq!(guest.sh_ok("cat file; git status -sb"), "hello\n## main...origin/main\n");
    let basic = BASE64_STANDARD.encode(format!("{GIT_USER}:{GIT_PASSWORD}"));
    let found = guest.sh(&format!(
        "env | grep -e {GIT_PASSWORD} -e {basic}; sudo grep -rlFs -e {GIT_PASSWORD} -e {basic} \
         /vercel/sandbox /home /root /tmp /etc /var /run | grep -v '^/run/'; true"
    ));
    assert_eq!(found.stdout, "", "the guest has it");
    let again = guest.sh("GIT_TERMINAL_PROMPT=0 git ls-remote -q origin");
    assert_ne!(again.code, Some(0), "it is still put in: {again:?}");
    assert!(!format!("{:?}", guest.audit()).contains(GIT_PASSWORD));
    guest.sh_ok("git ls-remote -q https://git.test/repo.git >/dev/null");
    t.guest.hood.ok(&["rm", "-f", "sourced"]);
    t.passed();
}
