//! What an agent does for a fork, but for the freezing itself, which takes a machine.

use protocol::*;

use crate::{client::shell, guest::Guest};

#[test]
fn what_is_started_while_frozen_starts_afterwards() {
    let guest = Guest::start();
    let mut client = guest.client();
    assert_eq!(client.ask(Request::Gather), Ok(Response::Done));
    for _ in 0..2 {
        let frozen = Response::Frozen { free: Vec::new() };
        assert_eq!(client.ask(Request::Freeze), Ok(frozen));
    }
    let id = CommandId(1);
    client.expect(StreamId::stdout(id));
    client.expect(StreamId::stderr(id));
    client.request(Request::Start(shell(1, "echo late")));
    assert_eq!(client.ask(Request::Commands), Ok(Response::Commands(Vec::new())));
    let held = client.ask(Request::Hold { for_ms: 1000 });
    assert!(held.is_err(), "the root of a machine that is forked is not held: {held:?}");
    for _ in 0..2 {
        assert_eq!(client.ask(Request::Thaw), Ok(Response::Done));
    }
    assert_eq!(client.finish(id).1, "late\n");
}

#[test]
fn a_machine_whose_root_is_held_is_not_forked() {
    let guest = Guest::start();
    let mut client = guest.client();
    assert_eq!(client.ask(Request::Hold { for_ms: 60_000 }), Ok(Response::Done));
    let refused = client.ask(Request::Freeze).unwrap_err();
    assert_eq!(refused.code, RefusalCode::AlreadyExists);
    assert_eq!(client.ask(Request::Release), Ok(Response::Done));
    assert!(matches!(client.ask(Request::Freeze), Ok(Response::Frozen { .. })));
    assert_eq!(client.ask(Request::Thaw), Ok(Response::Done));
}

#[test]
fn in_a_fork_processes_go_on_and_are_no_commands() {
    let guest = Guest::start();
    let mut client = guest.client();
    // Its input stays open; what it writes when it is a command no more harms it not.
    let script =
        "echo ready; while test ! -e go; do sleep 0.02; done; echo more; echo over > done; cat";
    let start = StartCommand { stdin: Stdin::Stream, ..shell(1, script) };
    client.start(start).unwrap();
    client.until(|client| client.text(StreamId::stdout(CommandId(1))) == "ready\n");
    client.ask(Request::Freeze).unwrap();
    let waiting = client.request(Request::Start(shell(2, "echo never")));
    let another = Claim { machine_id: [8; 16], ..guest.claim() };
    for _ in 0..2 {
        assert_eq!(client.ask(Request::Fork(another.clone())), Ok(Response::Done));
    }
    assert_eq!(client.ask(Request::Commands), Ok(Response::Commands(Vec::new())));
    std::fs::write(guest.path("go"), "").unwrap();
    let mut tries = 0;
    while !guest.path("done").exists() {
        assert!(tries < 2000, "the process goes on");
        tries += 1;
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    assert_eq!(client.run(shell(3, "echo new")).1, "new\n");
    assert!(!client.replies.contains_key(&waiting), "who asked for it asked the other machine");
}
