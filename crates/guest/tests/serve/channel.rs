//! The channel: epochs, losses, garbage.

use std::time::Duration;

use protocol::*;

use crate::{
    client::{Client, command, shell},
    guest::Guest,
};

fn lines(count: u32) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_repeated_hello_is_answered_again() {
    let guest = Guest::start();
    let mut client = guest.client();
    let welcome = client.hello(1);
    assert_eq!(welcome, Welcome { version: VERSION, phase: Phase::Live });
    assert_eq!(client.ask(Request::Ping), Ok(Response::Done));
}

#[test]
fn nothing_is_done_before_the_claim() {
    let guest = Guest::start();
    let mut client = Client::new(guest.connect(), 1);
    assert_eq!(client.hello(1).phase, Phase::Bare);
    let code = |answer: Result<Response, Refusal>| answer.unwrap_err().code;
    let wrong = RefusalCode::WrongPhase;
    assert_eq!(code(client.ask(Request::Start(command(1, &["true"])))), wrong);
    assert_eq!(code(client.ask(Request::Stat { path: "/".into() })), wrong);
    let stand_in = Claim { machine_id: [8; 16], ..guest.claim() };
    let commands = vec![vec!["true".into()], vec![]];
    let warm = Box::new(Warm { commands, stand_in });
    assert_eq!(client.ask(Request::Warm(warm.clone())), Ok(Response::Done));
    assert_eq!(client.hello(2).phase, Phase::Warm);
    assert_eq!(client.ask(Request::Claim(guest.claim())), Ok(Response::Done));
    assert_eq!(client.ask(Request::Claim(guest.claim())), Ok(Response::Done));
    let another = Claim { machine_id: [8; 16], ..guest.claim() };
    assert_eq!(code(client.ask(Request::Claim(another))), wrong);
    assert_eq!(code(client.ask(Request::Warm(warm))), wrong);
    assert_eq!(client.hello(3).phase, Phase::Live);
}

#[test]
fn a_claim_forgets_what_was_rehearsed() {
    let guest = Guest::start();
    let mut client = Client::new(guest.connect(), 1);
    client.hello(1);
    let nobodys = Claim { machine_id: [8; 16], ..guest.claim() };
    for _ in 0..2 {
        assert_eq!(client.ask(Request::Rehearse(nobodys.clone())), Ok(Response::Done));
    }
    assert_eq!(client.hello(2).phase, Phase::Rehearsing);
    assert_eq!(client.run(shell(0, "echo rehearsed")).1, "rehearsed\n");
    let warm = Box::new(Warm { commands: Vec::new(), stand_in: nobodys.clone() });
    assert_eq!(client.ask(Request::Warm(warm)).unwrap_err().code, RefusalCode::WrongPhase);
    assert_eq!(client.ask(Request::Claim(guest.claim())), Ok(Response::Done));
    assert_eq!(client.ask(Request::Commands), Ok(Response::Commands(Vec::new())));
    let again = client.ask(Request::Rehearse(nobodys));
    assert_eq!(again.unwrap_err().code, RefusalCode::WrongPhase);
    assert_eq!(client.hello(3).phase, Phase::Live);
}

#[test]
fn output_survives_lost_connections() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    let stdout = StreamId::stdout(id);
    client.start(shell(1, "seq 1 200000; echo end >&2")).unwrap();
    for epoch in 2..12 {
        let received = client.ins[&stdout].count;
        client.until(|client| client.ins[&stdout].count > received);
        // Unread bytes are lost with the connection.
        client.reconnect(guest.connect());
        client.hello(epoch);
    }
    client.until(|client| client.has_ended(id));
    assert!(client.text(stdout) == lines(200_000), "output is lost or doubled");
    assert_eq!(client.text(StreamId::stderr(id)), "end\n");
    let Ok(Response::Commands(states)) = client.ask(Request::Commands) else { panic!() };
    assert!(matches!(states[0].progress, Progress::Exited(Exit { code: 0, .. })));
}

/// As after a restore: no hang-up, an end of a frame is missing, and a new epoch begins.
#[test]
fn output_survives_bytes_lost_under_way() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    let stdout = StreamId::stdout(id);
    client.start(shell(1, "seq 1 200000")).unwrap();
    for epoch in 2..12 {
        let received = client.ins[&stdout].count;
        client.until(|client| client.ins[&stdout].count > received);
        client.lose_bytes(1000);
        client.hello(epoch);
    }
    client.until(|client| client.has_ended(id));
    assert!(client.text(stdout) == lines(200_000), "output is lost or doubled");
}

#[test]
fn input_survives_lost_connections() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    let stdin = StreamId::stdin(id);
    client.start(StartCommand { stdin: Stdin::Stream, ..command(1, &["cat"]) }).unwrap();
    let input = lines(100_000);
    for (epoch, part) in (2..).zip(input.as_bytes().chunks(100_000)) {
        client.feed(stdin, part);
        client.reconnect(guest.connect());
        client.hello(epoch);
    }
    client.end(stdin);
    let (exit, out, _) = client.finish(id);
    assert_eq!(exit.code, 0);
    assert!(out == input, "input is lost or doubled");
}

#[test]
fn a_question_asked_again_is_not_done_again() {
    let guest = Guest::start();
    let mut client = guest.client();
    let mkdir = Request::Mkdir { path: "new".into(), parents: Parents::MustExist };
    let id = client.request(mkdir.clone());
    client.until(|client| client.replies.contains_key(&id));
    client.replies.clear();
    client.reconnect(guest.connect());
    client.hello(2);
    client.send(Body::Request { id, request: mkdir.clone() });
    client.until(|client| client.replies.contains_key(&id));
    assert_eq!(client.replies[&id], Ok(Response::Done));
    // Another host process counts anew.
    client.instance = 2;
    client.hello(3);
    client.send(Body::Request { id, request: mkdir });
    client.replies.clear();
    client.until(|client| client.replies.contains_key(&id));
    assert_eq!(client.replies[&id].as_ref().unwrap_err().code, RefusalCode::AlreadyExists);
}

#[test]
fn transfers_of_another_host_process_are_dropped() {
    let guest = Guest::start();
    let mut client = guest.client();
    let file = std::fs::File::create(guest.path("big")).unwrap();
    file.set_len(10 << 20).unwrap();
    let stream = StreamId::transfer(1);
    client.expect(stream);
    client.stall(stream);
    client.ask(Request::Read { stream, path: "big".into() }).unwrap();
    client.until(|client| client.ins[&stream].count == WINDOW);
    let mut client = Client::new(guest.connect(), 2);
    client.hello(2);
    client.expect(stream);
    client.ask(Request::Read { stream, path: "big".into() }).unwrap();
    client.until(|client| client.ins[&stream].ended);
    assert_eq!(client.ins[&stream].count, 10 << 20);
}

#[test]
fn a_transfer_survives_a_lost_connection() {
    let guest = Guest::start();
    let mut client = guest.client();
    std::fs::write(guest.path("f"), lines(300_000)).unwrap();
    let stream = StreamId::transfer(1);
    client.expect(stream);
    let request = Request::Read { stream, path: "f".into() };
    let id = client.request(request.clone());
    for epoch in 2..6 {
        let received = client.ins[&stream].count;
        client.until(|client| client.ins[&stream].count > received);
        client.reconnect(guest.connect());
        client.hello(epoch);
        client.send(Body::Request { id, request: request.clone() });
    }
    client.until(|client| client.ins[&stream].ended);
    assert!(client.text(stream) == lines(300_000));
    client.until(|client| matches!(client.replies.get(&id), Some(Ok(Response::Reading(_)))));
}

#[test]
fn garbage_is_passed_over() {
    let guest = Guest::start();
    let mut client = guest.client();
    client.raw(&[0; 100_000]);
    // A magic alone, and one whose frame would be longer than any is.
    client.raw(b"FHM");
    client.raw(&[b"FHM2".as_slice(), &[0xff; 100]].concat());
    assert_eq!(client.ask(Request::Ping), Ok(Response::Done));
    // A frame that was cut off: its end never comes, and a hello is taken for it.
    let mut cut = bytes::BytesMut::new();
    let data = Data { stream: StreamId(5), offset: 0, bytes: vec![1; 30_000].into(), last: false };
    Frame { epoch: client.epoch, body: Body::Data(data) }.encode(&mut cut);
    client.raw(&cut[..100]);
    client.send(Body::Hello(Hello { version: VERSION, instance: 1 }));
    client.turns_for(Duration::from_millis(50));
    client.raw(&vec![0; PAYLOAD_MAX]);
    assert_eq!(client.hello(2).phase, Phase::Live);
}

#[test]
fn an_agent_that_hears_nothing_does_nothing() {
    let guest = Guest::start();
    let mut client = guest.client();
    client.start(shell(1, "yes")).unwrap();
    client.until(|client| client.ins[&StreamId::stdout(CommandId(1))].count > 0);
    drop(client);
    // What is under way settles first.
    std::thread::park_timeout(Duration::from_millis(300));
    let before = guest.cpu_ticks();
    std::thread::park_timeout(Duration::from_millis(1000));
    assert!(guest.cpu_ticks() <= before + 2, "it spins");
}

#[test]
fn a_host_that_breaks_the_rules_loses_the_stream() {
    let guest = Guest::start();
    let mut client = guest.client();
    let id = CommandId(1);
    // It outlives its input, so that its output is still there to be acknowledged.
    let reader = command(1, &["sh", "-c", "cat; exec sleep 600"]);
    client.start(StartCommand { stdin: Stdin::Stream, ..reader }).unwrap();
    let stdin = StreamId::stdin(id);
    let gap = Data { stream: stdin, offset: 10, bytes: "x".into(), last: false };
    client.send(Body::Data(gap));
    client.until(|client| client.resets.contains(&stdin));
    let unsent = Ack { stream: StreamId::stdout(id), offset: 10, limit: WINDOW, last: false };
    client.send(Body::Ack(unsent));
    client.until(|client| client.resets.contains(&StreamId::stdout(id)));
    let unknown = StreamId::stdin(CommandId(77));
    client.send(Body::Data(Data { stream: unknown, offset: 0, bytes: "x".into(), last: true }));
    client.until(|client| client.resets.contains(&unknown));
    assert_eq!(client.run(shell(2, "echo fine")).1, "fine\n");
}
