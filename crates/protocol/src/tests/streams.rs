//! Whatever is lost at whatever moment, the receiver gets every byte once and in order.

use bytes::Bytes;
use proptest::prelude::*;

use crate::*;

const STREAM: StreamId = StreamId(1);

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Send,
    Handle(usize),
    Ack,
    /// The connection is lost with all that is under way; the next one begins an epoch.
    Reconnect,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1usize..100_000).prop_map(Step::Push),
        6 => Just(Step::Send),
        4 => (1usize..200_000).prop_map(Step::Handle),
        3 => Just(Step::Ack),
        1 => Just(Step::Reconnect),
    ]
}

/// A sender, a receiver and what is under way between them.
struct Wire {
    outbox: Outbox,
    inbox: Inbox,
    written: u64,
    queue: Vec<u8>,
    handled: Vec<u8>,
}

impl Wire {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(STREAM),
            inbox: Inbox::new(STREAM),
            written: 0,
            queue: Vec::new(),
            handled: Vec::new(),
        }
    }

    fn push(&mut self, count: usize) {
        let count = count.min(self.outbox.room());
        let bytes: Vec<u8> = (0..count).map(|n| byte_at(self.written + n as u64)).collect();
        self.written += count as u64;
        // As a reader that fills chunks does, or in one piece.
        if count.is_multiple_of(2) {
            return self.outbox.push(Bytes::from(bytes));
        }
        for bytes in bytes.chunks(CHUNK_MAX) {
            let mut chunk = Chunk::new();
            assert_eq!(chunk.append(bytes), bytes.len());
            self.outbox.push_chunk(chunk);
        }
    }

    fn send(&mut self) {
        while let Some(data) = next_data(&mut self.outbox) {
            self.queue.extend_from_slice(&self.inbox.on_data(&data).unwrap());
        }
        assert!(self.queue.len() as u64 <= WINDOW, "the receiver holds more than a window");
    }

    fn handle(&mut self, count: usize) {
        let count = count.min(self.queue.len());
        self.handled.extend(self.queue.drain(..count));
        self.inbox.handle(count);
        if self.inbox.is_ended() && self.queue.is_empty() {
            self.inbox.handle_end();
        }
    }

    fn reconnect(&mut self) {
        self.outbox.on_epoch();
        assert!(
            !self.outbox.is_ready() || self.outbox.is_done(),
            "nothing before the receiver spoke"
        );
        let ack = self.inbox.ack();
        self.outbox.on_ack(&ack).unwrap();
    }
}

fn next_data(outbox: &mut Outbox) -> Option<Data> {
    let mut decoder = Decoder::default();
    decoder.push(outbox.next_frame(Epoch(1), Way::Along)?);
    match decoder.next_frame() {
        Some(Ok(Frame { body: Body::Data(data), .. })) => Some(data),
        other => panic!("not a frame of data: {other:?}"),
    }
}

fn byte_at(offset: u64) -> u8 {
    u8::try_from(offset.wrapping_mul(0x9E37_79B9) >> 16 & 0xFF).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_byte_arrives_once(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut wire = Wire::new();
        for step in steps {
            match step {
                Step::Push(count) => wire.push(count),
                Step::Send => wire.send(),
                // A frame that is sent and lost: the sender believes it gone, the receiver has not seen it.
                Step::Reconnect => {
                    drop(next_data(&mut wire.outbox));
                    wire.reconnect();
                }
                Step::Handle(count) => wire.handle(count),
                Step::Ack => {
                    if let Some(ack) = wire.inbox.due_ack() {
                        wire.outbox.on_ack(&ack).unwrap();
                    }
                }
            }
        }
        wire.outbox.end();
        for _ in 0..20 {
            wire.send();
            wire.handle(usize::MAX);
            let ack = wire.inbox.ack();
            wire.outbox.on_ack(&ack).unwrap();
        }
        prop_assert!(wire.outbox.is_done());
        prop_assert_eq!(wire.handled.len() as u64, wire.written);
        prop_assert!(wire.handled.iter().enumerate().all(|(n, byte)| *byte == byte_at(n as u64)));
    }
}

#[test]
fn the_sender_keeps_no_more_than_a_window() {
    let mut outbox = Outbox::new(STREAM);
    outbox.push(Bytes::from(vec![0; usize::try_from(WINDOW).unwrap()]));
    assert_eq!(outbox.room(), 0);
    outbox
        .on_ack(&Ack { stream: STREAM, offset: 1000, limit: WINDOW + 1000, last: false })
        .unwrap();
    assert_eq!(outbox.room(), 1000);
}

#[test]
fn a_peer_that_breaks_the_rules_is_refused() {
    let data = |offset, len: usize, last| Data {
        stream: STREAM,
        offset,
        bytes: Bytes::from(vec![0; len]),
        last,
    };
    let mut inbox = Inbox::new(STREAM);
    assert_eq!(inbox.on_data(&data(1, 1, false)), Err(Violation::Gap));
    assert_eq!(
        inbox.on_data(&data(0, usize::try_from(WINDOW).unwrap() + 1, false)),
        Err(Violation::Flood)
    );
    inbox.on_data(&data(0, 5, true)).unwrap();
    assert_eq!(inbox.on_data(&data(5, 1, false)), Err(Violation::AfterEnd));
    let mut outbox = Outbox::new(STREAM);
    let ack = Ack { stream: STREAM, offset: 1, limit: 9, last: false };
    assert_eq!(outbox.on_ack(&ack), Err(Violation::AckOfUnsent));
}

#[test]
fn a_hostile_acknowledgement_harms_nobody() {
    for (offset, limit) in [(5, 0), (5, u64::MAX), (0, 0)] {
        for waiting in [false, true] {
            let mut outbox = Outbox::new(STREAM);
            outbox.push(b"hello");
            outbox.end();
            if waiting {
                outbox.on_epoch();
            }
            outbox.on_ack(&Ack { stream: STREAM, offset, limit, last: false }).unwrap();
            while next_data(&mut outbox).is_some() {}
            assert_eq!(outbox.room(), 0);
        }
    }
}

#[test]
fn a_resumed_stream_goes_on_where_the_receiver_stands() {
    let mut outbox = Outbox::resume(STREAM, 1000);
    outbox.push(b"hello");
    outbox.end();
    let data = next_data(&mut outbox).unwrap();
    assert_eq!((data.offset, &data.bytes[..], data.last), (1000, &b"hello"[..], true));
    outbox.on_ack(&Ack { stream: STREAM, offset: 1005, limit: 2000, last: true }).unwrap();
    assert!(outbox.is_done());
}

/// Memory for a chunk, at this address for the host.
fn slot(address: u64) -> Slot {
    let half = u32::try_from(SLOT_LEN / 2).unwrap();
    let places = [address, 2 * address].map(|address| Place { address, bytes: half });
    Slot::new(vec![0; SLOT_LEN].leak(), places.to_vec()).unwrap()
}

fn body(frame: &[u8]) -> Body {
    let mut decoder = Decoder::default();
    decoder.push(frame);
    decoder.next_frame().unwrap().unwrap().body
}

#[test]
fn what_is_in_a_slot_is_lent_where_the_host_reads_it() {
    let mut outbox = Outbox::new(STREAM);
    let mut chunk = Chunk::in_slot(slot(1 << 20));
    assert_eq!(chunk.append(&[7; ALONE + 100]), ALONE + 100);
    outbox.push_chunk(chunk);
    outbox.end();
    let frame = outbox.next_frame(Epoch(1), Way::Lent).unwrap().to_vec();
    let half = SLOT_LEN / 2;
    let place = |address, bytes| Place { address, bytes: u32::try_from(bytes).unwrap() };
    let first = place((1 << 20) + HEADER_LEN as u64, half - HEADER_LEN);
    let places = vec![first, place(2 << 20, ALONE + 100 - (half - HEADER_LEN))];
    let lent = Lent { stream: STREAM, offset: 0, places, last: true };
    assert_eq!(body(&frame), Body::Lent(lent));
    // In another epoch the host does not read it there, and has got a part.
    outbox.on_epoch();
    outbox.on_ack(&Ack { stream: STREAM, offset: 50, limit: WINDOW, last: false }).unwrap();
    assert_eq!(outbox.next_len(Way::Along), Some(HEADER_LEN + ALONE + 50));
    let Body::Data(data) = body(outbox.next_frame(Epoch(2), Way::Along).unwrap()) else { panic!() };
    assert_eq!((data.offset, &data.bytes[..], data.last), (50, &[7; ALONE + 50][..], true));
}

#[test]
fn what_was_put_into_a_slot_is_sent_without_its_bytes() {
    let mut outbox = Outbox::new(STREAM);
    outbox.push(b"little");
    assert_eq!(outbox.next_chunk(), None, "it goes along");
    outbox.next_frame(Epoch(1), Way::Along).unwrap();
    outbox.push([7; CHUNK_MAX]);
    outbox.end();
    assert_eq!(outbox.next_chunk(), Some(&[7; CHUNK_MAX][..]));
    let filled = body(outbox.next_filled(Epoch(1), 9).unwrap());
    let bytes = u16::try_from(CHUNK_MAX).unwrap();
    let expected = Filled { stream: STREAM, offset: 6, slot: 9, bytes, last: true };
    assert_eq!(filled, Body::Filled(expected));
    assert_eq!(outbox.next_chunk(), None);

    let mut inbox = Inbox::resume(STREAM, 6);
    let span = Span { offset: 6, len: CHUNK_MAX, last: true };
    assert_eq!(inbox.known(span), Ok(0));
    inbox.receive(span);
    assert!(inbox.is_ended());
    assert_eq!(inbox.known(span), Ok(CHUNK_MAX));
    assert_eq!(inbox.known(Span { offset: 7 + CHUNK_MAX as u64, ..span }), Err(Violation::Gap));
    assert_eq!(inbox.known(Span { offset: 7, ..span }), Err(Violation::AfterEnd));
}

#[test]
fn a_slot_comes_back_when_nobody_reads_it_any_more() {
    let chunk = Chunk::received(40_000, slot(1 << 30), 100);
    assert_eq!(chunk.bytes(), [0; 100]);
    assert!(!take_returned().iter().any(|(number, _)| *number == 40_000));
    drop(chunk);
    let returned = take_returned();
    let (_, slot) = returned.iter().find(|(number, _)| *number == 40_000).unwrap();
    assert_eq!(slot.places()[0].address, 1 << 30);
    assert!(Slot::new(vec![0; SLOT_LEN].leak(), slot.places()[..1].to_vec()).is_none());
}

#[test]
fn an_aligned_chunk_begins_where_a_disk_wants_it_and_is_sent_as_any_other() {
    for align in [1, 512, 4096] {
        let mut chunk = Chunk::aligned(align);
        let room = chunk.room();
        assert_eq!(room.as_ptr().addr() % align, 0);
        assert!(CHUNK_MAX - align < room.len() && room.len() <= CHUNK_MAX);
        room[..2000].fill(7);
        chunk.fill(2000);

        let mut outbox = Outbox::new(STREAM);
        outbox.push_chunk(chunk);
        outbox.on_ack(&Ack { stream: STREAM, offset: 0, limit: WINDOW, last: false }).unwrap();
        let Body::Data(data) = body(outbox.next_frame(Epoch(1), Way::Along).unwrap()) else {
            panic!("it goes along");
        };
        assert_eq!((data.offset, &data.bytes[..]), (0, &[7; 2000][..]));
    }
}
