//! How fast a link is, with data made and thrown away in the gateway, and a guest's end on a thread
//! of its own: `cargo run --release -p egress --example link_bench`.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{io, net::SocketAddr, time::Duration};

use egress::gateway::{
    link::{Arrival, Flow, Link},
    peer::{Peer, PeerFlow},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::Builder,
    task::LocalSet,
    time::Instant,
};

/// What the gateway does, by the port that the guest connects to.
const SINK: u16 = 1;
const SOURCE: u16 = 2;
const ECHO: u16 = 3;
/// Says how much processor time the gateway has used.
const TIME: u16 = 4;

const PASS: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    println!("Gbit/s in all, and for each second of the gateway's processor time");
    println!("(with connections that are idle, the others have smaller buffers)");
    println!("   mtu  idle flows       up         down     p50 us p99 us connects/s");
    for mtu in [65_520, 9000, 1500] {
        for (idle, flows) in [(0, 1), (55, 1), (70, 1), (85, 1), (110, 1), (0, 8), (0, 128)] {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (guest, gateway) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            let (guest, gateway) = (guest.into(), gateway.into());
            let serving = std::thread::spawn(move || local(serve(gateway)));
            let measured = local(measure(guest, mtu, (idle, flows)))?;
            let Measured { up, down, p50, p99, connects } = measured;
            println!(
                "{mtu:>6} {idle:>5} {flows:>5} {:>5.2} {:>5.2} {:>6.2} {:>5.2} {p50:>8} {p99:>6} {connects:>8}",
                up.0, up.1, down.0, down.1
            );
            match serving.join() {
                Ok(ended) => ended?,
                Err(_) => return Err(io::Error::other("the gateway's thread panicked")),
            }
        }
    }
    Ok(())
}

fn local<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, future)
}

async fn serve(card: std::os::unix::net::UnixStream) -> io::Result<()> {
    let (link, mut news) = Link::new(UnixStream::from_std(card)?)?;
    tokio::task::spawn_local(async move {
        while let Some(arrival) = news.arrivals.recv().await {
            tokio::task::spawn_local(answer(arrival));
        }
    });
    link.run().await.map_err(io::Error::other)
}

async fn answer(arrival: Arrival) {
    let port = arrival.to().port();
    let Ok(flow) = arrival.accept() else { return };
    let ended = match port {
        SINK => sink(flow).await,
        SOURCE => source(flow).await,
        TIME => tell_time(flow).await,
        _ => echo(flow).await,
    };
    // The guest's end goes away when it has seen enough.
    drop(ended);
}

async fn sink(flow: Flow) -> io::Result<()> {
    while std::future::poll_fn(|context| flow.poll_take(context, |data| Ok(data.len()))).await? != 0
    {
    }
    Ok(())
}

async fn source(flow: Flow) -> io::Result<()> {
    loop {
        std::future::poll_fn(|context| flow.poll_put(context, |space| Ok(space.len()))).await?;
    }
}

async fn tell_time(mut flow: Flow) -> io::Result<()> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    flow.write_i64(used.tv_sec * 1_000_000_000 + used.tv_nsec).await
}

async fn echo(mut flow: Flow) -> io::Result<()> {
    let mut byte = [0; 64];
    loop {
        let read = flow.read(&mut byte).await?;
        if read == 0 {
            return Ok(());
        }
        flow.write_all(&byte[..read]).await?;
    }
}

struct Measured {
    up: (f64, f64),
    down: (f64, f64),
    p50: u128,
    p99: u128,
    connects: usize,
}

async fn measure(
    card: std::os::unix::net::UnixStream,
    mtu: usize,
    (idle, flows): (usize, usize),
) -> io::Result<Measured> {
    let peer = Peer::new(UnixStream::from_std(card)?, mtu, 1 << 20)?;
    tokio::task::spawn_local(peer.clone().run());
    let (mut idling, mut up, mut down) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..idle {
        idling.push(connect(&peer, ECHO).await?);
    }
    for _ in 0..flows {
        up.push(connect(&peer, SINK).await?);
    }
    let up = together(&peer, up, push).await?;
    for _ in 0..flows {
        down.push(connect(&peer, SOURCE).await?);
    }
    let down = together(&peer, down, pull).await?;
    for _ in 1..flows {
        idling.push(connect(&peer, ECHO).await?);
    }
    let mut times = round_trips(connect(&peer, ECHO).await?).await?;
    times.sort_unstable();
    let connects = connects(&peer).await?;
    Ok(Measured {
        up,
        down,
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        connects,
    })
}

async fn connect(peer: &Peer, port: u16) -> io::Result<PeerFlow> {
    peer.connect(SocketAddr::from(([192, 0, 2, 1], port))).await
}

/// Of all flows together: Gbit/s, and what it would be if the gateway had a processor for itself.
async fn together<F: Future<Output = io::Result<u64>> + 'static>(
    peer: &Peer,
    flows: Vec<PeerFlow>,
    work: impl Fn(PeerFlow) -> F,
) -> io::Result<(f64, f64)> {
    let used = connect(peer, TIME).await?.read_i64().await?;
    let start = Instant::now();
    let working: Vec<_> =
        flows.into_iter().map(|flow| tokio::task::spawn_local(work(flow))).collect();
    let mut bytes = 0;
    for flow in working {
        bytes += flow.await??;
    }
    let passed = start.elapsed().as_secs_f64();
    let used = connect(peer, TIME).await?.read_i64().await? - used;
    #[expect(clippy::cast_precision_loss, reason = "it is a measurement")]
    let (gigabits, used) = (bytes as f64 * 8.0 / 1e9, used as f64 / 1e9);
    Ok((gigabits / passed, gigabits / used))
}

async fn push(mut flow: PeerFlow) -> io::Result<u64> {
    let (data, end, mut bytes) = (vec![7; 256 << 10], Instant::now() + PASS, 0);
    while Instant::now() < end {
        bytes += flow.write(&data).await? as u64;
    }
    Ok(bytes)
}

async fn pull(mut flow: PeerFlow) -> io::Result<u64> {
    let (mut data, end, mut bytes) = (vec![0; 256 << 10], Instant::now() + PASS, 0);
    while Instant::now() < end {
        bytes += flow.read(&mut data).await? as u64;
    }
    Ok(bytes)
}

async fn round_trips(mut flow: PeerFlow) -> io::Result<Vec<u128>> {
    let mut times = Vec::new();
    for _ in 0..10_000 {
        let start = Instant::now();
        flow.write_all(&[1]).await?;
        flow.read_u8().await?;
        times.push(start.elapsed().as_micros());
    }
    Ok(times)
}

/// One after another, in a second.
async fn connects(peer: &Peer) -> io::Result<usize> {
    let (end, mut made) = (Instant::now() + Duration::from_secs(1), 0);
    while Instant::now() < end {
        drop(connect(peer, ECHO).await?);
        made += 1;
    }
    Ok(made)
}
