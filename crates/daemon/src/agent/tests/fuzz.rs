//! Whatever an agent says: no panic, and nobody waits for ever.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{fake::Fake, *};

/// Something an agent may say, right or wrong.
#[derive(Clone, Debug)]
enum Said {
    Frame(Body),
    Bytes(Vec<u8>),
    /// A frame of which a byte is wrong.
    Damaged(Body, usize),
    OtherEpoch(Body),
    HangUp,
}

fn any_stream() -> impl Strategy<Value = StreamId> {
    // Those of commands one and two, the first transfers, and others.
    prop_oneof![8 => (0u32..28).prop_map(StreamId), 2 => (0u32..28).prop_map(|id| StreamId(id).back()), 1 => any::<u32>().prop_map(StreamId)]
}

fn any_offset() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0u64..100, 0..2 * WINDOW, any::<u64>()]
}

fn any_response() -> impl Strategy<Value = Response> {
    let stat = Stat { kind: EntryKind::File, size: u64::MAX, mode: 0, uid: 0, gid: 0, mtime: -1 };
    let exit = Exit { code: 1, signal: Some(0), cause: None, duration_ms: u64::MAX };
    let exited = CommandState { command: CommandId(1), progress: Progress::Exited(exit) };
    prop_oneof![
        Just(Response::Done),
        any::<u32>().prop_map(|pid| Response::Started { pid }),
        Just(Response::Commands(Vec::new())),
        Just(Response::Commands(vec![exited.clone(), exited])),
        Just(Response::Reading(stat)),
        Just(Response::Connected),
        any::<u64>().prop_map(|address| {
            let slot = |number, bytes| (number, vec![Place { address, bytes }]);
            Response::Lending { slots: vec![slot(0, 32 << 10), slot(0, 7), slot(1, u32::MAX)] }
        }),
        Just(Response::Written { entries: 1, bytes: u64::MAX }),
    ]
}

fn any_body() -> impl Strategy<Value = Body> {
    let exit = Exit { code: 0, signal: None, cause: None, duration_ms: 0 };
    prop_oneof![
        8 => (any_stream(), any_offset(), 0usize..300, any::<bool>()).prop_map(
            |(stream, offset, len, last)| {
                Body::Data(Data { stream, offset, bytes: vec![b'x'; len].into(), last })
            }
        ),
        4 => (any_stream(), any_offset(), any_offset(), any::<bool>())
            .prop_map(|(stream, offset, limit, last)| Body::Ack(Ack { stream, offset, limit, last })),
        4 => (any_stream(), any_offset(), any::<u64>(), any::<bool>()).prop_map(
            |(stream, offset, address, last)| {
                let places = vec![Place { address: address % 3000, bytes: 300 }];
                Body::Lent(Lent { stream, offset, places, last })
            }
        ),
        1 => prop::collection::vec(0u16..4, 0..4).prop_map(|slots| Body::Returned { slots }),
        2 => any_stream().prop_map(|stream| Body::Reset(Reset { stream })),
        4 => (0u64..12, any_response()).prop_map(|(id, response)| Body::Reply { id, reply: Ok(response) }),
        1 => (0u64..12).prop_map(|id| {
            let refusal = Refusal { code: RefusalCode::Io, message: "no".into() };
            Body::Reply { id, reply: Err(refusal) }
        }),
        2 => (0u32..4).prop_map(move |n| Body::Event(Event::Exited { command: CommandId(n), exit })),
        1 => Just(Body::Welcome(Welcome { version: VERSION, phase: Phase::Live })),
        1 => Just(Body::Hello(Hello { version: VERSION, instance: 3 })),
    ]
}

fn any_said() -> impl Strategy<Value = Said> {
    prop_oneof![
        20 => any_body().prop_map(Said::Frame),
        2 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Said::Bytes),
        2 => (any_body(), any::<usize>()).prop_map(|(body, at)| Said::Damaged(body, at)),
        1 => any_body().prop_map(Said::OtherEpoch),
        1 => Just(Said::HangUp),
    ]
}

fn encode(fake: &Fake, said: Said) -> Option<Vec<u8>> {
    let mut out = bytes::BytesMut::new();
    let mut put = |epoch, body| Frame { epoch, body }.encode(&mut out);
    match said {
        Said::Frame(body) => put(fake.epoch, body),
        Said::OtherEpoch(body) => put(Epoch(fake.epoch.0 ^ 1), body),
        Said::Damaged(body, at) => {
            put(fake.epoch, body);
            let at = at % out.len();
            out[at] ^= 0x10;
        }
        Said::Bytes(bytes) => return Some(bytes),
        Said::HangUp => return None,
    }
    Some(out.to_vec())
}

async fn hear_out(said: Vec<Said>) {
    let dir = TempDir::new().unwrap();
    let (agent, mut connections) = fake::host_beside(Some(lent::memory(4000).1));
    let mut fake = connections.recv().await.unwrap();
    fake.welcome().await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 1..=2 {
        let (_, writer) = new_log(&dir, number).await;
        let (agent, start) = (agent.clone(), shell(number, ""));
        asked.spawn(async move {
            let start = StartCommand { stdin: Stdin::Stream, ..start };
            let Ok(command) = agent.start(start, writer, LONG).await else { return };
            command.stdin().unwrap().write(vec![0; 300_000].into()).await.ok();
            command.exit().await.ok();
        });
    }
    for path in ["/a", "/b"] {
        let agent = agent.clone();
        asked.spawn(async move {
            let Ok((_, download)) = agent.read(path.into(), LONG).await else { return };
            drop(futures_util::StreamExt::collect::<Vec<_>>(download).await);
        });
    }
    let uploads = agent.clone();
    asked.spawn(async move {
        let body = futures_util::stream::repeat_with(|| Ok(Bytes::from_static(&[0; 50_000])));
        drop(uploads.write_tar("/".into(), Owner::Keep, body).await);
    });
    for _ in 0..2 {
        let agent = agent.clone();
        asked.spawn(async move {
            let Ok(mut tunnel) = agent.connect(80, LONG).await else { return };
            let mut to_port: &[u8] = &[0; 300_000];
            drop(tokio::io::copy(&mut to_port, &mut tunnel).await);
            drop(tunnel.read_to_end(&mut Vec::new()).await);
            drop(tunnel.shutdown().await);
        });
    }
    for word in said {
        if let Some(bytes) = encode(&fake, word)
            && fake.stream.write_all(&bytes).await.is_ok()
        {
            continue;
        }
        // One of the two hangs up, after all was heard; the next connection is spoken to.
        fake.stream.shutdown().await.ok();
        while fake.stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {}
        fake = connections.recv().await.unwrap();
        fake.welcome().await;
    }
    // The task is there: it did not panic.
    assert!(agent.ready(Instant::now() + LONG).await.is_ok());
    timeout(LONG, agent.close()).await.expect("it does not close");
    let all = async { while asked.join_next().await.transpose().unwrap().is_some() {} };
    timeout(LONG, all).await.expect("somebody waits for ever");
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn nothing_an_agent_says_does_harm(said in prop::collection::vec(any_said(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(hear_out(said));
    }
}
