//! Sandboxes that stay: create, exec, logs, stop, rm; many at once; interrupted clients.

use std::{
    io::{Read, Write},
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::hood::{Hood, kill, wait_until};

#[test]
fn a_sandbox_keeps_what_is_done_in_it_until_it_is_removed() {
    let hood = Hood::new();
    assert_eq!(hood.create(&["--name", "box"]), "box");
    hood.ok(&["exec", "box", "--", "sh", "-c", "echo kept > file"]);
    assert_eq!(hood.ok(&["exec", "box", "--", "cat", "file"]), "kept");
    assert_eq!(hood.ok(&["logs", "box"]), "kept");
    let again = hood.run(&["create", "--name", "box"]);
    assert!(
        again.code.is_some_and(|code| code > 240) && again.stderr.contains("already exists"),
        "{again:?}"
    );
    assert!(hood.ok(&["ls"]).contains("box"));

    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}

#[test]
fn a_sandbox_that_keeps_nothing_ends_for_good() {
    let hood = Hood::new();
    hood.create(&["--name", "box", "--no-persistent"]);
    hood.ok(&["exec", "box", "--", "echo", "kept"]);
    hood.ok(&["stop", "box"]);
    assert!(hood.machines().is_empty() && hood.layers().is_empty());
    assert_eq!(hood.end_reason("box").as_deref(), Some("the sandbox was stopped"));
    assert!(!hood.ok(&["ls"]).contains("box"));
    let late = hood.run(&["exec", "box", "--", "true"]);
    assert_eq!(late.code, Some(245), "{late:?}");
    assert_eq!(hood.ok(&["logs", "box"]), "kept", "logs outlive the machine");
    hood.ok(&["stop", "box"]);
    hood.ok(&["rm", "box"]);
    assert_eq!(hood.run(&["logs", "box"]).code, Some(242));
    hood.assert_nothing_left();
}

#[test]
fn a_detached_command_can_be_followed_and_read_again_by_many() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let script = "for n in 1 2 3; do echo line $n; sleep 0.2; done; exit 4";
    let id = hood.ok(&["exec", "-d", &name, "--", "sh", "-c", script]);
    let readers: Vec<_> = (0..3).map(|_| hood.spawn(&["logs", "-f", &name, &id])).collect();
    for reader in readers {
        let output = reader.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "line 1\nline 2\nline 3\n");
    }
    assert_eq!(hood.ok(&["logs", &name, &id]), "line 1\nline 2\nline 3");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn a_time_limit_kills_a_command_and_only_it() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let ran =
        hood.run(&["exec", "--timeout", "5s", &name, "--", "sh", "-c", "echo begun; sleep 100"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(137), "begun\n"), "{ran:?}");
    assert_eq!(hood.ok(&["exec", &name, "--", "echo", "on"]), "on");
    hood.ok(&["rm", "-f", &name]);
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let hood = Hood::new();
    let has_machine =
        |_: &mut Child| wait_until("the machine runs", || !hood.machines().is_empty());
    let has_command = |child: &mut Child| {
        let mut said = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"up\n");
    };
    let points: [&dyn Fn(&mut Child); 2] = [&has_machine, &has_command];
    let signals = [Signal::INT, Signal::TERM, Signal::HUP];
    for (signal, wait) in signals.into_iter().flat_map(|signal| points.map(|point| (signal, point)))
    {
        let mut child = hood.spawn(&["run", "--", "sh", "-c", "echo up; exec sleep 1000"]);
        wait(&mut child);
        kill(i32::try_from(child.id()).unwrap(), signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(128 + signal.as_raw()), "{output:?}");
        hood.assert_nothing_left();
    }
}

#[test]
fn kept_means_kept() {
    let hood = Hood::new();
    let ran = hood.run(&["run", "--keep", "--name", "stays", "--", "touch", "here"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(hood.ok(&["exec", "stays", "--", "ls"]), "here");
    hood.ok(&["rm", "-f", "stays"]);
    hood.assert_nothing_left();
}

#[test]
fn json_is_one_object() {
    let hood = Hood::new();
    let text = hood.run(&["run", "--json", "--", "sh", "-c", "echo o; echo e >&2; exit 3"]);
    let json: serde_json::Value = serde_json::from_str(&text.stdout).unwrap();
    assert_eq!(
        (&json["stdout"], &json["stderr"], &json["exitCode"]),
        (&"o\n".into(), &"e\n".into(), &3.into())
    );
    assert_eq!(text.code, Some(3));
}

/// How much of the floods comes before another command's byte, on a computer too busy for times.
const AHEAD_MAX: u64 = 1 << 20;

/// What a flood's queues add to another command's byte is in every round, what a busy computer adds
/// only in some.
#[test]
fn a_flood_delays_no_other_command() {
    const ROUNDS: usize = 60;
    let flooded = Arc::new(AtomicU64::new(0));
    let hood = Hood::new();
    let name = hood.create(&[]);
    let floods = [(); 2].map(|()| {
        let mut flood = hood.spawn(&["exec", &name, "--", "yes"]);
        let mut stdout = flood.stdout.take().unwrap();
        let flooded = Arc::clone(&flooded);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                flooded.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        flood
    });
    let stdin = std::process::Stdio::piped();
    let mut echo = hood.command(["exec", "-i", &name, "--", "cat"]).stdin(stdin).spawn().unwrap();
    let (mut to, mut from) = (echo.stdin.take().unwrap(), echo.stdout.take().unwrap());
    // The command's start.
    to.write_all(b"x").unwrap();
    from.read_exact(&mut [0]).unwrap();
    let (mut delays, mut ahead) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let seen = flooded.load(Ordering::Relaxed);
        wait_until("the floods go on", || flooded.load(Ordering::Relaxed) > seen);
        let (asked, before) = (Instant::now(), flooded.load(Ordering::Relaxed));
        to.write_all(b"x").unwrap();
        from.read_exact(&mut [0]).unwrap();
        delays.push(asked.elapsed());
        ahead.push(flooded.load(Ordering::Relaxed) - before);
    }
    delays.sort_unstable();
    ahead.sort_unstable();
    let (delay, ahead) = (delays[ROUNDS / 4], ahead[ROUNDS / 4]);
    assert!(delay < Duration::from_millis(50) || ahead < AHEAD_MAX, "{delay:?}, {ahead} bytes");
    for mut flood in floods {
        flood.kill().unwrap();
        flood.wait().unwrap();
    }
    drop(to);
    assert!(echo.wait().unwrap().success());
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

/// Fifty at once: each runs a command, and all are gone afterwards.
#[test]
fn fifty_sandboxes_at_once() {
    const COUNT: usize = 50;
    let hood = Hood::new();
    let names: Vec<String> = (0..COUNT).map(|number| format!("box-{number}")).collect();
    at_once(&names, |name| {
        hood.create(&["--timeout", "20m", "--name", name]);
    });
    assert_eq!(hood.machines().len(), COUNT);
    at_once(&names, |name| assert_eq!(hood.ok(&["exec", name, "--", "hostname"]), name));
    at_once(&names, |name| {
        hood.ok(&["rm", "-f", name]);
    });
    hood.assert_nothing_left();
    assert_eq!(hood.ok(&["ls", "-a", "--json"]), "[]");
}

fn at_once(names: &[String], work: impl Fn(&str) + Sync) {
    thread::scope(|scope| {
        for name in names {
            scope.spawn(|| work(name));
        }
    });
}
