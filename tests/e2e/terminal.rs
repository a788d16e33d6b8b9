//! The command line on a terminal: prompts, keys, sizes, signals, modes given back.

use std::{
    io::{BufRead, BufReader},
    process::Child,
};

use rustix::process::Signal;

use crate::{
    hood::{Hood, kill, wait_until},
    screen::Screen,
};

const SIZE: (u16, u16) = (30, 100);

/// The command line's own process, whose name is that of its first argument.
fn client(hood: &Hood, verb: &str) -> i32 {
    let is_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(verb.as_bytes())
    };
    let found: Vec<i32> = hood.processes("fumehood").into_iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn a_shell_of_a_sandbox_of_its_own() {
    let hood = Hood::new();
    let mut screen = Screen::start(&hood, SIZE, &["run", "-i", "-t", "--", "bash"]);
    let modes = screen.modes();
    screen.wait_for("$ ");
    assert_ne!(screen.modes(), modes, "keys go through as they are pressed");
    screen.ask("stty size", "30 100\r\n");
    screen.ask("test -t 0 -a -t 1 -a -t 2 && echo all-$((1 + 2))", "all-3");
    screen
        .ask("echo $TERM-$((1 + 1))", &format!("{}-2", std::env::var("TERM").unwrap_or_default()));

    screen.resize((41, 123));
    screen.ask(
        "until [ \"$(stty size)\" = '41 123' ]; do sleep 0.1; done; echo big$((1 + 1))",
        "big2",
    );

    // An interrupt is a key like any other: it ends what the guest runs, and nothing here.
    // One program, which has said its word: a shell between two of them may miss the key.
    screen.ask("sh -c 'echo begun-$((1 + 1)); exec sleep 1000'", "begun-2");
    screen.press("\x03");
    screen.ask("echo code-$?", "code-130");
    screen.press("exit 7\r");
    screen.wait_for_exit(7);
    assert_eq!(screen.modes(), modes);
    hood.assert_nothing_left();
}

#[test]
fn terminate_ends_a_run_and_gives_the_terminal_back() {
    let hood = Hood::new();
    let mut screen = Screen::start(&hood, SIZE, &["run", "-i", "-t", "--", "bash"]);
    let modes = screen.modes();
    screen.wait_for("$ ");
    assert_ne!(screen.modes(), modes);
    kill(client(&hood, "run"), Signal::TERM);
    screen.wait_for_exit(128 + Signal::TERM.as_raw());
    assert_eq!(screen.modes(), modes);
    hood.assert_nothing_left();
}

#[test]
fn connect_is_a_login_shell_and_the_sandbox_stays() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let mut screen = Screen::start(&hood, SIZE, &["connect", &name]);
    let modes = screen.modes();
    screen.wait_for("$ ");
    screen.ask("shopt -q login_shell && echo login-$((1 + 1))", "login-2");
    screen.ask("echo $USER $((1 + 1)) in $PWD", "fumehood 2 in /home/fumehood");
    screen.press("exit 3\r");
    screen.wait_for_exit(3);
    assert_eq!(screen.modes(), modes);

    // A shell does not end at the first terminate, which goes to it; at the second we leave.
    let mut screen = Screen::start(&hood, SIZE, &["connect", &name]);
    screen.wait_for("$ ");
    kill(client(&hood, "connect"), Signal::TERM);
    screen.ask("echo still-$((1 + 1))", "still-2");
    assert_ne!(screen.modes(), modes);
    kill(client(&hood, "connect"), Signal::TERM);
    screen.wait_for_exit(128 + Signal::TERM.as_raw());
    assert_eq!(screen.modes(), modes);
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

/// A window that is closed hangs up on the guest's shell, which tells its jobs; a sandbox that was
/// made for it goes.
#[test]
fn a_window_that_is_closed() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let mut screen = Screen::start(&hood, SIZE, &["connect", &name]);
    screen.wait_for("$ ");
    screen.press("exec -a hung-$((1 + 1)) sleep 1000 &\r");
    let jobs = || hood.run(&["exec", &name, "--", "pgrep", "-f", "hung-2"]).stdout;
    wait_until("the job runs", || !jobs().is_empty());
    screen.close();
    wait_until("the job has ended", || jobs().is_empty());
    hood.ok(&["rm", "-f", &name]);

    let mut screen = Screen::start(&hood, SIZE, &["run", "-i", "-t", "--", "bash"]);
    screen.wait_for("$ ");
    screen.close();
    hood.assert_nothing_left();
    wait_until("the command line has ended", || hood.processes("fumehood") == hood.servers());
}

/// A terminal in the guest and none of ours to read from: the keys stay here.
#[test]
fn a_terminal_without_input() {
    let hood = Hood::new();
    let ran = hood.run(&["run", "-t", "--", "sh", "-c", "tty; stty size; echo err >&2"]);
    assert_eq!(ran.stdout, "/dev/pts/0\r\n24 80\r\nerr\r\n", "{ran:?}");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));

    // What is piped in has an end, which a terminal would not have.
    let name = hood.create(&[]);
    let ran = hood.run_with_input(&["connect", &name], b"tty; echo $((40 + 2)); exit 3\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), "not a tty\n42\n"), "{ran:?}");
    let ran = hood.run_with_input(&["exec", "-it", &name, "--", "cat"], b"all of it");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "all of it"), "{ran:?}");
    assert!(ran.stderr.contains("stdin is no terminal"), "{ran:?}");
    hood.ok(&["rm", "-f", &name]);

    let script = "stty size; echo begun-$((1 + 1)); sleep 1000";
    let mut screen = Screen::start(&hood, SIZE, &["run", "-t", "--", "sh", "-c", script]);
    let modes = screen.modes();
    screen.wait_for("30 100");
    screen.wait_for("begun-2");
    assert_eq!(screen.modes(), modes);
    screen.press("\x03");
    screen.wait_for_exit(128 + Signal::INT.as_raw());
    assert_eq!(screen.modes(), modes);
    hood.assert_nothing_left();
}

/// Reads one line, as `head -n 1` does, and goes.
fn first_line(mut child: Child) -> (String, std::process::Output) {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (line, child.wait_with_output().unwrap())
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let hood = Hood::new();
    for options in [&["run", "--"][..], &["run", "-t", "--"], &["run", "-i", "--"]] {
        let (line, output) = first_line(hood.spawn(&[options, &["yes"]].concat()));
        assert_eq!(line.trim_end(), "y", "{options:?}");
        assert_eq!(output.status.code(), Some(128 + Signal::PIPE.as_raw()), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        hood.assert_nothing_left();
    }
    let name = hood.create(&[]);
    let (_, output) = first_line(hood.spawn(&["exec", &name, "--", "yes"]));
    assert_eq!(output.status.code(), Some(128 + Signal::PIPE.as_raw()), "{output:?}");
    let yes = || hood.run(&["exec", &name, "--", "pgrep", "-x", "yes"]).stdout;
    wait_until("the command has ended", || yes().is_empty());
    let id = hood.ok(&["exec", "-d", &name, "--", "seq", "1", "1000000"]);
    let (_, output) = first_line(hood.spawn(&["logs", "-f", &name, &id]));
    assert_eq!(output.status.code(), Some(128 + Signal::PIPE.as_raw()), "{output:?}");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}
