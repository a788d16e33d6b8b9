//! Commands: output, exit, input, signals, time limits, terminals.

use protocol::*;

use crate::{
    client::{command, shell},
    guest::Guest,
};

fn now_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

fn code(exit: Exit) -> (u8, Option<u8>, Option<ExitCause>) {
    (exit.code, exit.signal, exit.cause)
}

#[test]
fn output_and_error_come_apart_with_the_exit_code() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (exit, out, err) = client.run(shell(1, "echo out; echo err >&2; exit 7"));
    assert_eq!((code(exit), out.as_str(), err.as_str()), ((7, None, None), "out\n", "err\n"));
}

#[test]
fn a_signal_goes_to_the_whole_group() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    client.start(shell(1, "sleep 1000 & echo ready; wait")).unwrap();
    client.until(|client| client.text(StreamId::stdout(id)) == "ready\n");
    client.ask(Request::Signal { command: id, signal: 15 }).unwrap();
    let (exit, ..) = client.finish(id);
    assert_eq!(code(exit), (143, Some(15), None));
    // Signalling what has ended is no error; what never was is.
    client.ask(Request::Signal { command: id, signal: 15 }).unwrap();
    let refused = client.ask(Request::Signal { command: CommandId(2), signal: 15 });
    assert_eq!(refused.unwrap_err().code, RefusalCode::UnknownCommand);
    let refused = client.ask(Request::Signal { command: id, signal: 65 });
    assert_eq!(refused.unwrap_err().code, RefusalCode::Invalid);
}

#[test]
fn a_command_that_takes_too_long_is_killed() {
    let guest = Guest::start();
    let mut client = guest.client();
    let slow = StartCommand { timeout_ms: Some(100), ..shell(1, "echo a; sleep 1000; echo b") };
    let (exit, out, _) = client.run(slow);
    assert_eq!((code(exit), out.as_str()), ((137, Some(9), Some(ExitCause::TimedOut)), "a\n"));
    assert!((100..10_000).contains(&exit.duration_ms), "{exit:?}");
    let quick = StartCommand { timeout_ms: Some(60_000), ..shell(2, "exit 3") };
    assert_eq!(code(client.run(quick).0), (3, None, None));
}

#[test]
fn input_is_fed_and_closed() {
    let guest = Guest::start();
    let mut client = guest.client();
    let stdin = StreamId::stdin(CommandId(1));
    client.start(StartCommand { stdin: Stdin::Stream, ..command(1, &["sha256sum"]) }).unwrap();
    let bytes = vec![b'x'; 3 << 20];
    client.feed(stdin, &bytes);
    client.end(stdin);
    let (exit, out, _) = client.finish(CommandId(1));
    assert_eq!(exit.code, 0);
    assert_eq!(out, "3bea8a9a07c1e8dcaa4c1b816815c35a29b4fb585ba6ecc70ea44840a794cfb3  -\n");
    client.until(|client| client.outs[&stdin].is_done());
}

#[test]
fn an_executable_that_is_not_there_is_refused() {
    let guest = Guest::start();
    let mut client = guest.client();
    std::fs::write(guest.path("plain"), "").unwrap();
    guest.program("script", "#!/no/such/interpreter\n");
    let mut refused = |start: StartCommand| {
        let refusal = client.ask(Request::Start(start)).unwrap_err();
        (refusal.code, refusal.message)
    };
    let not_found = RefusalCode::ExecutableNotFound;
    assert_eq!(
        refused(command(1, &["no-such-program"])),
        (not_found, "executable file not found in $PATH: no-such-program".into())
    );
    assert_eq!(refused(command(2, &["./no-such-program"])).0, not_found);
    let not_executable = RefusalCode::NotExecutable;
    assert_eq!(refused(command(3, &["./plain"])).0, not_executable);
    assert_eq!(
        refused(command(4, &["./script"])),
        (not_executable, "./script: its interpreter was not found".into())
    );
    assert_eq!(refused(command(5, &["/tmp"])).0, not_executable);
    assert_eq!(refused(command(6, &[])).0, RefusalCode::Invalid);
    let nowhere = StartCommand { cwd: Some("/no/such".into()), ..command(7, &["true"]) };
    assert_eq!(
        refused(nowhere),
        (RefusalCode::NotFound, "working directory /no/such: no such file or directory".into())
    );
    let nobody = StartCommand { user: User::Named("eve".into()), ..command(8, &["true"]) };
    assert_eq!(refused(nobody).0, RefusalCode::UnknownUser);
    assert_eq!(client.ask(Request::Commands), Ok(Response::Commands(Vec::new())));
}

#[test]
fn the_environment_is_made_of_account_claim_and_command() {
    let guest = Guest::start();
    let mut client = guest.client();
    let env = vec![("OWN".into(), "1".into()), ("CLAIMED".into(), "over".into())];
    let (_, out, _) = client.run(StartCommand { env, ..command(1, &["env"]) });
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let names: Vec<&str> = lines.iter().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(names, ["CLAIMED", "HOME", "LOGNAME", "OWN", "PATH", "SHELL", "USER"]);
    assert!(lines.contains(&"CLAIMED=over") && lines.contains(&"USER=root"), "{out}");
    let sudo = StartCommand { user: User::Sudo, ..shell(2, "echo $HOME $SUDO_USER $CLAIMED") };
    assert_eq!(client.run(sudo).1, "/root root yes\n");
    std::fs::create_dir_all(guest.path("sub/bin")).unwrap();
    let relative = StartCommand { cwd: Some("sub".into()), ..shell(3, "pwd") };
    assert!(client.run(relative).1.ends_with("/home/sub\n"));
    // A relative folder in PATH is relative to the command's folder.
    guest.program("sub/bin/hello", "#!/bin/sh\necho hello");
    let env = vec![("PATH".into(), "bin".into())];
    let own_path = StartCommand { cwd: Some("sub".into()), env, ..command(4, &["hello"]) };
    assert_eq!(client.run(own_path).1, "hello\n");
}

#[test]
fn nothing_of_the_agent_is_left_to_a_command() {
    let guest = Guest::start();
    let mut client = guest.client();
    let script = "ls /proc/self/fd; grep -E 'SigBlk|SigIgn' /proc/self/status; \
                  ps -o pid=,pgid=,sid= -p $$ | tr -s ' ' '\\n' | grep . | sort -u | wc -l";
    let (_, out, err) = client.run(shell(1, script));
    let lines: Vec<&str> = out.lines().collect();
    // The standard streams, and the folder that `ls` reads.
    assert_eq!((&lines[..4], err.as_str()), (&["0", "1", "2", "3"][..], ""), "{out}");
    assert_eq!(lines[4], "SigBlk:\t0000000000000000");
    // Those that our own parent ignores (nohup) are not the agent's doing.
    let number =
        |line: &str| u64::from_str_radix(line.trim_start_matches("SigIgn:\t"), 16).unwrap();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let inherited = number(own.lines().find(|line| line.starts_with("SigIgn:")).unwrap());
    assert_eq!(number(lines[5]) & 0x7fff_ffff & !inherited, 0, "{out}");
    // Process, group and session have one number.
    assert_eq!(lines[6], "1", "{out}");
}

#[test]
fn a_terminal_has_a_size_and_an_end() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    let (stdin, stdout) = (StreamId::stdin(id), StreamId::stdout(id));
    let terminal = StartCommand {
        stdin: Stdin::Stream,
        io: Io::Pty { rows: 33, cols: 111 },
        ..shell(1, "test -t 0 && test -t 2 && stty size; read line; stty size; cat; echo $TERM")
    };
    client.start(terminal).unwrap();
    client.until(|client| client.text(stdout).contains("33 111\r\n"));
    client.ask(Request::Resize { command: id, rows: 44, cols: 99 }).unwrap();
    client.feed(stdin, b"go\n");
    client.until(|client| client.text(stdout).contains("44 99\r\n"));
    // Not at the beginning of a line: ^D once would only hand over what is there.
    client.feed(stdin, b"half a line");
    client.end(stdin);
    let (exit, out, err) = client.finish(id);
    assert_eq!((exit.code, err.as_str()), (0, ""));
    assert!(out.ends_with("half a linehalf a linexterm-256color\r\n"), "{out:?}");
    client.until(|client| client.outs[&stdin].is_done());
    let pipes = client.start(shell(2, "exec sleep 1000"));
    assert!(pipes.is_ok());
    let resize = Request::Resize { command: CommandId(2), rows: 1, cols: 1 };
    assert_eq!(client.ask(resize).unwrap_err().code, RefusalCode::Invalid);
}

#[test]
fn control_c_ends_what_runs_in_a_terminal() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    let terminal = StartCommand {
        stdin: Stdin::Stream,
        io: Io::Pty { rows: 24, cols: 80 },
        ..shell(1, "exec cat")
    };
    client.start(terminal).unwrap();
    client.feed(StreamId::stdin(id), b"ready\n");
    // Once from the terminal and once from `cat`: a shell that is about to become it may swallow the signal.
    client.until(|client| client.text(StreamId::stdout(id)).matches("ready").count() == 2);
    client.feed(StreamId::stdin(id), b"\x03");
    assert_eq!(code(client.finish(id).0), (130, Some(2), None));
}

#[test]
fn no_signal_is_ignored_or_blocked() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (_, out, _) = client.run(command(1, &["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]));
    for line in out.lines() {
        let (_, mask) = line.split_once('\t').unwrap();
        // The first two real-time signals are the C library's own, and as they were.
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & !0x1_8000_0000, 0, "{line}");
    }
    assert_eq!(out.lines().count(), 2);
}

/// What the main process has left in the background neither holds the end up nor dies of it.
#[test]
fn a_child_in_the_background_lives_on() {
    let guest = Guest::start();
    let mut client = guest.client();
    let marker = guest.path("survived");
    let fifo = guest.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let script = "(read go < fifo; echo late; echo late; echo yes > survived) & echo main; exit 4";
    let (exit, out, _) = client.run(shell(1, script));
    assert_eq!((exit.code, out.as_str()), (4, "main\n"));
    client.ask(Request::Forget { command: CommandId(1) }).unwrap();
    std::fs::write(fifo, "go\n").unwrap();
    // It ends as its own end of the pipe closes; by then it must have said so.
    while !std::fs::read_to_string(&marker).is_ok_and(|content| content == "yes\n") {
        client.ask(Request::Ping).unwrap();
    }
}

#[test]
fn input_that_nobody_reads_is_given_up() {
    let guest = Guest::start();
    let mut client = guest.client();
    let stdin = StreamId::stdin(CommandId(1));
    let closes =
        StartCommand { stdin: Stdin::Stream, ..shell(1, "exec <&-; echo closed; sleep 1000") };
    client.start(closes).unwrap();
    client.until(|client| client.text(StreamId::stdout(CommandId(1))) == "closed\n");
    client.outs.get_mut(&stdin).unwrap().push(b"nobody wants this");
    client.flush();
    client.until(|client| client.resets.contains(&stdin));
}

#[test]
fn a_reader_that_stalls_holds_up_its_own_command_alone() {
    let guest = Guest::start();
    let mut client = guest.client();
    let stalled = StreamId::stdout(CommandId(1));
    client.expect(stalled);
    client.stall(stalled);
    let before = guest.memory_kib().0;
    client.expect(StreamId::stderr(CommandId(1)));
    let flood = shell(1, "seq 1 1000000; echo done >&2");
    client.ask(Request::Start(flood)).unwrap();
    client.until(|client| client.ins[&stalled].count == WINDOW);
    // Meanwhile everything else goes on.
    for number in 2..20 {
        assert_eq!(client.run(shell(number, "echo fine")).1, "fine\n");
    }
    assert_eq!(client.ins[&stalled].count, WINDOW);
    assert_eq!(client.text(StreamId::stderr(CommandId(1))), "", "it waits");
    let peak = guest.memory_kib().1;
    assert!(peak < before + 4096, "resident memory rose from {before} to {peak} KiB");
    client.unstall(stalled);
    let (_, out, err) = client.finish(CommandId(1));
    let expected: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    assert!(out == expected, "output is lost or doubled");
    assert_eq!(err, "done\n");
}

/// The end of a command whose reader stalls: the exit is known, the output is kept for later.
#[test]
fn output_waits_for_its_reader_after_the_end() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    let stdout = StreamId::stdout(id);
    client.expect(stdout);
    client.expect(StreamId::stderr(id));
    client.stall(stdout);
    // More than a window, and what is over it fits into the pipe.
    let count = usize::try_from(WINDOW).unwrap() + 40_000;
    client.ask(Request::Start(shell(1, &format!("head -c {count} /dev/zero")))).unwrap();
    client.until(|client| client.exits.contains_key(&id));
    assert!(!client.ins[&stdout].ended);
    client.unstall(stdout);
    client.finish(id);
    assert_eq!(client.ins[&stdout].bytes.len(), count);
}

#[test]
fn a_flood_does_not_delay_another_commands_first_byte() {
    let guest = Guest::start();
    let mut client = guest.client();
    for number in 1..=4 {
        client.start(command(number, &["yes"])).unwrap();
        client.count_only(StreamId::stdout(CommandId(number)));
    }
    let ready = StartCommand { stdin: Stdin::Stream, ..command(9, &["cat"]) };
    client.start(ready).unwrap();
    let (stdin, stdout) = (StreamId::stdin(CommandId(9)), StreamId::stdout(CommandId(9)));
    let mut delays = Vec::new();
    for round in 1..=50 {
        let flooded: u64 = client.ins[&StreamId::stdout(CommandId(1))].count;
        client.until(|client| client.ins[&StreamId::stdout(CommandId(1))].count > flooded);
        let asked = now_ms();
        client.feed(stdin, b"x");
        client.until(|client| client.ins[&stdout].count == round);
        delays.push(now_ms() - asked);
    }
    delays.sort_unstable();
    // What the agent's queues add is in every round; a busy computer is only in some.
    assert!(delays[5] < 50, "{delays:?}");
}

#[test]
fn ended_commands_are_remembered_until_forgotten() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (exit, ..) = client.run(shell(3, "exit 5"));
    client.start(shell(4, "sleep 1000")).unwrap();
    let Ok(Response::Commands(states)) = client.ask(Request::Commands) else { panic!() };
    assert_eq!(states[0], CommandState { command: CommandId(3), progress: Progress::Exited(exit) });
    assert!(matches!(states[1].progress, Progress::Running { pid: 1.. }));
    assert_eq!(states.len(), 2);
    // Started again, it is not started twice.
    let again = client.ask(Request::Start(shell(3, "exit 5")));
    assert!(matches!(again, Ok(Response::Started { pid: 1.. })));
    let forget = |number| Request::Forget { command: CommandId(number) };
    assert_eq!(client.ask(forget(4)).unwrap_err().code, RefusalCode::Invalid);
    assert_eq!(client.ask(forget(3)), Ok(Response::Done));
    assert_eq!(client.ask(forget(3)), Ok(Response::Done));
    let Ok(Response::Commands(states)) = client.ask(Request::Commands) else { panic!() };
    assert_eq!(states.len(), 1);
}

#[test]
fn there_is_a_limit_to_what_runs() {
    let guest = Guest::start();
    let mut client = guest.client();
    let mut refused = None;
    for number in 1..=520 {
        if let Err(refusal) = client.ask(Request::Start(command(number, &["sleep", "1000"]))) {
            refused = Some((number, refusal.code));
            break;
        }
    }
    assert_eq!(refused, Some((513, RefusalCode::TooManyCommands)));
    client.ask(Request::Signal { command: CommandId(1), signal: 9 }).unwrap();
    client.until(|client| client.exits.contains_key(&CommandId(1)));
    assert!(client.ask(Request::Start(command(600, &["true"]))).is_ok());
    for number in 2..=512 {
        client.request(Request::Signal { command: CommandId(number), signal: 9 });
    }
    client.until(|client| client.exits.len() == 513);
}
