mod bursts;
mod endings;
mod in_place;
mod losses;

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::LocalSet,
};

use super::*;
use crate::{
    address::{GATEWAY_V4, GATEWAY_V6, GUEST_V6},
    gateway::{
        frames::ETHERNET,
        packet::samples::{REMOTE_V4, REMOTE_V6, frame, seal_v4, tcp, udp, v4, v6},
        peer::{Peer, PeerFlow},
    },
};

/// Both ends of a card's socket, as QEMU has it.
fn cards() -> (UnixStream, UnixStream) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let stream = |end: OwnedFd| UnixStream::from_std(end.into()).unwrap();
    (stream(pair.0), stream(pair.1))
}

/// Runs a link with a peer at its other end.
async fn linked<F: Future<Output = ()>>(test: impl FnOnce(Peer, News) -> F) {
    let local = LocalSet::new();
    let (card, other) = cards();
    let (link, news) = Link::new(card).unwrap();
    let peer = Peer::new(other, 65_520, 256 << 10).unwrap();
    let ends = async { tokio::join!(link.run(), peer.clone().run()) };
    let both = async {
        tokio::select! {
            () = test(peer.clone(), news) => {}
            ended = ends => panic!("the link ended: {ended:?}"),
        }
    };
    local.run_until(both).await;
}

fn to(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Bytes that are nowhere the same.
fn pattern(from: usize, buffer: &mut [u8]) {
    for (at, byte) in (from..).zip(buffer) {
        *byte = u8::try_from((at * 31 + at / 251 + at / 65_521) % 256).unwrap();
    }
}

#[tokio::test]
async fn a_connection_is_refused_or_accepted() {
    linked(|peer, mut news| async move {
        for address in ["192.0.2.7:443", "[2001:db8::7]:443"] {
            let connect = peer.connect(to(address));
            let refuse = async {
                let arrival = news.arrivals.recv().await.unwrap();
                assert_eq!(arrival.to(), to(address));
                arrival.refuse();
            };
            let (connected, ()) = tokio::join!(connect, refuse);
            assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

            let connect = peer.connect(to(address));
            let accept = async { news.arrivals.recv().await.unwrap().accept().unwrap() };
            let (connected, mut flow) = tokio::join!(connect, accept);
            let mut connected = connected.unwrap();
            assert_eq!(flow.guest_port(), connected.port);
            connected.write_all(b"hello").await.unwrap();
            let mut read = [0; 5];
            flow.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"hello");
            flow.write_all(b"world").await.unwrap();
            connected.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"world");
        }
    })
    .await;
}

/// A link with a bare card at its other end.
struct Card {
    stream: UnixStream,
    inbox: Inbox,
}

impl Card {
    async fn send(&mut self, frame: &[u8]) {
        self.stream.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
        self.stream.write_all(frame).await.unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        loop {
            if let Some(frame) = self.inbox.frame().unwrap() {
                return frame.to_vec();
            }
            let bytes = self.stream.read(self.inbox.spare()).await.unwrap();
            assert_ne!(bytes, 0, "the link ended");
            self.inbox.filled(bytes);
        }
    }

    /// The link has taken everything up to here, and said nothing but an answer to this.
    async fn nothing_else(&mut self) {
        let ping = [&[8, 0, 0xe5, 0xca][..], &[0x12, 0x35, 0, 0]].concat();
        let mut packet = v4(1, &ping)[ETHERNET..].to_vec();
        packet[16..20].copy_from_slice(&GATEWAY_V4.octets());
        self.send(&seal_v4(packet)).await;
        let pong = self.receive().await;
        assert_eq!(pong[ETHERNET + 9], 1, "{pong:02x?}");
        assert_eq!(pong[ETHERNET + 20], 0, "{pong:02x?}");
    }
}

async fn with_card<F: Future<Output = ()>>(test: impl FnOnce(Card, News) -> F) {
    let (card, other) = UnixStream::pair().unwrap();
    let (link, news) = Link::new(card).unwrap();
    tokio::select! {
        () = test(Card { stream: other, inbox: Inbox::default() }, news) => {}
        ended = link.run() => panic!("the link ended: {ended:?}"),
    }
}

#[tokio::test]
async fn datagrams_are_refused_at_once_unless_they_are_questions() {
    with_card(|mut card, mut news| async move {
        card.send(&v4(17, &udp(443, b"quic"))).await;
        let refusal = card.receive().await;
        assert_eq!(refusal[ETHERNET + 9], 1);
        assert_eq!(refusal[ETHERNET + 20..ETHERNET + 22], [3, 3]);
        card.send(&v6(17, GUEST_V6, REMOTE_V6, &udp(443, b"quic"))).await;
        let refusal = card.receive().await;
        assert_eq!(refusal[ETHERNET + 6], 58);
        assert_eq!(refusal[ETHERNET + 40..ETHERNET + 42], [1, 4]);
        let told = news.refused.recv().await.unwrap();
        assert_eq!((told.what, told.to), (Refusal::Udp, Some(REMOTE_V4.into())));
        assert_eq!((told.port, told.from_port), (Some(443), Some(5000)));
        news.refused.recv().await.unwrap();
        // The resolver of somebody else is none.
        card.send(&v4(17, &udp(53, b"question"))).await;
        card.receive().await;
        card.send(&v6(17, GUEST_V6, GATEWAY_V6, &udp(53, b"question"))).await;
        let question = news.questions.recv().await.unwrap();
        assert_eq!(question.bytes, b"question");
        question.answer(b"answer");
        let answer = card.receive().await;
        assert_eq!(answer[ETHERNET + 48..], *b"answer");
    })
    .await;
}

#[tokio::test]
async fn refusals_are_not_a_flood() {
    with_card(|mut card, mut news| async move {
        for _ in 0..1000 {
            card.send(&v4(17, &udp(443, b"quic"))).await;
        }
        let mut refusals = 0;
        card.send(&v6(17, GUEST_V6, GATEWAY_V6, &udp(53, b""))).await;
        news.questions.recv().await.unwrap().answer(b"");
        while card.receive().await[ETHERNET + 9] == 1 {
            refusals += 1;
        }
        assert!((100..200).contains(&refusals), "{refusals}");
    })
    .await;
}

#[tokio::test]
async fn garbage_changes_nothing() {
    with_card(|mut card, mut news| async move {
        let segment = tcp(2, &[], &[]);
        let mut spoofed = v4(6, &segment)[ETHERNET..].to_vec();
        spoofed[12..16].copy_from_slice(&[198, 18, 0, 9]);
        let mut fragment = v4(6, &segment)[ETHERNET..].to_vec();
        fragment[6] = 0x20;
        let group = "ff02::fb".parse().unwrap();
        let garbage = [
            vec![0],
            vec![0xff; 14],
            frame(0x8100, &segment),
            frame(0x0800, &[]),
            frame(0x0806, &[1; 28]),
            seal_v4(spoofed),
            seal_v4(fragment),
            v4(1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
            v4(47, &[0; 20]),
            v6(0, GUEST_V6, REMOTE_V6, &segment),
            v6(17, GUEST_V6, group, &udp(5353, b"mdns")),
            vec![0x55; 65_538],
        ];
        for frame in &garbage {
            card.send(frame).await;
        }
        card.nothing_else().await;
        let mut told = 0;
        while let Ok(refused) = news.refused.try_recv() {
            assert!(matches!(refused.what, Refusal::Junk(_)), "{refused:?}");
            told += 1;
        }
        assert_eq!(told, garbage.len() - 1, "an ARP message for nobody is no news");
        assert!(news.arrivals.try_recv().is_err());
        assert_eq!(news.taken(), Taken::default());
    })
    .await;
}

#[tokio::test]
async fn a_length_out_of_bounds_ends_the_link() {
    for length in [0_u32, 65_539, u32::MAX] {
        let (card, mut other) = UnixStream::pair().unwrap();
        let (link, mut news) = Link::new(card).unwrap();
        other.write_u32(length).await.unwrap();
        assert!(matches!(link.run().await, Err(LinkError::Framing(InvalidLength(_)))));
        assert!(news.arrivals.recv().await.is_none());
    }
}

/// The answer to a SYN has an unscaled window, and smoltcp takes it for a scaled one.
#[tokio::test]
async fn more_than_the_buffer_holds_is_dropped() {
    with_card(|mut card, mut news| async move {
        card.send(&v4(6, &tcp(2, &[3, 3, 7, 1], &[]))).await;
        let flow = news.arrivals.recv().await.unwrap().accept().unwrap();
        let answer = card.receive().await;
        let theirs = u32::from_be_bytes(*answer[ETHERNET + 24..].first_chunk().unwrap());
        let at = |offset: u32, data: &[u8]| {
            let mut segment = tcp(16, &[], data);
            segment[4..8].copy_from_slice(&(10 + offset).to_be_bytes());
            segment[8..12].copy_from_slice(&(theirs + 1).to_be_bytes());
            v4(6, &segment)
        };
        let most = u32::try_from(LIMITS.received_bytes_max).unwrap();
        card.send(&at(0, &[])).await;
        card.send(&at(most - 9, &[1; 10])).await;
        card.send(&at(1 << 19, &[1; 60_000])).await;
        for offset in 0..40 {
            card.send(&at(offset * 60_000, &[1; 60_000])).await;
        }
        let mut buffered = 0;
        while buffered < 8 * 60_000 {
            let read = poll_fn(|context| flow.poll_take(context, |_| Ok(0)));
            read.await.unwrap();
            let acknowledged = card.receive().await;
            let theirs = u32::from_be_bytes(*acknowledged[ETHERNET + 28..].first_chunk().unwrap());
            buffered = theirs - 10;
        }
        assert_eq!(buffered, 8 * 60_000);
    })
    .await;
}

#[tokio::test]
async fn a_guest_that_gives_up_is_not_connected() {
    with_card(|mut card, mut news| async move {
        card.send(&v4(6, &tcp(2, &[], &[]))).await;
        card.send(&v4(6, &tcp(2, &[], &[]))).await;
        let arrival = news.arrivals.recv().await.unwrap();
        assert!(!arrival.is_gone());
        card.send(&v4(6, &tcp(4, &[], &[]))).await;
        card.nothing_else().await;
        assert!(arrival.is_gone());
        assert_eq!(arrival.accept().unwrap_err(), Gone);
        assert!(news.arrivals.try_recv().is_err(), "the second was the same");
        // It may ask again.
        card.send(&v4(6, &tcp(2, &[], &[]))).await;
        drop(news.arrivals.recv().await.unwrap());
        let answer = card.receive().await;
        assert_eq!(answer[ETHERNET + 33], 0x14, "a reset");
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_requests_is_bounded() {
    with_card(|mut card, mut news| async move {
        let port = |port: u16| {
            let mut segment = tcp(2, &[], &[]);
            segment[..2].copy_from_slice(&port.to_be_bytes());
            v4(6, &segment)
        };
        for number in 1..=20_000 {
            card.send(&port(number)).await;
        }
        card.nothing_else().await;
        let mut arrived = Vec::new();
        while let Ok(arrival) = news.arrivals.try_recv() {
            arrived.push(arrival);
        }
        assert_eq!(arrived.len(), LIMITS.waiting);
        assert_eq!(news.taken(), Taken::default(), "none has buffers");
        arrived.clear();
        card.send(&port(30_000)).await;
        assert_eq!(news.arrivals.recv().await.unwrap().guest_port(), 30_000);
    })
    .await;
}

#[tokio::test]
async fn a_link_that_ends_ends_its_connections() {
    let (card, other) = UnixStream::pair().unwrap();
    let (link, mut news) = Link::new(card).unwrap();
    let test = async {
        let mut card = Card { stream: other, inbox: Inbox::default() };
        card.send(&v4(6, &tcp(2, &[], &[]))).await;
        let flow = news.arrivals.recv().await.unwrap().accept().unwrap();
        card.receive().await;
        let mut again = tcp(2, &[], &[]);
        again[1] += 1;
        card.send(&v4(6, &again)).await;
        (flow, news.arrivals.recv().await.unwrap())
    };
    let (ended, (mut flow, arrival)) = tokio::join!(link.run(), test);
    ended.unwrap();
    assert_eq!(flow.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(flow.write(&[0]).await.is_err());
    assert_eq!(arrival.accept().unwrap_err(), Gone);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_says_nothing_is_given_up() {
    with_card(|mut card, mut news| async move {
        card.send(&v4(6, &tcp(2, &[], &[]))).await;
        let mut flow = news.arrivals.recv().await.unwrap().accept().unwrap();
        let start = Instant::now();
        let kind = flow.read(&mut [0]).await.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::ConnectionReset);
        let waited = start.elapsed().as_secs();
        assert!((29..=31).contains(&waited), "its SYN was answered {waited} s ago");
        drop(flow);
        while news.taken() != Taken::default() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Gives its end back, so that it lives as long as it is needed.
async fn send_pattern<W: AsyncWrite + Unpin>(mut to: W, bytes: usize) -> W {
    let mut buffer = vec![0; 50_000];
    let mut sent = 0;
    while sent < bytes {
        let piece = buffer.len().min(bytes - sent);
        pattern(sent, &mut buffer[..piece]);
        to.write_all(&buffer[..piece]).await.unwrap();
        sent += piece;
    }
    to.shutdown().await.unwrap();
    to
}

async fn expect_pattern<R: AsyncRead + Unpin>(mut from: R, bytes: usize) -> R {
    let (mut buffer, mut expected) = (vec![0; 70_000], vec![0; 70_000]);
    let mut received = 0;
    loop {
        let piece = from.read(&mut buffer).await.unwrap();
        if piece == 0 {
            break;
        }
        pattern(received, &mut expected[..piece]);
        assert!(buffer[..piece] == expected[..piece], "changed between {received} and {piece} on");
        received += piece;
    }
    assert_eq!(received, bytes);
    from
}

async fn connect(peer: &Peer, news: &mut News) -> (PeerFlow, Flow) {
    let accept = async { news.arrivals.recv().await.unwrap().accept().unwrap() };
    let (connected, flow) = tokio::join!(peer.connect(to("192.0.2.7:443")), accept);
    (connected.unwrap(), flow)
}

#[tokio::test]
async fn much_passes_both_ways_unchanged() {
    const BYTES: usize = 4 << 20;
    linked(|peer, mut news| async move {
        let (connected, flow) = connect(&peer, &mut news).await;
        let (guest_reads, guest_writes) = tokio::io::split(connected);
        let (reads, writes) = tokio::io::split(flow);
        tokio::join!(
            send_pattern(guest_writes, BYTES),
            expect_pattern(reads, BYTES),
            send_pattern(writes, BYTES),
            expect_pattern(guest_reads, BYTES),
        );
    })
    .await;
}

#[tokio::test]
async fn either_half_can_be_closed_first() {
    linked(|peer, mut news| async move {
        let (mut connected, mut flow) = connect(&peer, &mut news).await;
        connected.write_all(b"question").await.unwrap();
        connected.shutdown().await.unwrap();
        let mut question = Vec::new();
        flow.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        flow.write_all(b"answer").await.unwrap();
        drop(flow);
        let mut answer = Vec::new();
        connected.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");

        let (mut connected, mut flow) = connect(&peer, &mut news).await;
        flow.write_all(b"banner").await.unwrap();
        flow.shutdown().await.unwrap();
        assert_eq!(flow.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut banner = Vec::new();
        connected.read_to_end(&mut banner).await.unwrap();
        assert_eq!(banner, b"banner");
        connected.write_all(b"thanks").await.unwrap();
        connected.shutdown().await.unwrap();
        let mut thanks = Vec::new();
        flow.read_to_end(&mut thanks).await.unwrap();
        assert_eq!(thanks, b"thanks");
    })
    .await;
}

#[tokio::test]
async fn either_end_can_cut_the_connection() {
    linked(|peer, mut news| async move {
        let reset = io::ErrorKind::ConnectionReset;
        let (mut connected, flow) = connect(&peer, &mut news).await;
        flow.reset();
        assert_eq!(connected.read(&mut [0]).await.unwrap_err().kind(), reset);

        let (mut connected, flow) = connect(&peer, &mut news).await;
        connected.write_all(b"unheard").await.unwrap();
        while connected.unacknowledged() != 0 {
            tokio::task::yield_now().await;
        }
        drop(flow);
        assert_eq!(connected.read(&mut [0]).await.unwrap_err().kind(), reset, "unread data");

        let (connected, mut flow) = connect(&peer, &mut news).await;
        drop(connected);
        assert_eq!(flow.read(&mut [0]).await.unwrap_err().kind(), reset);
        assert_eq!(flow.write(&[0]).await.unwrap_err().kind(), reset);
    })
    .await;
}

#[tokio::test]
async fn too_many_connections_are_refused_until_some_are_gone() {
    linked(|peer, mut news| async move {
        let mut open = Vec::new();
        while open.len() < LIMITS.connections {
            open.push(connect(&peer, &mut news).await);
        }
        for _ in 0..100 {
            let refused = peer.connect(to("192.0.2.7:443")).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let told = news.refused.recv().await.unwrap();
            assert_eq!((told.what, told.port), (Refusal::TooManyConnections, Some(443)));
        }
        // One that is not spoken on still works.
        let (connected, flow) = &mut open[0];
        connected.write_all(b"x").await.unwrap();
        assert_eq!(flow.read_u8().await.unwrap(), b'x');
        open.drain(10..);
        while news.taken().connections != 10 {
            tokio::task::yield_now().await;
        }
        open.push(connect(&peer, &mut news).await);
    })
    .await;
}
