//! Large bodies stream, in flat memory, and at what cost.

use std::{cell::Cell, rc::Rc, sync::mpsc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Body as _, Frame},
    client::conn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{super::*, origin::*, world::*};
use crate::{event::Kind, gateway::in_place::Buffered};

const HOST: &str = "api.example.test";
const MIB: usize = 1 << 20;

/// So many bytes in pieces.
fn zeros(length: usize) -> Body {
    const PIECE: usize = 64 * 1024;
    let piece = Bytes::from(vec![0; PIECE]);
    let frames = stream::iter((0..length / PIECE).map(move |_| Ok(Frame::data(piece.clone()))));
    StreamBody::new(frames).boxed_unsync()
}

/// Counts a body without keeping it.
async fn count(mut body: hyper::body::Incoming) -> usize {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    length
}

/// Takes what comes; answers with as many bytes as the path says.
fn sink() -> Rc<Handler> {
    Rc::new(|request| {
        Box::pin(async move {
            let wanted = request.uri().path()[1..].parse().unwrap();
            if !request.body().is_end_stream() {
                let length = count(request.into_body()).await;
                return Response::new(body(length.to_string()));
            }
            Response::new(zeros(wanted))
        })
    })
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Runs a part of a test on a thread of its own.
fn on_thread<F: Future<Output = ()>>(part: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::Builder::new().name("the other end".to_owned());
    let started = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, part());
    });
    started.unwrap();
}

/// What a transfer is measured by.
#[derive(Clone, Copy, Debug)]
struct Cost {
    seconds: f64,
    /// Of the gateway's own thread.
    cpu: f64,
    grown: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Spliced,
    Opened,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

/// Moves a body between a client and a server that have threads of their own.
fn transfer(protocol: &'static str, mode: Mode, direction: Direction, length: usize) -> Cost {
    let ca = TestCa::new();
    let tls = ca.server(&[HOST], &[protocol]);
    let (ports, port) = mpsc::channel();
    on_thread(move || async move {
        ports.send(https(tls, sink()).await).unwrap();
        std::future::pending::<()>().await;
    });
    let port = port.recv().unwrap();
    let rules = if mode == Mode::Opened { vec![look()] } else { vec![] };
    let world = World::new(policy(vec![domain(HOST, port, rules)]), &ca.root);
    let root = if mode == Mode::Opened { world.authority() } else { ca.root.to_vec() };
    let config = world.guest_config(&root, &[protocol]);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let costs = Cell::new(None);
    run(async {
        let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
        let guest_port = listener.local_addr().unwrap().port();
        on_thread(move || async move {
            let stream = TcpStream::connect((LOCAL, guest_port)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let connector = tokio_rustls::TlsConnector::from(config);
            let tls = connector.connect(HOST.try_into().unwrap(), stream).await.unwrap();
            let since = Instant::now();
            ask(TokioIo::new(tls), protocol, direction, length).await;
            sender.send(since.elapsed()).unwrap();
        });
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (before, cpu) = (resident(), cpu());
        let carrying = tokio::task::spawn_local(carry(
            || Some(Buffered::new(stream)),
            world.peer(&[HOST], port),
            Rc::clone(&world.gateway),
        ));
        let elapsed = receiver.await.unwrap();
        let cost = Cost {
            seconds: elapsed.as_secs_f64(),
            cpu: (super::streams::cpu() - cpu).as_secs_f64(),
            grown: resident().saturating_sub(before),
        };
        costs.set(Some(cost));
        carrying.await.unwrap();
        let events = world.told(if mode == Mode::Opened { Kind::Http } else { Kind::Tcp }, 1).await;
        let passed = match direction {
            Direction::Up => events[0].sent,
            Direction::Down => events[0].received,
        };
        assert!(length as u64 <= passed.unwrap());
    });
    costs.get().unwrap()
}

async fn ask<I>(io: I, protocol: &str, direction: Direction, length: usize)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let request = match direction {
        Direction::Up => Request::post(format!("https://{HOST}/0")).body(zeros(length)).unwrap(),
        Direction::Down => get2(HOST, &format!("/{length}")),
    };
    let response = if protocol == "h2" {
        let (mut client, connection) = conn::http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(4 << 20)
            .max_frame_size(64 * 1024)
            .handshake(io)
            .await
            .unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        client.send_request(request).await.unwrap()
    } else {
        let (mut client, connection) = conn::http1::handshake(io).await.unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("host", HOST.parse().unwrap());
        parts.uri = parts.uri.path().parse().unwrap();
        client.send_request(Request::from_parts(parts, body)).await.unwrap()
    };
    match direction {
        Direction::Up => assert_eq!(text(response).await, length.to_string()),
        Direction::Down => assert_eq!(count(response.into_body()).await, length),
    }
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Far less than what passes stays; how little for gibibytes, [`measure`] shows.
#[test]
fn a_large_body_takes_no_memory() {
    for protocol in ["http/1.1", "h2"] {
        for direction in [Direction::Up, Direction::Down] {
            let length = 192 * MIB;
            let cost = transfer(protocol, Mode::Opened, direction, length);
            // Client, server and other tests share the process.
            assert!(cost.grown < length / 2, "{protocol} {direction:?}: {cost:?}");
        }
    }
}

/// `cargo test --release -p egress --lib -- --ignored --nocapture --test-threads 1 throughput`
#[test]
#[ignore = "moves 24 GiB, to measure"]
fn throughput_down() {
    measure(Direction::Down);
}

#[test]
#[ignore = "moves 24 GiB, to measure"]
fn throughput_up() {
    measure(Direction::Up);
}

#[expect(clippy::print_stdout, reason = "its output is its result")]
fn measure(direction: Direction) {
    let length = 2048 * MIB;
    for protocol in ["http/1.1", "h2"] {
        let best = |mode| {
            (0..3)
                .map(|_| transfer(protocol, mode, direction, length))
                .min_by(|a, b| a.cpu.total_cmp(&b.cpu))
                .unwrap()
        };
        let (spliced, opened) = (best(Mode::Spliced), best(Mode::Opened));
        assert!(opened.grown < 24 * MIB, "{opened:?}");
        let rate = |cost: Cost| 2048.0 / cost.seconds;
        println!(
            "{protocol:8} {direction:?}: spliced {:.0} MiB/s ({:.2} s of CPU), \
             opened {:.0} MiB/s ({:.2} s), ratio {:.2}, {} KiB more memory",
            rate(spliced),
            spliced.cpu,
            rate(opened),
            opened.cpu,
            rate(opened) / rate(spliced),
            opened.grown / 1024,
        );
    }
}
