//! Too much of everything: what is bounded stays bounded, and lawful use passes beside it.

use serde_json::{Value, json};

use super::{Group, cases, streams::resident};
use crate::{
    guest::{As, Guest},
    hood::wait_until,
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "flood",
    variables: &[],
    guest: |hood| {
        Guest::new(hood, &["--strict", "--allow", "good.test,front.test,also.test,raw.test:9000"])
    },
    cases: cases![
        a_thousand_connections,
        first_segments_alone,
        slow_requests,
        streams_given_up,
        frames_without_end,
        a_table_that_grows,
        replies_without_end,
        the_log_is_not_washed_out,
    ],
};

/// What the gateway may have at most, whatever a guest does.
const GATEWAY_BYTES_MAX: u64 = 192 << 20;

/// The gateway is the same process, of bounded size, and serves.
#[track_caller]
fn still_well(t: &mut Trial<'_>, before: Option<i32>) {
    assert!(before.is_some());
    assert_eq!(t.guest.gateway(), before, "it is the same process");
    let bytes = resident(before.unwrap());
    assert!(bytes < GATEWAY_BYTES_MAX, "the gateway has {} MiB", bytes >> 20);
    wait_until("lawful use passes", || {
        t.guest.probe(As::User, &json!({"do": "get", "host": "good.test"}))[0]["status"] == 200
    });
    t.lawful(&json!({"do": "get", "host": "front.test"}));
}

fn flood(t: &Trial<'_>, who: As, asked: &Value) -> Value {
    let ran = t.guest.exec(who, &["python3", "/tmp/gauntlet/floods.py", &asked.to_string()]);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|fault| panic!("{fault}: {ran:?}"))
}

fn a_thousand_connections(t: &mut Trial<'_>) {
    let before = t.guest.gateway();
    let tried = t
        .attempt(
            As::User,
            &json!({"do": "many", "host": "raw.test", "port": 9000, "count": 1000, "say": "x"}),
        )
        .untold("they may be let through, as far as there is room");
    let ends = &tried.outcomes[0]["ends"];
    assert!(ends.get("timeout").is_none(), "{ends}");
    assert!(ends["ok"].as_u64().unwrap() >= 100, "{ends}");
    drop(tried.seen());
    still_well(t, before);
}

fn first_segments_alone(t: &mut Trial<'_>) {
    t.lawful(&json!({"do": "dns", "name": "good.test"}));
    let before = t.guest.gateway();
    for host in ["203.0.113.10", "203.0.113.66", "198.18.0.1"] {
        flood(t, As::Root, &json!({"do": "syns", "host": host, "count": 5000}));
    }
    still_well(t, before);
}

/// Requests that never end hold their own connection and nothing else.
fn slow_requests(t: &mut Trial<'_>) {
    let before = t.guest.gateway();
    let mut holding = t.guest.talk(&[
        "python3",
        "-c",
        "import sys; sys.path.insert(0, '/tmp/gauntlet'); import words; \
         print('1', flush=True); print(words.slow_loris('good.test', 80, 200, 6)['opened'], flush=True)",
    ]);
    assert_eq!(holding.hear(), 1);
    let mark = t.world.mark();
    t.lawful(&json!([{"do": "get", "host": "good.test"}, {"do": "get", "host": "good.test", "tls": false}]));
    let heard = t.world.since(mark);
    assert!(heard.heard().iter().all(|one| one["target"] != "/loris"), "{heard:?}");
    assert!(holding.hear().as_u64().unwrap() > 0);
    still_well(t, before);
}

fn streams_given_up(t: &mut Trial<'_>) {
    let before = t.guest.gateway();
    let told =
        flood(t, As::User, &json!({"do": "rapid_reset", "host": "good.test", "count": 20000}));
    assert_ne!(told["end"], "error", "{told}");
    still_well(t, before);
}

fn frames_without_end(t: &mut Trial<'_>) {
    let before = t.guest.gateway();
    for kind in ["continuations", "settings", "pings", "empty_data"] {
        let told = flood(t, As::User, &json!({"do": kind, "host": "good.test", "count": 50000}));
        if kind == "continuations" {
            assert_ne!(told["end"], "ok", "a head has an end: {told}");
        }
    }
    still_well(t, before);
}

fn a_table_that_grows(t: &mut Trial<'_>) {
    let before = t.guest.gateway();
    flood(t, As::User, &json!({"do": "header_bomb", "host": "good.test", "count": 50}));
    still_well(t, before);
}

/// The server may be the guest's friend.
fn replies_without_end(t: &mut Trial<'_>) {
    let before = t.guest.gateway();
    for kind in ["head", "line", "hints", "chunk"] {
        let script = format!(
            "curl -sS -m 5 --http1.1 -o /dev/null http://good.test/endless-{kind}; \
             curl -sS -m 5 -o /dev/null -H 'Connection: close' --http1.1 https://good.test/endless-{kind}"
        );
        t.guest.sh(&script);
        assert!(resident(before.unwrap()) < GATEWAY_BYTES_MAX, "{kind}");
    }
    still_well(t, before);
}

/// What was done first is still told after thousands of denials. Each of another name is a line, so
/// whoever goes on for long does wash it out: the newest half of the log is what is kept.
fn the_log_is_not_washed_out(t: &mut Trial<'_>) {
    t.attack(&json!({"do": "dns", "name": "the-first-thing.evil.test"}))
        .told_of("dns", "no rule allows", &["the-first-thing.evil.test"])
        .unseen();
    let flooded = json!({"do": "dns_flood", "zone": "washed.evil.test", "count": 3000});
    t.guest.probe(As::User, &flooded);
    let events = t.guest.audit();
    assert!(events.iter().any(|event| event.text("host") == "the-first-thing.evil.test"));
    t.lawful(&json!({"do": "get", "host": "good.test"}));
}
