//! What sandboxes use: processors, network and time, of each session and of all together.

use serde_json::Value;

use crate::{
    gateway::Web,
    hood::{Hood, wait_until},
};

fn sandbox(hood: &Hood, name: &str) -> Value {
    let path = format!("/v2/sandboxes/{name}");
    hood.api("GET", &path, &Value::Null).1
}

fn cpu_ms(of: &Value) -> u64 {
    of["session"]["activeCpuDurationMs"].as_u64().unwrap()
}

/// The same of a sandbox and of its sessions together.
#[track_caller]
fn assert_adds_up(hood: &Hood, name: &str) -> Value {
    let total = sandbox(hood, name)["sandbox"].clone();
    let path = format!("/v2/sandboxes/sessions?name={name}");
    let sessions = hood.api("GET", &path, &Value::Null).1["sessions"].clone();
    let sum = |of: &dyn Fn(&Value) -> &Value| -> u64 {
        sessions.as_array().unwrap().iter().map(|one| of(one).as_u64().unwrap()).sum()
    };
    for (of, sum) in [
        ("totalActiveCpuDurationMs", sum(&|one| &one["activeCpuDurationMs"])),
        ("totalDurationMs", sum(&|one| &one["duration"])),
        ("totalIngressBytes", sum(&|one| &one["networkTransfer"]["ingress"])),
        ("totalEgressBytes", sum(&|one| &one["networkTransfer"]["egress"])),
    ] {
        assert!(total[of] == sum && 0 < sum, "{of}: {total} {sessions}");
    }
    total
}

#[test]
fn what_is_used_is_known_and_adds_up() {
    let hood = Hood::new();
    let web = Web::start();
    hood.create(&["--name", "box", &web.option()]);
    assert_eq!(web.ask(&hood, "box").as_deref(), Some("hello"));
    let busy = "while :; do :; done >/dev/null 2>&1 &";
    let before = cpu_ms(&sandbox(&hood, "box"));
    hood.ok(&["exec", "box", "--", "sh", "-c", busy]);
    wait_until("it is counted", || before + 1000 < cpu_ms(&sandbox(&hood, "box")));

    // Another server goes on counting.
    let before = cpu_ms(&sandbox(&hood, "box"));
    hood.kill_server();
    hood.ok(&["ls"]);
    wait_until("it is counted on", || before < cpu_ms(&sandbox(&hood, "box")));
    hood.ok(&["stop", "box"]);
    let first = cpu_ms(&sandbox(&hood, "box"));
    assert!(before < first, "{before} {first}");
    assert_adds_up(&hood, "box");

    // The next session begins with nothing, and the sandbox goes on.
    hood.ok(&["resume", "box"]);
    let resumed = sandbox(&hood, "box");
    assert!(cpu_ms(&resumed) < first, "{resumed}");
    assert!(first <= resumed["sandbox"]["totalActiveCpuDurationMs"].as_u64().unwrap());
    hood.ok(&["stop", "box"]);
    let stopped = assert_adds_up(&hood, "box");
    hood.kill_server();
    hood.ok(&["ls"]);
    assert_eq!(assert_adds_up(&hood, "box"), stopped);
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}
