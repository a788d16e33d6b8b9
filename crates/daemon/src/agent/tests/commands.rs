//! Commands of the real agent over a sound connection.

use super::{guest::Guest, *};

async fn run(start: StartCommand) -> (Exit, Vec<u8>, Vec<u8>) {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, start.command.0).await;
    let command = agent.start(start, writer, LONG).await.unwrap();
    let exit = command.exit().await.unwrap();
    assert_eq!(log.exit(), Some(exit));
    let (stdout, stderr) = outputs(&log).await;
    (exit, stdout, stderr)
}

#[tokio::test]
async fn output_is_apart_and_the_exit_code_is_the_commands() {
    let (exit, stdout, stderr) = run(shell(1, "echo out; echo err >&2; exit 7")).await;
    assert_eq!((exit.code, exit.signal), (7, None));
    assert_eq!((&stdout[..], &stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
}

#[tokio::test]
async fn a_terminal_has_one_output() {
    let io = Io::Pty { rows: 24, cols: 80 };
    let start = StartCommand { io, ..shell(1, "stty size; echo err >&2") };
    let (exit, stdout, stderr) = run(start).await;
    assert_eq!(exit.code, 0);
    assert_eq!(String::from_utf8(stdout).unwrap(), "24 80\r\nerr\r\n");
    assert_eq!(stderr, b"");
}

#[tokio::test]
async fn what_cannot_be_started_is_refused() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, 1).await;
    let mut start = shell(1, "");
    start.argv = vec!["no-such-program".into()];
    let refused = agent.start(start, writer, LONG).await.unwrap_err();
    let AgentError::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.code, RefusalCode::ExecutableNotFound);
    // Its readers are not kept waiting.
    let mut reader = log.reader(Offsets::default(), Follow::ToTheEnd);
    assert_eq!(reader.next().await.unwrap(), None);
    assert_eq!(remembered(&agent).await, []);
}

#[tokio::test]
async fn an_ended_command_is_forgotten_by_the_agent() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (_log, writer) = new_log(&guest.dir, 1).await;
    let command = agent.start(shell(1, "echo x"), writer, LONG).await.unwrap();
    command.exit().await.unwrap();
    let gone = async { while !remembered(&agent).await.is_empty() {} };
    timeout(LONG, gone).await.expect("it is remembered");
}

async fn remembered(agent: &Agent) -> Vec<CommandState> {
    let answer = agent.request(Request::Commands, LONG).await.unwrap();
    let Response::Commands(states) = answer else { panic!("{answer:?}") };
    states
}

#[tokio::test]
async fn standard_input_is_passed_on_and_closed() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, 1).await;
    let start = StartCommand { stdin: Stdin::Stream, ..shell(1, "cat; echo end >&2") };
    let command = agent.start(start, writer, LONG).await.unwrap();
    let stdin = command.stdin().unwrap();
    // More than anything on the way has room for, so that it is taken piece by piece.
    let input = Bytes::from(seq(1_000_000));
    for piece in input.chunks(100_000) {
        stdin.write(input.slice_ref(piece)).await.unwrap();
    }
    assert_eq!(stdin.written().await, Ok(input.len() as u64));
    stdin.close();
    assert_eq!(command.exit().await.unwrap().code, 0);
    let (stdout, stderr) = outputs(&log).await;
    assert_same(&stdout, &input);
    assert_eq!(stderr, b"end\n");
    assert_eq!(stdin.write("late".into()).await, Err(StdinClosed));
}

#[tokio::test]
async fn a_command_that_closes_its_input_stops_the_writer() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (_log, writer) = new_log(&guest.dir, 1).await;
    let start = StartCommand { stdin: Stdin::Stream, ..shell(1, "exec <&-; sleep 60") };
    let command = agent.start(start, writer, LONG).await.unwrap();
    let stdin = command.stdin().unwrap();
    let closed = async { while stdin.write(vec![b'x'; 1000].into()).await.is_ok() {} };
    timeout(LONG, closed).await.expect("nobody reads it");
    command.signal(9, LONG).await.unwrap();
    assert_eq!(command.exit().await.unwrap().signal, Some(9));
}

#[tokio::test]
async fn signals_reach_the_command() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, 1).await;
    let script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let command = agent.start(shell(1, script), writer, LONG).await.unwrap();
    let mut reader = log.reader(Offsets::default(), Follow::ToTheEnd);
    assert!(matches!(reader.next().await.unwrap(), Some(LogItem::Output { .. })));
    command.signal(15, LONG).await.unwrap();
    assert_eq!(command.exit().await.unwrap().code, 3);
    assert_eq!(outputs(&log).await.0, b"ready\ngot it\n");
    assert!(matches!(command.signal(15, LONG).await, Err(AgentError::Refused(_)) | Ok(())));
}

#[tokio::test]
async fn a_reader_that_stalls_stalls_one_command_alone() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, 1).await;
    let stalled = log.reader(Offsets::default(), Follow::ToTheEnd);
    let flood = agent.start(shell(1, "cat /dev/zero"), writer, LONG).await.unwrap();
    let full = async {
        let mut before = 0;
        // On a busy host it may rest before it is full.
        while log.offsets().stdout <= 60 << 20 || before != log.offsets().stdout {
            before = log.offsets().stdout;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(LONG, full).await.expect("it stops early or is not bounded");
    let (other, writer) = new_log(&guest.dir, 2).await;
    let command = agent.start(shell(2, "seq 1 200000"), writer, LONG).await.unwrap();
    timeout(LONG, command.exit()).await.expect("it waits for the other").unwrap();
    assert_same(&outputs(&other).await.0, &seq(200_000));
    // Once nobody reads, it goes on.
    let stood = log.offsets().stdout;
    drop(stalled);
    let goes_on = async {
        while log.offsets().stdout == stood {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, goes_on).await.expect("it is stuck");
    flood.signal(9, LONG).await.unwrap();
    assert_eq!(flood.exit().await.unwrap().code, 137);
}

/// In bytes of the flood and not in time, so that a busy host changes nothing.
#[tokio::test]
async fn a_flood_does_not_hold_up_what_is_said_beside_it() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (flooded, writer) = new_log(&guest.dir, 1).await;
    let flood = agent.start(shell(1, "cat /dev/zero"), writer, LONG).await.unwrap();
    let mut most = 0;
    for n in 1..=50 {
        let flows = async {
            while flooded.offsets().stdout < n << 20 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, flows).await.expect("there is no flood");
        let before = flooded.offsets().stdout;
        agent.request(Request::Ping, LONG).await.unwrap();
        most = most.max(flooded.offsets().stdout - before);
    }
    assert!(most < 4 << 20, "{most} bytes of the flood came before an answer");
    flood.signal(9, LONG).await.unwrap();
    flood.exit().await.unwrap();
}
