//! Whatever frames a guest sends, its link goes on, and holds no more than its limits say.

#![no_main]

use std::{cell::RefCell, future::poll_fn, task::Poll};

use arbitrary::Arbitrary;
use egress::{
    address::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, GUEST_MAC, GUEST_V4, GUEST_V6},
    gateway::{
        craft::sum,
        link::{Flow, LIMITS, Link, LinkError, News},
        packet::Packet,
    },
};
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::Runtime,
};

#[derive(Arbitrary, Debug)]
enum Op {
    /// Bytes as they are, without a length.
    Raw(Vec<u8>),
    Frame(Vec<u8>),
    Ethernet {
        kind: u8,
        broadcast: bool,
        payload: Vec<u8>,
    },
    V4 {
        protocol: Protocol,
        to: u8,
        fragment: Option<u16>,
        payload: Vec<u8>,
    },
    V6 {
        protocol: Protocol,
        to: u8,
        payload: Vec<u8>,
    },
    /// A segment without options and data, between a few ports.
    Segment {
        ports: u8,
        flags: u8,
        numbers: (u32, u32),
    },
    Accept,
    Refuse,
    Answer(Vec<u8>),
    Drop(u8),
    Write(u8, u16),
    Wait(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Other(u8),
}

impl Protocol {
    fn number(self, icmp: u8) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp => icmp,
            Self::Other(number) => number,
        }
    }
}

fn ethernet(kind: u8, broadcast: bool, payload: &[u8]) -> Vec<u8> {
    let kind: u16 = [0x0800, 0x86dd, 0x0806, 0x8100][usize::from(kind % 4)];
    let to = if broadcast { [0xff; 6] } else { GATEWAY_MAC };
    [&to, &GUEST_MAC, &kind.to_be_bytes()[..], payload].concat()
}

impl Op {
    fn bytes(&self) -> Option<Vec<u8>> {
        let frame = match self {
            Self::Raw(bytes) => return Some(bytes.clone()),
            Self::Frame(frame) if frame.is_empty() => return None,
            Self::Frame(frame) => frame.clone(),
            Self::Ethernet { kind, broadcast, payload } => ethernet(*kind, *broadcast, payload),
            Self::Segment { ports, flags, numbers } => {
                let mut segment = vec![0; 20];
                segment[1] = ports % 8 + 1;
                segment[3] = ports / 8 + 1;
                segment[4..8].copy_from_slice(&numbers.0.to_be_bytes());
                segment[8..12].copy_from_slice(&numbers.1.to_be_bytes());
                segment[12..15].copy_from_slice(&[5 << 4, *flags, 200]);
                let (protocol, to) = (Protocol::Tcp, 7);
                return Self::V4 { protocol, to, fragment: None, payload: segment }.bytes();
            }
            Self::V4 { protocol, to, fragment, payload } => {
                let to = if *to == 0 { GATEWAY_V4.octets() } else { [203, 0, 113, *to] };
                let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol.number(1), 0, 0];
                packet[6..8].copy_from_slice(&fragment.unwrap_or(0x4000).to_be_bytes());
                packet.extend(GUEST_V4.octets());
                packet.extend(to);
                packet.extend(payload);
                let length = u16::try_from(packet.len()).ok()?;
                packet[2..4].copy_from_slice(&length.to_be_bytes());
                let check = !sum(&packet[..20]);
                packet[10..12].copy_from_slice(&check.to_be_bytes());
                ethernet(0, false, &packet)
            }
            Self::V6 { protocol, to, payload } => {
                let mut address = GATEWAY_V6.octets();
                address[14] = *to;
                let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol.number(58), 255];
                packet[4..6].copy_from_slice(&u16::try_from(payload.len()).ok()?.to_be_bytes());
                packet.extend(GUEST_V6.octets());
                packet.extend(address);
                packet.extend(payload);
                ethernet(1, false, &packet)
            }
            _ => return None,
        };
        let length = u32::try_from(frame.len()).ok()?;
        Some([&length.to_be_bytes()[..], &frame].concat())
    }
}

struct World {
    guest: UnixStream,
    news: News,
    flows: Vec<Flow>,
    arrived: Vec<egress::gateway::link::Arrival>,
}

impl World {
    async fn act(&mut self, op: &Op) {
        if let Some(bytes) = op.bytes() {
            if let Some(frame) = bytes.get(4..) {
                drop(Packet::parse(frame));
            }
            drop(self.guest.write_all(&bytes).await);
        }
        match op {
            Op::Accept => self.flows.extend(self.arrived.pop().and_then(|one| one.accept().ok())),
            Op::Refuse => drop(self.arrived.pop()),
            Op::Answer(reply) => {
                if let Ok(question) = self.news.questions.try_recv() {
                    question.answer(reply);
                }
            }
            Op::Drop(at) if !self.flows.is_empty() => {
                drop(self.flows.swap_remove(usize::from(*at) % self.flows.len()));
            }
            Op::Write(at, bytes) if !self.flows.is_empty() => {
                let at = usize::from(*at) % self.flows.len();
                let flow = &self.flows[at];
                let written = poll_fn(|context| {
                    let put = |space: &mut [u8]| Ok(space.len().min(usize::from(*bytes)));
                    Poll::Ready(flow.poll_put(context, put))
                });
                drop(written.await);
            }
            Op::Wait(ms) => {
                tokio::time::advance(std::time::Duration::from_millis((*ms).into())).await;
            }
            _ => {}
        }
        let mut sink = vec![0; 64 << 10];
        for _ in 0..3 {
            tokio::task::yield_now().await;
            while self.guest.try_read(&mut sink).is_ok_and(|bytes| 0 < bytes) {}
            while let Ok(arrival) = self.news.arrivals.try_recv() {
                self.arrived.push(arrival);
            }
            while self.news.refused.try_recv().is_ok() {}
        }
        let taken = self.news.taken();
        assert!(taken.connections <= LIMITS.connections);
        let least = 2 * LIMITS.connections * LIMITS.buffer_bytes_min;
        assert!(taken.bytes <= LIMITS.buffer_bytes + least);
        assert!(self.arrived.len() <= LIMITS.waiting);
    }
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

fuzz_target!(|ops: Vec<Op>| {
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let (guest, card) = UnixStream::pair().expect("sockets");
            let (link, news) = Link::new(card).unwrap();
            let mut world = World { guest, news, flows: Vec::new(), arrived: Vec::new() };
            let acting = async {
                for op in ops.iter().take(200) {
                    world.act(op).await;
                }
                drop(world.guest.read(&mut [0]));
            };
            tokio::select! {
                biased;
                ended = link.run() => match ended {
                    Ok(()) | Err(LinkError::Framing(_)) => {}
                    Err(LinkError::Io(error)) => panic!("{error}"),
                },
                () = acting => {}
            }
        });
    });
});
