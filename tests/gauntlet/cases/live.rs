//! What is open when the policy changes, and what holds while the gateway or the server is gone.

use serde_json::{Value, json};

use super::{Group, cases};
use crate::{
    guest::{As, Guest, Talk, policy_file},
    hood::{kill, wait_until},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "live",
    variables: &[],
    guest: |hood| Guest::new(hood, &["--allow", OPEN]),
    cases: cases![
        an_empty_list_allows_nothing,
        spliced_connections_are_cut,
        plain_connections_are_cut,
        opened_connections_are_cut,
        streams_are_cut,
        a_name_that_is_said_keeps_nothing,
        raw_connections_are_cut,
        a_rule_reaches_open_connections,
        connections_that_may_stay_do,
        a_killed_gateway_is_closed_and_comes_back,
        closed_while_the_server_is_down,
    ],
};

const OPEN: &str = "good.test,live.test,raw.test:9000";
const LESS: &str = "good.test";

/// Asks until it is cut; how many times it was answered does not matter, that it ends does.
#[track_caller]
fn cut(talk: &mut Talk) {
    for _ in 0..50 {
        talk.say("ask");
        let told = talk.hear();
        if told["end"] != "ok" || told["status"].as_u64().is_some_and(|status| status >= 400) {
            return;
        }
    }
    panic!("an old connection is still served");
}

#[track_caller]
fn answered(talk: &mut Talk) {
    talk.say("ask");
    let told = talk.hear();
    assert_eq!(told["end"], "ok", "{told}");
    assert!(told["status"].is_null() || told["status"] == 200, "{told}");
}

#[track_caller]
fn opened(t: &Trial<'_>, asked: &Value) -> Talk {
    let mut talk = t.guest.hold(asked);
    let told = talk.hear();
    assert_eq!(told["end"], "ok", "{asked}: {told}");
    answered(&mut talk);
    answered(&mut talk);
    talk
}

/// With the options before and after; the connection is open over the change.
fn over_a_change(t: &mut Trial<'_>, before: &[&str], after: &[&str], asked: &Value) {
    t.guest.set_policy(before);
    let mut talk = opened(t, asked);
    t.passed();
    let seq = t.guest.last_seq();
    t.guest.set_policy(after);
    let mark = t.world.mark();
    cut(&mut talk);
    t.world.since(mark).no_request();
    t.guest.told(seq, "what was cut", |event| {
        event.text("decision") == "deny" || event.text("reason").contains("policy")
    });
    drop(talk);
    t.attack(&json!({"do": "connect", "host": "live.test", "port": 443, "send": "x"}))
        .told_as("a denial", |event| event.text("decision") == "deny")
        .unseen();
    t.guest.set_policy(&["--allow", OPEN]);
}

fn an_empty_list_allows_nothing(t: &mut Trial<'_>) {
    let empty = policy_file(t.guest.hood, "empty", &json!({"allow": []}));
    let none = policy_file(t.guest.hood, "none", &json!({}));
    let empty_map =
        policy_file(t.guest.hood, "map", &json!({"allow": {}, "subnets": {"deny": []}}));
    for options in [
        vec!["--policy", &empty],
        vec!["--policy", &none],
        vec!["--policy", &empty_map],
        vec!["--deny-all"],
    ] {
        t.guest.set_policy(&options);
        t.attack(&json!([
            {"do": "dns", "name": "good.test"},
            {"do": "connect", "host": "203.0.113.10", "port": 80, "send": "GET / HTTP/1.0\r\n\r\n"},
            {"do": "tls", "host": "203.0.113.10", "sni": "good.test"},
        ]))
        .untold("the first of four is told, and what is alike is counted")
        .unseen();
    }
    t.guest.told(0, "a denial", |event| event.denies("dns", "no rule allows good.test"));
    t.guest.set_policy(&["--allow", OPEN]);
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}

fn spliced_connections_are_cut(t: &mut Trial<'_>) {
    over_a_change(
        t,
        &["--allow", OPEN],
        &["--allow", LESS],
        &json!({"way": "http1", "host": "live.test", "tls": true}),
    );
}

fn plain_connections_are_cut(t: &mut Trial<'_>) {
    over_a_change(
        t,
        &["--allow", OPEN],
        &["--allow", LESS],
        &json!({"way": "http1", "host": "live.test", "tls": false}),
    );
}

fn opened_connections_are_cut(t: &mut Trial<'_>) {
    over_a_change(
        t,
        &["--strict", "--allow", OPEN],
        &["--strict", "--allow", LESS],
        &json!({"way": "http1", "host": "live.test", "tls": true}),
    );
}

/// A request whose body is still on its way.
fn streams_are_cut(t: &mut Trial<'_>) {
    over_a_change(
        t,
        &["--strict", "--allow", OPEN],
        &["--deny-all"],
        &json!({"way": "http2", "host": "live.test", "stream": true}),
    );
    over_a_change(
        t,
        &["--strict", "--allow", OPEN],
        &["--strict", "--allow", LESS],
        &json!({"way": "http2", "host": "live.test"}),
    );
}

/// What was open to anybody does not stay because it says a name that is still allowed.
fn a_name_that_is_said_keeps_nothing(t: &mut Trial<'_>) {
    for tls in [true, false] {
        over_a_change(
            t,
            &["--allow-all"],
            &["--allow", LESS],
            &json!({"way": "http1", "host": "good.test", "address": "evil.test", "tls": tls}),
        );
    }
}

fn raw_connections_are_cut(t: &mut Trial<'_>) {
    t.guest.set_policy(&["--allow", OPEN]);
    let mut talk = opened(t, &json!({"way": "raw", "host": "raw.test", "port": 9000}));
    t.passed();
    t.guest.set_policy(&["--allow", LESS]);
    cut(&mut talk);
    t.guest.set_policy(&["--allow", OPEN]);
}

/// A connection that stays is asked about with each of its requests.
fn a_rule_reaches_open_connections(t: &mut Trial<'_>) {
    let rules = json!({"allow": {"live.test": [{"match": {"path": {"exact": "/echo/never"}}, "action": "deny"}]}});
    let before = policy_file(t.guest.hood, "before", &rules);
    let rules = json!({"allow": {"live.test": [{"match": {"path": {"startsWith": "/echo/held"}}, "action": "deny"}]}});
    let after = policy_file(t.guest.hood, "after", &rules);
    t.guest.set_policy(&["--policy", &before]);
    let mut talk = opened(t, &json!({"way": "http1", "host": "live.test", "path": "/echo/held"}));
    t.passed();
    t.guest.set_policy(&["--policy", &after]);
    let mark = t.world.mark();
    cut(&mut talk);
    t.world.since(mark).no_request();
    t.guest.set_policy(&["--allow", OPEN]);
}

/// A change elsewhere cuts nothing that it does not concern.
fn connections_that_may_stay_do(t: &mut Trial<'_>) {
    let mut spliced = opened(t, &json!({"way": "http1", "host": "good.test"}));
    let mut raw = opened(t, &json!({"way": "raw", "host": "raw.test", "port": 9000}));
    t.guest.set_policy(&["--allow", "good.test,also.test,raw.test:9000"]);
    answered(&mut spliced);
    answered(&mut raw);
    t.guest.set_policy(&["--allow", OPEN]);
    answered(&mut spliced);
    answered(&mut raw);
    t.passed();
}

fn a_killed_gateway_is_closed_and_comes_back(t: &mut Trial<'_>) {
    let marker = t.lawful_with("echo $$ > /tmp/before; cat /proc/sys/kernel/random/boot_id");
    let mut talk = opened(t, &json!({"way": "http1", "host": "good.test"}));
    let before = t.guest.gateway().expect("a gateway runs");
    kill(before, rustix::process::Signal::KILL);
    cut(&mut talk);
    drop(talk);
    wait_until("another gateway runs", || t.guest.gateway().is_some_and(|pid| pid != before));
    wait_until("it lets lawful use pass", || {
        let told = t.guest.probe(As::User, &json!({"do": "get", "host": "good.test"}));
        told[0]["status"] == 200
    });
    t.attack(&json!([
        {"do": "dns", "name": "after-a-kill.evil.test"},
        {"do": "connect", "host": "203.0.113.66", "port": 80, "send": "x"},
    ]))
    .told_of("dns", "no rule allows", &["after-a-kill.evil.test"])
    .seen()
    .no_question_about("evil");
    assert_eq!(t.lawful_with("cat /proc/sys/kernel/random/boot_id"), marker, "the same machine");
    t.guest.told(0, "that it was gone", |event| event.text("kind") == "gateway");
}

/// The gateway goes on by the policy that it has; killed too, nothing passes.
fn closed_while_the_server_is_down(t: &mut Trial<'_>) {
    let script = "for i in $(seq 200); do \
          curl -sS -m 2 -o /dev/null https://evil.test/ && echo evil; \
          curl -sS -m 2 -o /dev/null https://good.test/echo && echo good || echo none; \
          [ -e /tmp/enough ] && break; sleep 0.05; done";
    t.lawful_with("rm -f /tmp/enough");
    let script = format!("({script}) > /tmp/heard 2>/dev/null & disown");
    t.lawful_with(&script);
    let gateway = t.guest.gateway().expect("a gateway runs");
    let mark = t.world.mark();
    let gone = t.guest.hood.servers();
    for pid in &gone {
        kill(*pid, rustix::process::Signal::KILL);
    }
    wait_until("the server is gone", || {
        t.guest.hood.servers().iter().all(|pid| !gone.contains(pid))
    });
    wait_until("lawful use passes without a server", || {
        t.world.since(mark).requests.iter().filter(|one| one["sni"] == "good.test").count() > 2
    });
    assert_eq!(t.guest.gateway(), Some(gateway), "the gateway outlives its server");
    kill(gateway, rustix::process::Signal::KILL);
    wait_until("it is gone", || t.guest.gateway().is_none());
    let mark = t.world.mark();
    // Long enough for several tries of the guest; nothing may pass without a gateway.
    std::thread::sleep(std::time::Duration::from_secs(1));
    t.world.since(mark).nothing();
    // The next command starts another server, which finds the sandbox and gives it a gateway.
    let heard = t.lawful_with("touch /tmp/enough; cat /tmp/heard");
    assert!(heard.contains("good") && !heard.contains("evil"), "{heard}");
    wait_until("lawful use passes again", || {
        let told = t.guest.probe(As::User, &json!({"do": "get", "host": "good.test"}));
        told[0]["status"] == 200
    });
    t.attack(&json!({"do": "dns", "name": "after-all.evil.test"}))
        .told_of("dns", "no rule allows", &["after-all.evil.test"])
        .seen()
        .no_question_about("evil");
}
