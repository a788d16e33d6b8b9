//! Agents that break the rules, or are not there.

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    fake::{Fake, greeted, host},
    *,
};

const PING: Request = Request::Ping;

async fn assert_well(agent: &Agent, fake: &mut Fake) {
    let (answered, ()) = tokio::join!(agent.request(PING, LONG), async {
        let (id, _) = fake.request().await;
        fake.reply(id, Response::Done).await;
    });
    assert_eq!(answered.unwrap(), Response::Done);
}

#[tokio::test]
async fn hello_is_said_again_and_then_behind_padding() {
    let (_agent, mut connections) = host();
    let mut fake = connections.recv().await.unwrap();
    let began = Instant::now();
    let mut epochs = Vec::new();
    for _ in 0..2 {
        assert!(matches!(fake.hear().await, Some(Body::Hello(_))));
        epochs.push(fake.epoch);
    }
    assert!(began.elapsed() >= Duration::from_millis(290));
    // An agent in the middle of the longest frame takes what follows for the rest of it.
    let mut padding = vec![0; PAYLOAD_MAX];
    fake.stream.read_exact(&mut padding).await.unwrap();
    assert!(padding.iter().all(|byte| *byte == 0));
    assert!(matches!(fake.hear().await, Some(Body::Hello(_))));
    epochs.push(fake.epoch);
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

#[tokio::test]
async fn an_agent_that_reads_nothing_is_not_spoken_to_for_ever() {
    let (_agent, mut connections) = host();
    let mut fake = connections.recv().await.unwrap();
    // Long enough for four more hellos, if each were said.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut heard = 0;
    let mut bytes = vec![0; 1 << 20];
    while let Ok(Ok(count)) =
        timeout(Duration::from_millis(200), fake.stream.read(&mut bytes)).await
    {
        heard += count;
    }
    assert!(heard < PAYLOAD_MAX + 1000, "{heard} bytes were kept for it");
}

#[tokio::test]
async fn stale_bytes_before_the_welcome_are_passed_over() {
    let (agent, mut connections) = host();
    let mut fake = connections.recv().await.unwrap();
    assert!(matches!(fake.hear().await, Some(Body::Hello(_))));
    let epoch = fake.epoch;
    // The rest of a frame, a frame of an older epoch, and the front of one that never ends.
    fake.stream.write_all(&[7; 5000]).await.unwrap();
    fake.epoch = Epoch(epoch.0.wrapping_add(1));
    fake.say(Body::Welcome(Welcome { version: VERSION, phase: Phase::Bare })).await;
    let mut front = MAGIC.to_le_bytes().to_vec();
    front.resize(24, 0);
    front.extend(u32::try_from(PAYLOAD_MAX).unwrap().to_le_bytes());
    fake.stream.write_all(&front).await.unwrap();
    fake.epoch = epoch;
    let welcome = Body::Welcome(Welcome { version: VERSION, phase: Phase::Live });
    fake.say(welcome.clone()).await;
    // The first welcome is taken for what the front announced; the next hello's is understood.
    assert!(matches!(fake.hear().await, Some(Body::Hello(_))));
    fake.say(welcome).await;
    assert_eq!(agent.ready(Instant::now() + LONG).await.unwrap(), Phase::Live);
}

#[tokio::test]
async fn another_version_is_said_to_all_who_ask() {
    let (agent, mut connections) = host();
    let mut fake = connections.recv().await.unwrap();
    assert!(matches!(fake.hear().await, Some(Body::Hello(_))));
    let waiting = agent.request(PING, LONG);
    let answers = async {
        fake.say(Body::Welcome(Welcome { version: 99, phase: Phase::Live })).await;
        fake.hear().await
    };
    let (waiting, heard) = tokio::join!(waiting, answers);
    let is_other = |error: &AgentError| matches!(error, AgentError::VersionMismatch { agent: 99 });
    assert!(is_other(&waiting.unwrap_err()));
    assert_eq!(heard, None, "it is hung up on");
    assert!(is_other(&agent.request(PING, LONG).await.unwrap_err()));
    assert!(is_other(&agent.ready(Instant::now() + LONG).await.unwrap_err()));
}

#[tokio::test]
async fn an_answer_of_another_kind_is_refused() {
    let (agent, mut fake, _connections) = greeted().await;
    let dir = TempDir::new().unwrap();
    let (log, writer) = new_log(&dir, 1).await;
    let (started, ()) = tokio::join!(agent.start(shell(1, ""), writer, LONG), async {
        let (id, _) = fake.request().await;
        fake.reply(id, Response::Done).await;
    });
    assert!(matches!(started, Err(AgentError::Confused)));
    assert_eq!(log.reader(Offsets::default(), Follow::ToTheEnd).next().await.unwrap(), None);
    let (read, ()) = tokio::join!(agent.read("/x".into(), LONG), async {
        let (id, _) = fake.request().await;
        fake.reply(id, Response::Written { entries: 1, bytes: 1 }).await;
    });
    assert!(matches!(read, Err(AgentError::Confused)));
    assert_well(&agent, &mut fake).await;
}

#[tokio::test]
async fn what_nobody_asked_for_changes_nothing() {
    let (agent, mut fake, _connections) = greeted().await;
    let nobodys = StreamId::stdout(CommandId(9));
    for id in [0, 1, 7, u64::MAX] {
        fake.reply(id, Response::Commands(Vec::new())).await;
    }
    fake.exited(CommandId(9)).await;
    fake.say(Body::Ack(Ack { stream: nobodys, offset: 5, limit: 9, last: true })).await;
    fake.say(Body::Reset(Reset { stream: nobodys })).await;
    fake.say(Body::Hello(Hello { version: 1, instance: 9 })).await;
    fake.say(Body::Request { id: 1, request: Request::Sync }).await;
    fake.data(nobodys, 0, b"unwanted").await;
    assert_eq!(fake.reset().await, nobodys);
    assert_well(&agent, &mut fake).await;
}

#[tokio::test]
async fn a_violation_costs_the_stream_and_no_other() {
    let dir = TempDir::new().unwrap();
    let (agent, mut fake, _connections) = greeted().await;
    let mut commands = Vec::new();
    for number in 1..=2 {
        let (log, writer) = new_log(&dir, number).await;
        let started = agent.start(shell(number, ""), writer, LONG);
        let (command, _) = tokio::join!(started, fake.start());
        commands.push((command.unwrap(), log));
    }
    let [one, two] = [CommandId(1), CommandId(2)].map(StreamId::stdout);
    fake.data(one, 0, b"good").await;
    fake.data(two, 0, b"good").await;
    fake.data(one, 5, b"a gap before").await;
    assert_eq!(fake.reset().await, one);
    fake.data(two, 4, b" too").await;
    for (number, at) in [(1, 4), (2, 8)] {
        fake.last(StreamId::stdout(CommandId(number)), at).await;
        fake.last(StreamId::stderr(CommandId(number)), 0).await;
        fake.exited(CommandId(number)).await;
    }
    for ((command, log), expected) in commands.iter().zip([&b"good"[..], b"good too"]) {
        command.exit().await.unwrap();
        assert_eq!(outputs(log).await.0, expected);
    }
}

#[tokio::test]
async fn more_than_there_is_room_for_is_not_kept() {
    let dir = TempDir::new().unwrap();
    let (agent, mut fake, _connections) = greeted().await;
    // A download that nobody reads: nothing of it is acknowledged.
    let reading = agent.read("/x".into(), LONG);
    let stat = Stat { kind: EntryKind::File, size: 0, mode: 0, uid: 0, gid: 0, mtime: 0 };
    let (download, stream) = tokio::join!(reading, async {
        let (id, request) = fake.request().await;
        let Request::Read { stream, .. } = request else { panic!("{request:?}") };
        fake.reply(id, Response::Reading(stat)).await;
        stream
    });
    let (_, mut download) = download.unwrap();
    let chunk = vec![b'x'; CHUNK_MAX];
    let mut offset = 0;
    while offset <= WINDOW {
        fake.data(stream, offset, &chunk).await;
        offset += chunk.len() as u64;
    }
    assert_eq!(fake.reset().await, stream);
    let mut kept = 0;
    let failed = loop {
        match download.next().await.expect("it says that it was cut short") {
            Ok(bytes) => kept += bytes.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(kept <= WINDOW);
    assert_eq!(failed.kind(), io::ErrorKind::ConnectionAborted);
    assert!(download.next().await.is_none(), "it says so once");
    drop(dir);
    assert_well(&agent, &mut fake).await;
}

#[tokio::test]
async fn a_flood_of_garbage_ends_the_connection() {
    let (agent, mut fake, mut connections) = greeted().await;
    // Fronts of frames: each is looked at for itself.
    let mut garbage = Vec::new();
    for _ in 0..20_000 {
        garbage.extend(MAGIC.to_le_bytes());
        garbage.extend([0xFF; 28]);
    }
    let hung_up = async { while fake.stream.write_all(&garbage).await.is_ok() {} };
    timeout(LONG, hung_up).await.expect("it is heard to the end");
    let mut fake = connections.recv().await.unwrap();
    fake.welcome().await;
    assert_well(&agent, &mut fake).await;
}

#[tokio::test]
async fn a_start_that_was_given_up_is_killed() {
    let dir = TempDir::new().unwrap();
    let (agent, mut fake, _connections) = greeted().await;
    let (log, writer) = new_log(&dir, 1).await;
    let asked = agent.start(shell(1, ""), writer, Duration::from_millis(20)).await;
    assert!(matches!(asked, Err(AgentError::TimedOut)), "{asked:?}");
    assert_eq!(log.reader(Offsets::default(), Follow::ToTheEnd).next().await.unwrap(), None);
    let command = fake.start().await;
    assert_eq!(fake.request().await.1, Request::Signal { command, signal: 9 });
    // What it says meanwhile is not wanted.
    fake.data(StreamId::stdout(command), 0, b"unwanted").await;
    assert_eq!(fake.reset().await, StreamId::stdout(command));
}

#[tokio::test]
async fn everything_under_way_ends_with_the_machine() {
    let dir = TempDir::new().unwrap();
    let (agent, mut fake, _connections) = greeted().await;
    let (log, writer) = new_log(&dir, 1).await;
    let start = StartCommand { stdin: Stdin::Stream, ..shell(1, "") };
    let (command, _) = tokio::join!(agent.start(start, writer, LONG), fake.start());
    let command = command.unwrap();
    fake.data(StreamId::stdout(CommandId(1)), 0, b"last words").await;
    assert_well(&agent, &mut fake).await;
    let stdin = command.stdin().unwrap();
    let full = tokio::spawn({
        let stdin = stdin.clone();
        async move { while stdin.write(vec![0; 100_000].into()).await.is_ok() {} }
    });
    let asks = tokio::spawn({
        let agent = agent.clone();
        async move { agent.request(PING, LONG).await }
    });
    let uploads = tokio::spawn({
        let agent = agent.clone();
        let body = futures_util::stream::pending();
        async move { agent.write_tar("/".into(), Owner::Keep, body).await }
    });
    while !matches!(fake.request().await.1, Request::WriteTar { .. }) {}
    timeout(LONG, agent.close()).await.expect("it does not close");
    assert!(matches!(asks.await.unwrap(), Err(AgentError::Gone)));
    assert!(matches!(uploads.await.unwrap(), Err(AgentError::Gone)));
    full.await.unwrap();
    assert!(matches!(command.exit().await, Err(CommandLost::Gone)));
    assert_eq!(outputs(&log).await.0, b"last words");
    assert!(matches!(agent.request(PING, LONG).await, Err(AgentError::Gone)));
    assert!(matches!(agent.ready(Instant::now() + LONG).await, Err(AgentError::Gone)));
    while fake.hear().await.is_some() {}
}

#[tokio::test]
async fn the_task_ends_with_its_last_handle() {
    let (agent, mut fake, mut connections) = greeted().await;
    drop(agent);
    while fake.hear().await.is_some() {}
    assert!(connections.recv().await.is_none());
}

#[tokio::test]
async fn a_request_that_is_too_long_is_not_sent() {
    let (agent, mut fake, _connections) = greeted().await;
    let request = Request::Stat { path: "x".repeat(PAYLOAD_MAX) };
    assert!(matches!(agent.request(request, LONG).await, Err(AgentError::TooLong)));
    assert_well(&agent, &mut fake).await;
}

#[tokio::test]
async fn what_was_given_up_while_disconnected_is_never_sent() {
    let (agent, mut connections) = host();
    let mut fake = connections.recv().await.unwrap();
    let remove = Request::Remove { path: "/x".into(), mode: RemoveMode::Tree };
    let asked = agent.request(remove, Duration::from_millis(20)).await;
    assert!(matches!(asked, Err(AgentError::TimedOut)));
    drop(fake);
    fake = connections.recv().await.unwrap();
    fake.welcome().await;
    assert_well(&agent, &mut fake).await;
}

#[tokio::test]
async fn a_hostile_offset_of_an_adopted_input_harms_nobody() {
    let dir = TempDir::new().unwrap();
    let (agent, mut fake, _connections) = greeted().await;
    let (_log, writer) = new_log(&dir, 1).await;
    let command = agent.adopt(CommandId(1), Stdin::Stream, writer).await.unwrap();
    let stream = StreamId::stdin(CommandId(1));
    fake.welcome().await;
    fake.say(Body::Ack(Ack { stream, offset: u64::MAX, limit: 0, last: false })).await;
    assert_eq!(command.stdin().unwrap().written().await, Err(StdinClosed));
    assert_eq!(fake.reset().await, stream);
    // Its exit is still learnt.
    fake.exit(CommandId(1)).await;
    assert_eq!(command.exit().await.unwrap().code, 0);
}
