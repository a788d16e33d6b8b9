//! The one connection to the upstream host that belongs to a connection of the guest.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ::http::{Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{executor::OfConnection, passing::Passing, ragged::Ragged};
use crate::gateway::authority::Inside;

/// Longest time for the first exchange of settings.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Sends requests over one connection.
#[derive(Debug)]
pub(crate) enum Sender {
    Http1(http1::SendRequest<Passing>, Weak<DropGuard>),
    Http2(http2::SendRequest<Passing>),
}

/// In a reply that changes the protocol: with the last of them the connection counts as closed.
/// hyper's part of it ends with the reply, and the guest's would be told to close in the middle.
#[derive(Clone, Debug)]
pub(crate) struct KeptOpen {
    _closing: Arc<DropGuard>,
}

/// A request could not be carried out. [`std::fmt::Display`] is shown to the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("{0}")]
    Connect(String),
    #[error("the host does not speak HTTP as it should")]
    Handshake(#[source] hyper::Error),
    #[error("the host closed the connection before it replied")]
    Closed,
    #[error("the host's reply is not valid HTTP, or it broke off")]
    Reply(#[source] hyper::Error),
}

impl Sender {
    /// Begins HTTP on a connection. When the host closes it, `closed` is cancelled.
    pub(crate) async fn begin<S>(
        stream: S,
        inside: Inside,
        cut: &CancellationToken,
        closed: &CancellationToken,
    ) -> Result<Self, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = timeout(HANDSHAKE, Self::begin_now(stream, inside, cut, closed)).await;
        begun.unwrap_or_else(|_elapsed| Err(SendError::Connect("the host says nothing".to_owned())))
    }

    async fn begin_now<S>(
        stream: S,
        inside: Inside,
        cut: &CancellationToken,
        closed: &CancellationToken,
    ) -> Result<Self, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(Ragged(stream));
        let closing = Arc::new(closed.clone().drop_guard());
        let cut = cut.clone();
        match inside {
            Inside::Unsaid | Inside::Http1 => {
                let (sender, connection) =
                    super::client1().handshake(io).await.map_err(SendError::Handshake)?;
                let open = Arc::downgrade(&closing);
                tokio::task::spawn_local(async move {
                    // How it ended is known to the request that was under way.
                    drop(cut.run_until_cancelled(connection.with_upgrades()).await);
                    drop(closing);
                });
                Ok(Self::Http1(sender, open))
            }
            Inside::Http2 => {
                let tasks = OfConnection(cut.clone());
                let (sender, connection) =
                    super::client2(tasks).handshake(io).await.map_err(SendError::Handshake)?;
                tokio::task::spawn_local(async move {
                    drop(cut.run_until_cancelled(connection).await);
                    drop(closing);
                });
                Ok(Self::Http2(sender))
            }
        }
    }

    pub(crate) const fn inside(&self) -> Inside {
        match self {
            Self::Http1(..) => Inside::Http1,
            Self::Http2(_) => Inside::Http2,
        }
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Passing>,
    ) -> Result<Response<Incoming>, SendError> {
        let sent = match self {
            Self::Http1(sender, open) => {
                sender.ready().await.map_err(|_error| SendError::Closed)?;
                let open = open.upgrade();
                let mut sent = sender.send_request(request).await;
                if let (Ok(reply), Some(closing)) = (&mut sent, open)
                    && reply.status() == StatusCode::SWITCHING_PROTOCOLS
                {
                    reply.extensions_mut().insert(KeptOpen { _closing: closing });
                }
                sent
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(|_error| SendError::Closed)?;
                sender.send_request(request).await
            }
        };
        sent.map_err(|error| {
            let closed = error.is_canceled() || error.is_closed() || error.is_incomplete_message();
            if closed { SendError::Closed } else { SendError::Reply(error) }
        })
    }
}

/// The upstream connection: there from the start (TLS), or made for the first request (plain HTTP).
#[derive(Debug)]
pub(crate) struct Upstream {
    state: Mutex<State>,
    /// Cancelled when the host closes it.
    pub(crate) closed: CancellationToken,
}

#[derive(Debug)]
enum State {
    Unasked,
    There(Sender),
    Failed(String),
}

impl Upstream {
    pub(crate) fn unasked() -> Self {
        Self { state: Mutex::new(State::Unasked), closed: CancellationToken::new() }
    }

    pub(crate) fn there(sender: Sender, closed: CancellationToken) -> Self {
        Self { state: Mutex::new(State::There(sender)), closed }
    }

    /// There is none, and every request will be told why.
    pub(crate) fn failed(reason: String) -> Self {
        Self { state: Mutex::new(State::Failed(reason)), closed: CancellationToken::new() }
    }

    /// Sends a request, over a connection made by `connect` if there is none yet. It is not made
    /// again: when the host closes, the guest's connection is closed too.
    pub(crate) async fn send<F>(
        &self,
        request: Request<Passing>,
        connect: F,
    ) -> Result<Response<Incoming>, SendError>
    where
        F: AsyncFnOnce(&CancellationToken) -> Result<Sender, SendError>,
    {
        let mut state = self.state.lock().await;
        if matches!(*state, State::Unasked) {
            *state = match connect(&self.closed).await {
                Ok(sender) => State::There(sender),
                Err(error) => State::Failed(error.to_string()),
            };
        }
        match &mut *state {
            // One after another, as the guest sends them.
            State::There(sender @ Sender::Http1(..)) => sender.send(request).await,
            State::There(Sender::Http2(sender)) => {
                let mut sender = Sender::Http2(sender.clone());
                drop(state);
                sender.send(request).await
            }
            State::Failed(reason) => Err(SendError::Connect(reason.clone())),
            State::Unasked => Err(SendError::Closed),
        }
    }
}
