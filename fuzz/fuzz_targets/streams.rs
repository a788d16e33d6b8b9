//! A stream loses, doubles and invents nothing, whatever its channel loses; and a peer that lies
//! about its end gets no memory and no wrong bytes for it.

#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::{
    Ack, Body, CHUNK_MAX, Data, Decoder, Epoch, Frame, Inbox, Outbox, StreamId, WINDOW,
};

const STREAM: StreamId = StreamId(5);

#[derive(Arbitrary, Debug)]
enum Input {
    /// Both ends keep to the contract and the channel does not.
    Lossy(Vec<Step>),
    /// Only one end does.
    HostileReceiver {
        from: u32,
        steps: Vec<(Step, Option<Forged>)>,
    },
    HostileSender {
        from: u32,
        steps: Vec<(u16, ForgedData)>,
    },
}

#[derive(Arbitrary, Debug)]
enum Step {
    Push(u32),
    End,
    Send,
    DeliverData,
    Handle(u32),
    Ack,
    DeliverAck,
    /// All that is under way is lost.
    Epoch,
}

#[derive(Arbitrary, Debug)]
struct Forged {
    offset: Number,
    limit: Number,
    last: bool,
}

#[derive(Arbitrary, Debug)]
struct ForgedData {
    offset: Number,
    len: u16,
    last: bool,
}

/// Any number, most of them near where the stream stands.
#[derive(Arbitrary, Debug)]
enum Number {
    Near(i32),
    Any(u64),
}

impl Number {
    fn from(&self, base: u64) -> u64 {
        match self {
            Self::Near(by) => base.wrapping_add_signed(i64::from(*by) % (WINDOW as i64 * 2)),
            Self::Any(number) => *number,
        }
    }
}

/// The byte at `offset` of every stream here.
fn byte(offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16)) as u8
}

fn run(offset: u64, len: usize) -> Vec<u8> {
    (0..len).map(|n| byte(offset.wrapping_add(n as u64))).collect()
}

#[track_caller]
fn check(offset: u64, bytes: &[u8]) {
    assert!(bytes == run(offset, bytes.len()), "wrong bytes");
}

struct Lossy {
    outbox: Outbox,
    inbox: Inbox,
    data: VecDeque<Data>,
    acks: VecDeque<Ack>,
    received: u64,
    ended: bool,
}

impl Lossy {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(STREAM),
            inbox: Inbox::new(STREAM),
            data: VecDeque::new(),
            acks: VecDeque::new(),
            received: 0,
            ended: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Push(len) => push(&mut self.outbox, *len, self.ended),
            Step::End => {
                self.outbox.end();
                self.ended = true;
            }
            Step::Send => self.data.extend(next_data(&mut self.outbox)),
            Step::DeliverData => {
                let Some(data) = self.data.pop_front() else { return };
                let fresh = self.inbox.on_data(&data).expect("the sender kept to the contract");
                check(self.received, &fresh);
                self.received += fresh.len() as u64;
            }
            Step::Handle(count) => {
                self.inbox.handle(*count as usize);
                self.inbox.handle_end();
            }
            Step::Ack => self.acks.extend(self.inbox.due_ack()),
            Step::DeliverAck => {
                let Some(ack) = self.acks.pop_front() else { return };
                self.outbox.on_ack(&ack).expect("the receiver kept to the contract");
            }
            Step::Epoch => {
                self.data.clear();
                self.acks.clear();
                self.outbox.on_epoch();
                self.acks.push_back(self.inbox.ack());
            }
        }
        assert!(self.outbox.acked() <= self.inbox.handled(), "forgotten before it was handled");
        assert!(self.received <= self.outbox.written(), "bytes from nowhere");
    }

    /// With nothing lost any more, everything arrives.
    fn settle(&mut self) {
        self.step(&Step::End);
        self.step(&Step::Epoch);
        for _ in 0..1000 {
            if self.outbox.is_done() {
                break;
            }
            for step in [Step::DeliverAck, Step::Send, Step::DeliverData, Step::Handle(u32::MAX)] {
                self.step(&step);
            }
            self.step(&Step::Ack);
        }
        assert!(self.outbox.is_done() && self.inbox.is_ended(), "stuck");
        assert_eq!(self.received, self.outbox.written());
    }
}

fn push(outbox: &mut Outbox, len: u32, ended: bool) {
    let room = outbox.room();
    assert!(room as u64 <= WINDOW && (!ended || room == 0));
    let bytes = run(outbox.written(), room.min(len as usize));
    outbox.push(bytes);
}

fn next_data(outbox: &mut Outbox) -> Option<Data> {
    let was_ready = outbox.is_ready();
    let mut decoder = Decoder::default();
    let frame = outbox.next_frame(Epoch(1));
    assert_eq!(frame.is_some(), was_ready);
    decoder.push(frame?);
    let Some(Ok(Frame { body: Body::Data(data), .. })) = decoder.next_frame() else {
        panic!("not a frame of data");
    };
    assert!(data.bytes.len() <= CHUNK_MAX && (data.last || !data.bytes.is_empty()));
    assert!(outbox.acked() <= data.offset);
    check(data.offset, &data.bytes);
    Some(data)
}

fn hostile_receiver(from: u64, steps: &[(Step, Option<Forged>)]) {
    let mut outbox = Outbox::resume(STREAM, from);
    let mut ended = false;
    for (step, forged) in steps {
        match step {
            Step::Push(len) => push(&mut outbox, *len, ended),
            Step::End => {
                outbox.end();
                ended = true;
            }
            Step::Epoch => outbox.on_epoch(),
            _ => drop(next_data(&mut outbox)),
        }
        let Some(Forged { offset, limit, last }) = forged else { continue };
        let (written, acked) = (outbox.written(), outbox.acked());
        let (offset, limit) = (offset.from(acked), limit.from(acked));
        let ack = Ack { stream: STREAM, offset, limit, last: *last };
        if outbox.on_ack(&ack).is_ok() {
            assert!(offset <= written && (!last || ended));
        }
        assert!(acked <= outbox.acked() && outbox.acked() <= outbox.written());
        assert!(outbox.written() - outbox.acked() <= WINDOW, "kept without bound");
    }
}

fn hostile_sender(from: u64, steps: &[(u16, ForgedData)]) {
    let mut inbox = Inbox::resume(STREAM, from);
    let mut received = from;
    for (handle, ForgedData { offset, len, last }) in steps {
        let offset = offset.from(received);
        let bytes = Bytes::from(run(offset, usize::from(*len).min(CHUNK_MAX)));
        let was_ended = inbox.is_ended();
        let data = Data { stream: STREAM, offset, bytes, last: *last };
        if let Ok(fresh) = inbox.on_data(&data) {
            check(received, &fresh);
            received += fresh.len() as u64;
            assert!(!was_ended || fresh.is_empty(), "bytes after the end");
        }
        assert!(received - inbox.handled() <= WINDOW, "taken in without bound");
        inbox.handle(usize::from(*handle));
        inbox.handle_end();
        let ack = inbox.due_ack();
        assert!(ack.is_none_or(|ack| ack.offset <= received && ack.limit <= received + WINDOW));
    }
}

fuzz_target!(|input: Input| match input {
    Input::Lossy(steps) => {
        let mut lossy = Lossy::new();
        for step in &steps {
            lossy.step(step);
        }
        lossy.settle();
    }
    Input::HostileReceiver { from, steps } => hostile_receiver(u64::from(from), &steps),
    Input::HostileSender { from, steps } => hostile_sender(u64::from(from), &steps),
});
