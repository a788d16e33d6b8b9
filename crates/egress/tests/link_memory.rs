//! What the memory of a gateway does while its guest does what it can. One test in a process of its
//! own, as it looks at the whole process.

#![expect(clippy::unwrap_used, reason = "it is a test")]

use std::{future::poll_fn, net::SocketAddr, time::Duration};

use egress::gateway::{
    link::{Flow, LIMITS, Link, News, Taken},
    peer::{Peer, PeerFlow},
};
use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt, net::UnixStream, task::yield_now};

/// More than have large buffers.
const MANY: usize = 300;
/// Those that have.
const FEW: usize = 40;
/// What the guest's end takes beside, and what is in no account.
const SLACK: usize = 12 << 20;

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}

async fn connect(peer: &Peer, news: &mut News, count: usize) -> Vec<(PeerFlow, Flow)> {
    let mut connected = Vec::new();
    for _ in 0..count {
        let accept = async { news.arrivals.recv().await.unwrap().accept().unwrap() };
        let (guest, flow) = tokio::join!(peer.connect(([192, 0, 2, 1], 1).into()), accept);
        connected.push((guest.unwrap(), flow));
    }
    connected
}

/// Fills all buffers: the guest sends until nothing more is taken, and reads nothing.
async fn fill(connected: &mut [(PeerFlow, Flow)]) {
    let data = vec![7; 1 << 20];
    let mut filling = Vec::new();
    for (guest, flow) in connected {
        let put = poll_fn(|context| {
            flow.poll_put(context, |space| {
                space.fill(7);
                Ok(space.len())
            })
        });
        assert!(put.await.unwrap() != 0);
        filling.push(guest.write_all(&data));
    }
    // More than any buffer holds is never taken to its end.
    let filled = tokio::time::timeout(Duration::from_secs(2), join_all(filling)).await;
    assert!(filled.is_err());
}

async fn gone(news: &News) {
    while news.taken() != Taken::default() {
        yield_now().await;
    }
}

async fn test(peer: Peer, mut news: News) {
    let flood: SocketAddr = ([192, 0, 2, 1], 1).into();
    let start = resident();
    let mut connected = connect(&peer, &mut news, MANY).await;
    let idle = resident() - start;
    assert!(idle < SLACK + (16 << 20), "{MANY} idle connections take {idle}");
    fill(&mut connected).await;
    let full = resident() - start;
    assert!(full < LIMITS.buffer_bytes + (16 << 20) + SLACK, "{MANY} full ones take {full}");
    assert!(LIMITS.buffer_bytes / 3 < full, "they were not filled: {full}");
    connected.clear();
    gone(&news).await;
    let left = resident().saturating_sub(start);
    assert!(left < SLACK, "{left} are left of them");

    let connected = connect(&peer, &mut news, FEW).await;
    let again = resident().saturating_sub(start);
    assert!(again < SLACK, "{FEW} idle connections after others take {again}");
    drop(connected);
    gone(&news).await;

    // Ten thousand requests that nobody decides about.
    for _ in 0..10 {
        let asking: Vec<_> = (0..1000).map(|_| peer.start(flood).unwrap()).collect();
        yield_now().await;
        drop(asking);
        yield_now().await;
    }
    let flooded = resident().saturating_sub(start);
    assert!(flooded < SLACK, "a flood leaves {flooded}");
}

#[test]
fn a_guest_takes_no_more_than_its_share_and_it_comes_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (card, other) = UnixStream::pair().unwrap();
        let (link, news) = Link::new(card).unwrap();
        let peer = Peer::new(other, 65_520, 4 << 10).unwrap();
        tokio::select! {
            () = test(peer.clone(), news) => {}
            ended = link.run() => panic!("the link ended: {ended:?}"),
            ended = peer.run() => panic!("the card ended: {ended:?}"),
        }
    });
}
