use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::LocalSet,
};

use super::*;
use crate::gateway::peer::{Peer, PeerFlow};

/// Runs a link with a peer at its other end.
async fn linked<F: Future<Output = ()>>(test: impl FnOnce(Peer, News) -> F) {
    let local = LocalSet::new();
    let (card, other) = UnixStream::pair().unwrap();
    let (link, news) = Link::new(card);
    let peer = Peer::new(other, 65_520, 256 << 10);
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

async fn send_pattern(mut to: impl AsyncWrite + Unpin, bytes: usize) {
    let mut buffer = vec![0; 50_000];
    let mut sent = 0;
    while sent < bytes {
        let piece = buffer.len().min(bytes - sent);
        pattern(sent, &mut buffer[..piece]);
        to.write_all(&buffer[..piece]).await.unwrap();
        sent += piece;
    }
    to.shutdown().await.unwrap();
}

async fn expect_pattern(mut from: impl AsyncRead + Unpin, bytes: usize) {
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
}

async fn connect(peer: &Peer, news: &mut News) -> (PeerFlow, Flow) {
    let accept = async { news.arrivals.recv().await.unwrap().accept().unwrap() };
    let (connected, flow) = tokio::join!(peer.connect(to("192.0.2.7:443")), accept);
    (connected.unwrap(), flow)
}

#[tokio::test]
async fn much_passes_both_ways_unchanged() {
    const BYTES: usize = 24 << 20;
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
