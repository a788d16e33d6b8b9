use protocol::{Data, Decoder, Event, Exit, WINDOW};

use super::*;

fn flooded(streams: u32) -> Outgoing {
    let mut outgoing = Outgoing::default();
    outgoing.begin(Epoch(1));
    for stream in (0..streams).map(StreamId) {
        outgoing.open(stream);
        let room = outgoing.room(stream);
        assert_eq!(room as u64, WINDOW);
        push(&mut outgoing, stream, &vec![0; room]);
    }
    outgoing
}

fn push(outgoing: &mut Outgoing, stream: StreamId, bytes: &[u8]) {
    for bytes in bytes.chunks(CHUNK_MAX) {
        let mut chunk = Chunk::new();
        chunk.append(bytes);
        outgoing.push_chunk(stream, chunk);
    }
}

/// What is written to the channel at once.
fn written(outgoing: &mut Outgoing) -> Vec<u8> {
    let mut out = BytesMut::new();
    let large = outgoing.fill(&mut out).map(<[u8]>::to_vec);
    assert!(large.is_none() || out.is_empty(), "a large frame goes alone");
    large.unwrap_or_else(|| out.to_vec())
}

fn frames(bytes: &[u8]) -> Vec<Body> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame()).map(|frame| frame.unwrap().body).collect()
}

#[test]
fn a_stream_waits_for_one_frame_of_each_other() {
    let mut outgoing = flooded(8);
    let new = StreamId(100);
    written(&mut outgoing);
    outgoing.open(new);
    push(&mut outgoing, new, b"x");
    let mut before = 0;
    loop {
        let out = written(&mut outgoing);
        let mut frames = frames(&out).into_iter();
        if frames.any(|body| matches!(body, Body::Data(Data { stream, .. }) if stream == new)) {
            break;
        }
        before += out.len();
    }
    assert!(before <= 8 * BATCH, "{before} bytes went before it");
}

#[test]
fn control_goes_before_all_streams() {
    let mut outgoing = flooded(8);
    let exit = Exit { code: 0, signal: None, cause: None, duration_ms: 0 };
    let event = Event::Exited { command: protocol::CommandId(1), exit };
    outgoing.say(Body::Event(event.clone()));
    assert_eq!(frames(&written(&mut outgoing))[0], Body::Event(event));
}

#[test]
fn nothing_is_sent_before_a_hello_or_after_a_hang_up() {
    let mut outgoing = flooded(2);
    outgoing.pause();
    outgoing.say(Body::Reset(protocol::Reset { stream: StreamId(0) }));
    assert!(written(&mut outgoing).is_empty());
    // In the next epoch a stream waits for the host to say where it stands.
    outgoing.begin(Epoch(2));
    assert!(written(&mut outgoing).is_empty());
    let ack = Ack { stream: StreamId(1), offset: 10, limit: WINDOW, last: false };
    assert_eq!(outgoing.on_ack(&ack), Ok(false));
    let Body::Data(data) = &frames(&written(&mut outgoing))[0] else { panic!("no data") };
    assert_eq!((data.stream, data.offset), (StreamId(1), 10));
}

#[test]
fn what_is_kept_is_counted() {
    let mut outgoing = flooded(3);
    assert_eq!(outgoing.kept(), 3 * WINDOW);
    let ack = Ack { stream: StreamId(1), offset: 0, limit: WINDOW, last: false };
    assert!(outgoing.on_ack(&Ack { offset: WINDOW + 1, ..ack }).is_err());
    assert_eq!(outgoing.on_ack(&Ack { offset: 1000, ..ack }), Ok(false));
    outgoing.close(StreamId(0));
    assert_eq!(outgoing.kept(), 2 * WINDOW - 1000);
}
