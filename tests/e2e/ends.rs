//! Every end has a reason that a user can read.

use std::io::Read;

use crate::hood::{Hood, kill, wait_until};

fn ends_with(options: &[&str], script: &str, reason: &str) -> String {
    let hood = Hood::new();
    let name = hood.create(&[&["--timeout", "5m"], options].concat());
    // The command cannot end by itself: its session ends under it.
    let ran = hood.run(&["exec", "--sudo", &name, "--", "sh", "-c", script]);
    assert_eq!(ran.code, Some(245), "{ran:?}");
    assert!(ran.stderr.contains(reason), "{ran:?}");
    wait_until("it has ended", || {
        hood.end_reason(&name).is_some_and(|told| told.starts_with(reason))
    });
    assert!(hood.machines().is_empty());
    let console = hood.ok(&["logs", "--console", &name]);
    hood.ok(&["rm", &name]);
    hood.assert_nothing_left();
    console
}

#[test]
fn a_kernel_panic() {
    let console = ends_with(
        &[],
        "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 1000",
        "the guest's kernel panicked",
    );
    assert!(console.contains("Kernel panic"), "its last words are kept: {console}");
}

#[test]
fn memory_used_up() {
    let script = "echo 2 > /proc/sys/vm/panic_on_oom; tail /dev/zero; sleep 1000";
    ends_with(&["--memory", "512"], script, "the guest ran out of memory");
}

#[test]
fn the_guest_switches_itself_off() {
    ends_with(
        &[],
        "echo 1 > /proc/sys/kernel/sysrq; echo o > /proc/sysrq-trigger; sleep 1000",
        "the guest switched itself off",
    );
}

#[test]
fn a_timeout() {
    let hood = Hood::new();
    let name = hood.create(&["--timeout", "3s"]);
    let ran = hood.run(&["exec", &name, "--", "sleep", "1000"]);
    assert_eq!(ran.code, Some(245), "{ran:?}");
    assert!(ran.stderr.contains("the sandbox reached its timeout"), "{ran:?}");
    assert_eq!(hood.end_reason(&name).as_deref(), Some("the sandbox reached its timeout"));
    hood.ok(&["rm", &name]);
    hood.assert_nothing_left();
}

#[test]
fn a_machine_that_is_killed() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let mut child = hood.spawn(&["exec", &name, "--", "sh", "-c", "echo runs; sleep 1000"]);
    let mut said = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    for pid in hood.machines() {
        kill(pid, rustix::process::Signal::KILL);
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code().is_some_and(|code| code > 240), "{output:?}");
    wait_until("it has ended", || hood.end_reason(&name).as_deref() == Some("the machine crashed"));
    hood.ok(&["rm", &name]);
    hood.assert_nothing_left();
}

/// A command that the guest's kernel kills for its memory says so, and the sandbox goes on.
#[test]
fn one_command_out_of_memory() {
    let hood = Hood::new();
    let name = hood.create(&["--memory", "512"]);
    let ran = hood.run(&["exec", &name, "--", "tail", "/dev/zero"]);
    assert_eq!(ran.code, Some(137), "{ran:?}");
    assert_eq!(hood.ok(&["exec", &name, "--", "echo", "on"]), "on");
    hood.ok(&["rm", "-f", &name]);
}
