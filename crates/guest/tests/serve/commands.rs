//! Commands: output, exit, input, signals, time limits, terminals.

use protocol::*;

use crate::{
    client::{command, shell},
    guest::Guest,
};

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
    let script = guest.path("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
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
