//! Machines that are ready before anybody asks for them.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::hood::{Hood, kill, wait_until};

fn with_pool(size: &str) -> Hood {
    let mut hood = Hood::new();
    hood.set("FUMEHOOD_POOL", size);
    hood
}

/// Waits until so many machines are parked, of whatever kinds.
pub(crate) fn wait_for_parked(hood: &Hood, count: u64) {
    wait_until("machines are parked", || {
        let pool: Value = serde_json::from_str(&hood.ok(&["pool", "--json"])).unwrap();
        let kinds = pool["parked"].as_array().unwrap().iter();
        kinds.map(|kind| kind["machines"].as_u64().unwrap()).sum::<u64>() == count
    });
}

#[test]
fn a_sandbox_gets_the_machine_that_was_ready() {
    let hood = with_pool("1");
    hood.ok(&["run", "--", "true"]);
    wait_for_parked(&hood, 1);
    let parked = hood.machines();
    let name = hood.create(&["-e", "WHO=me"]);
    assert!(hood.machines().contains(&parked[0]), "it runs in the machine that was parked");
    assert_eq!(
        hood.ok(&["exec", &name, "--", "sh", "-c", "echo $WHO; hostname"]),
        format!("me\n{name}")
    );
    let told = hood.ok(&["exec", &name, "--", "sh", "-c", "grep -rls rehearsal /etc; date +%s"]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 1, "the rehearsal left something: {told}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(lines[0].parse().unwrap()) < 5, "it has the time: {told}");
    wait_for_parked(&hood, 1);
    let id = ["sh", "-c", "cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1"];
    let of_first = hood.ok(&[&["exec", &name, "--"], &id[..]].concat());
    let of_second = hood.ok(&[&["run", "--"], &id[..]].concat());
    for (one, other) in of_first.lines().zip(of_second.lines()) {
        assert_ne!(one, other);
    }

    // One that died is not given to anybody.
    wait_for_parked(&hood, 1);
    let [dead] =
        hood.machines().into_iter().filter(|pid| *pid != parked[0]).collect::<Vec<_>>()[..]
    else {
        panic!("one is parked")
    };
    kill(dead, Signal::KILL);
    assert_eq!(hood.ok(&["run", "--", "echo", "alive"]), "alive");

    // The next server ends what was ready for this one; what somebody has runs on.
    wait_for_parked(&hood, 1);
    hood.kill_server();
    assert_eq!(hood.ok(&["exec", &name, "--", "echo", "still"]), "still");
    wait_until("strays are gone", || hood.machines() == parked);
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn a_server_that_ends_takes_what_was_ready_with_it() {
    let hood = with_pool("1");
    let name = hood.create(&[]);
    wait_for_parked(&hood, 1);
    hood.ok(&["rm", "-f", &name]);
    hood.stop_server();
    hood.assert_nothing_left();
}
