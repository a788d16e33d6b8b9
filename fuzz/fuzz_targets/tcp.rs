//! A guest whose segments say what they like: nothing panics, and what is read from a connection is
//! what was sent at that place of the stream, whatever came before, twice, late or not at all.

#![no_main]

use std::{cell::RefCell, future::poll_fn, task::Poll, time::Duration};

use arbitrary::Arbitrary;
use egress::{
    address::{GATEWAY_MAC, GUEST_MAC, GUEST_V4},
    gateway::{
        craft::{sum, sum_pseudo},
        frames::Inbox,
        link::{Flow, Link, News},
    },
};
use libfuzzer_sys::fuzz_target;
use tokio::{io::AsyncWriteExt, net::UnixStream, runtime::Runtime};

const TO: [u8; 4] = [203, 0, 113, 7];
/// The number of the guest's SYN: sequence numbers pass over zero soon after it.
const FIRST: u32 = u32::MAX - 70_000;

#[derive(Arbitrary, Debug)]
struct Input {
    options: Options,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
struct Options {
    segment_bytes: Option<u16>,
    window_scale: Option<u8>,
    selective: bool,
}

#[derive(Arbitrary, Debug)]
enum Op {
    /// The next bytes of the stream, acknowledging all.
    Next {
        bytes: u16,
        window: u16,
    },
    /// Bytes of the stream from anywhere.
    Anywhere {
        offset: i32,
        bytes: u16,
        acknowledges: i32,
        flags: u8,
        window: u16,
    },
    /// A segment that belongs to nothing.
    Wild {
        sequence: u32,
        acknowledges: u32,
        flags: u8,
        data: Vec<u8>,
    },
    Finish,
    Read(u32),
    Write(u32),
    ShutDown,
    Wait(u16),
}

/// The byte at a place of either stream.
fn pattern(at: u64) -> u8 {
    (at * 31 + at / 251).to_le_bytes()[0]
}

struct World {
    guest: UnixStream,
    inbox: Inbox,
    flow: Option<Flow>,
    /// Bytes of the guest's stream that were sent in order, and read.
    sent: u64,
    read: u64,
    /// Whether the end of the guest's stream was said anywhere: then its bytes have one number less.
    finished: bool,
    /// Bytes written to the guest's, and the gateway's first number.
    written: u64,
    theirs: Option<u32>,
    next: u32,
    options: Vec<u8>,
}

impl World {
    async fn segment(&mut self, numbers: (u32, u32), flags: u8, window: u16, data: &[u8]) {
        let options = if flags & 2 == 0 { &[][..] } else { &self.options[..] };
        let header = 20 + options.len();
        let mut tcp = [&[0x13, 0x88, 0x01, 0xbb][..], &[0; 16], options, data].concat();
        tcp[4..8].copy_from_slice(&numbers.0.to_be_bytes());
        tcp[8..12].copy_from_slice(&numbers.1.to_be_bytes());
        tcp[12] = u8::try_from(header / 4).expect("few options") << 4;
        tcp[13] = flags & 0x3f;
        tcp[14..16].copy_from_slice(&window.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0];
        packet.extend(GUEST_V4.octets());
        packet.extend(TO);
        packet.extend(tcp);
        let length = u16::try_from(packet.len()).expect("it fits");
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        let check = !sum(&packet[..20]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        let frame = [&GATEWAY_MAC[..], &GUEST_MAC, &[8, 0], &packet].concat();
        let length = u32::try_from(frame.len()).expect("it fits").to_be_bytes();
        self.guest.write_all(&[&length[..], &frame].concat()).await.expect("the link stands");
    }

    async fn act(&mut self, op: &Op) {
        let acknowledges = self.next;
        match *op {
            Op::Next { bytes, window } => {
                let (at, bytes) = (self.sent, bytes.min(65_480));
                self.sent += u64::from(bytes);
                self.stream_segment(at, bytes, (acknowledges, 16, window)).await;
            }
            Op::Anywhere { offset, bytes, acknowledges: delta, flags, window } => {
                let at = self.sent.saturating_add_signed((offset % 2_000_000).into());
                let acknowledges = acknowledges.wrapping_add_signed(delta);
                self.finished |= flags & 1 == 1;
                self.stream_segment(at, bytes.min(65_400), (acknowledges, flags, window)).await;
            }
            // Data would be another stream's.
            Op::Wild { sequence, acknowledges, flags, ref data } => {
                let data = if flags & 16 == 0 { &data[..data.len().min(1000)] } else { &[] };
                self.finished |= flags & 1 == 1;
                self.segment((sequence, acknowledges), flags, 1000, data).await;
            }
            Op::Finish => {
                self.finished = true;
                let sequence = place(self.sent);
                self.segment((sequence, acknowledges), 17, 60_000, &[]).await;
            }
            Op::Read(bytes) => self.read(bytes).await,
            Op::Write(bytes) => self.write(bytes).await,
            Op::ShutDown => {
                if let Some(flow) = &self.flow {
                    flow.shut_down();
                }
            }
            Op::Wait(ms) => tokio::time::advance(Duration::from_millis(ms.into())).await,
        }
        for _ in 0..4 {
            tokio::task::yield_now().await;
            self.receive();
        }
    }

    async fn stream_segment(&mut self, at: u64, bytes: u16, rest: (u32, u8, u16)) {
        let data: Vec<u8> = (at..at + u64::from(bytes)).map(pattern).collect();
        self.segment((place(at), rest.0), rest.1, rest.2, &data).await;
    }

    async fn read(&mut self, most: u32) {
        let Some(flow) = &self.flow else { return };
        let most = usize::try_from(most % (1 << 20)).expect("it fits");
        let (from, finished) = (self.read, self.finished);
        let mut took = 0;
        let reading = poll_fn(|context| {
            let take = |data: &[u8]| {
                took = data.len().min(most);
                for (at, &byte) in (from..).zip(&data[..took]) {
                    // Behind an end there may be anything.
                    assert!(finished || byte == pattern(at), "at {at}");
                }
                Ok(took)
            };
            Poll::Ready(flow.poll_take(context, take))
        });
        drop(reading.await);
        self.read += took as u64;
    }

    async fn write(&mut self, most: u32) {
        let Some(flow) = &self.flow else { return };
        let most = usize::try_from(most % (1 << 20)).expect("it fits");
        let from = self.written;
        let mut put = 0;
        let writing = poll_fn(|context| {
            let fill = |space: &mut [u8]| {
                put = space.len().min(most);
                for (at, byte) in (from..).zip(&mut space[..put]) {
                    *byte = pattern(at);
                }
                Ok(put)
            };
            Poll::Ready(flow.poll_put(context, fill))
        });
        drop(writing.await);
        self.written += put as u64;
    }

    /// Takes what the gateway says, which must be sound.
    fn receive(&mut self) {
        while let Ok(bytes) = self.guest.try_read(self.inbox.spare()) {
            self.inbox.filled(bytes);
            while let Some(frame) = self.inbox.frame().expect("frames") {
                let packet = &frame[14..];
                if packet[0] != 0x45 || packet[9] != 6 {
                    continue;
                }
                let (from, to) = (TO.into(), GUEST_V4.into());
                assert_eq!(sum(&packet[..20]), u16::MAX);
                let tcp = &packet[20..];
                assert_eq!(sum_pseudo(from, to, 6, tcp), u16::MAX);
                let sequence = u32::from_be_bytes(*tcp[4..].first_chunk().expect("a header"));
                let data = &tcp[usize::from(tcp[12] >> 4) * 4..];
                if tcp[13] & 2 != 0 {
                    self.theirs = Some(sequence);
                    self.next = sequence.wrapping_add(1);
                }
                let (Some(theirs), false) = (self.theirs, tcp[13] & 4 != 0) else { continue };
                let at = sequence.wrapping_sub(theirs).wrapping_sub(1);
                // A sign of life is the byte before the first that is not acknowledged.
                if 1 < data.len() {
                    for (at, &byte) in (u64::from(at)..).zip(data) {
                        assert_eq!(byte, pattern(at), "at {at}");
                    }
                }
                let end = sequence
                    .wrapping_add(u32::try_from(data.len()).expect("it fits"))
                    .wrapping_add(u32::from(tcp[13] & 1));
                if 0 < end.wrapping_sub(self.next).cast_signed() {
                    self.next = end;
                }
            }
        }
    }
}

/// The number of a byte of the guest's stream.
fn place(at: u64) -> u32 {
    FIRST.wrapping_add(1).wrapping_add(u32::try_from(at & 0xffff_ffff).expect("it fits"))
}

fn options(options: &Options) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(most) = options.segment_bytes {
        bytes.extend([2, 4]);
        bytes.extend(most.to_be_bytes());
    }
    if let Some(shift) = options.window_scale {
        bytes.extend([1, 3, 3, shift]);
    }
    if options.selective {
        bytes.extend([1, 1, 4, 2]);
    }
    bytes
}

async fn accept(news: &mut News) -> Option<Flow> {
    for _ in 0..8 {
        tokio::task::yield_now().await;
        if let Ok(arrival) = news.arrivals.try_recv() {
            return arrival.accept().ok();
        }
    }
    None
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime"),
    );
}

fuzz_target!(|input: Input| {
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let (guest, card) = UnixStream::pair().expect("sockets");
            let (link, mut news) = Link::new(card).unwrap();
            let acting = async {
                let mut world = World {
                    guest,
                    inbox: Inbox::default(),
                    flow: None,
                    sent: 0,
                    read: 0,
                    finished: false,
                    written: 0,
                    theirs: None,
                    next: 0,
                    options: options(&input.options),
                };
                world.segment((FIRST, 0), 2, 60_000, &[]).await;
                world.flow = accept(&mut news).await;
                assert!(world.flow.is_some());
                for op in input.ops.iter().take(100) {
                    world.act(op).await;
                }
            };
            tokio::select! {
                biased;
                ended = link.run() => panic!("{ended:?}"),
                () = acting => {}
            }
        });
    });
});
