//! HTTP inside a connection: each request is read whole but for its body, judged, and sent on over
//! one upstream connection in the same version.
//!
//! Both halves are hyper's, so that what leaves was written anew from what was understood: two
//! readers of the same bytes cannot disagree.

mod account;
mod alike;
mod asked;
mod corked;
mod edits;
mod exchange;
mod executor;
mod forward;
mod masked;
mod passing;
mod pin;
mod placeholder;
mod query;
mod ragged;
mod refusal;
mod session;
mod upstream;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use hyper::{client, server, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

pub(crate) use self::{
    asked::Named,
    edits::Way,
    executor::OfConnection,
    session::Session,
    upstream::{SendError, Sender, Upstream},
};
use self::{corked::cork, session::Tunnel};
use super::{
    authority::Inside,
    in_place::Buffered,
    rewound::Rewound,
    spliced::{Passed, splice},
};
use crate::{
    clock,
    event::{Decision, Event, Kind},
    policy::Why,
};

/// Longest head of a request or reply, in bytes; what is behind it in the same read counts too.
const HEAD_BYTES_MAX: usize = 128 * 1024;
const HEADERS_MAX: usize = 256;
/// The same in HTTP/2, where a few bytes can stand for many.
const HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;

/// Longest time that a connection waits for a request, in the middle of a head or between two.
const HEAD_WAIT: Duration = Duration::from_secs(300);

/// HTTP/2: as much of all bodies from a guest, and of one, is on its way without having been passed
/// on. The guest is next door: with half of it an upload waits, with more it is no faster.
const GUEST_WINDOW: u32 = 768 * 1024;
const GUEST_STREAM_WINDOW: u32 = 512 * 1024;
/// The same from an upstream host, which may be far away: 10 MB a second and stream over 100 ms.
const HOST_WINDOW: u32 = 2 * 1024 * 1024;
const HOST_STREAM_WINDOW: u32 = 1024 * 1024;
/// As much of one body waits in the gateway to be sent.
const SEND_BYTES_MAX: usize = 64 * 1024;
const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// Requests of one connection at a time.
const STREAMS_MAX: u32 = 100;

/// Longest time that the end of a connection may take.
const SHUTDOWN: Duration = Duration::from_secs(5);

fn client1() -> client::conn::http1::Builder {
    let mut builder = client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).preserve_header_case(true);
    builder
}

fn client2(tasks: OfConnection) -> client::conn::http2::Builder<OfConnection> {
    let mut builder = client::conn::http2::Builder::new(tasks);
    builder
        .initial_connection_window_size(HOST_WINDOW)
        .initial_stream_window_size(HOST_STREAM_WINDOW)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX);
    builder
}

/// Answers the guest's requests until either end closes the connection or the policy cuts it.
pub(crate) async fn serve<S>(stream: S, inside: Inside, session: Rc<Session>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let cut = session.cut.clone().drop_guard();
    let watching = watch(Rc::clone(&session));
    tokio::select! {
        () = watching => (),
        () = async {
            match inside {
                Inside::Unsaid | Inside::Http1 => serve1(stream, &session).await,
                Inside::Http2 => serve2(stream, &session).await,
            }
        } => (),
    }
    drop(cut);
}

/// Ends when the connection may go on no longer.
async fn watch(session: Rc<Session>) {
    // What changed since the gateway began counts as new at first, so that no change is missed that
    // came while the connection was being made.
    let mut current = session.gateway.current.clone();
    while current.changed().await.is_ok() {
        let active = current.borrow_and_update().clone();
        if !active.is_some_and(|active| session.judge_again(&active)) {
            return;
        }
    }
}

async fn serve1<S>(stream: S, session: &Rc<Session>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let answering = Rc::clone(session);
    let service = service_fn(move |request| Box::pin(Rc::clone(&answering).answer(request)));
    let mut connection = server::conn::http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .preserve_header_case(true)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut closed = pin!(session.upstream.closed.cancelled());
    let mut closing = false;
    // With its own shutdown: without one hyper can be done before it has written all.
    let served = poll_fn(|context| {
        let mut connection = Pin::new(&mut connection);
        if !closing && closed.as_mut().poll(context).is_ready() {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.poll(context)
    })
    .await;
    if let Err(error) = &served {
        tell_malformed(session, error);
    }
    let parts = connection.into_parts();
    let mut stream = Rewound::new(parts.read_buf, parts.io.into_inner());
    if let Some(tunnel) = session.take_tunnel().filter(|_| served.is_ok()) {
        pass(&mut stream, tunnel).await;
    }
    drop(timeout(SHUTDOWN, stream.shutdown()).await);
}

/// What was HTTP is WebSocket now.
async fn pass<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, tunnel: Tunnel) {
    let Tunnel { upstream, account, open: _open } = tunnel;
    let passed = Passed::default();
    let (mut stream, mut upstream) = (Buffered::new(stream), TokioIo::new(upstream));
    tokio::select! {
        // Whoever broke off, both are at their end.
        _ = splice(&mut stream, &mut upstream, &passed) => (),
        () = account.cut.cancelled() => (),
    }
    account.sent.set(account.sent.get() + passed.sent.get());
    account.received.set(account.received.get() + passed.received.get());
}

async fn serve2<S>(stream: S, session: &Rc<Session>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let answering = Rc::clone(session);
    let service = service_fn(move |request| Rc::clone(&answering).answer(request));
    let (corked, release) = cork(stream);
    let connection = server::conn::http2::Builder::new(OfConnection(session.cut.clone()))
        .auto_date_header(false)
        .initial_connection_window_size(GUEST_WINDOW)
        .initial_stream_window_size(GUEST_STREAM_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(corked), service);
    let mut connection = pin!(connection);
    let mut closed = pin!(session.upstream.closed.cancelled());
    let mut closing = false;
    let served = poll_fn(|context| {
        if !closing && closed.as_mut().poll(context).is_ready() {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        let served = connection.as_mut().poll(context);
        // A write that fails is seen by the connection itself.
        let _sent = release.poll(context);
        served
    })
    .await;
    if let Err(error) = &served {
        tell_malformed(session, error);
    }
}

/// What the guest sent was no request. hyper has answered it, if it can be answered.
fn tell_malformed(session: &Session, error: &hyper::Error) {
    if !error.is_parse() {
        return;
    }
    let mut event = Event::new(clock::now_ms(), Decision::Deny, Kind::Http, "default");
    event.address = Some(session.peer.address);
    event.source_port = Some(session.peer.source_port);
    event.status = Some(400);
    event.reason = Some(Why::Malformed("the request is not valid HTTP").to_string());
    session.gateway.recorder.tell(event);
}
