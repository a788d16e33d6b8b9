//! Taking connections: how many at a time, and how long a caller may take to say what it wants.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};

use crate::limits::{HANDSHAKE_DEADLINE, HEAD_BYTES_MAX, HEAD_DEADLINE};

/// Where callers come in.
pub(crate) enum Door {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
}

/// Somebody who has connected and has said nothing yet.
enum Caller {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
}

pub(crate) type Stream = Either<UnixStream, Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// After a connection could not be taken, as when too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves who comes in until `stop`, then waits for the requests under way. Who comes while there
/// are `most` waits outside.
pub(crate) async fn serve(door: Door, host: impl Converse, most: usize, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(most));
    let callers = TaskTracker::new();
    let taken = async || {
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await.ok();
        (door.open().await, slot)
    };
    while let Some((caller, slot)) = stop.run_until_cancelled(taken()).await {
        let (host, stop) = (host.clone(), stop.clone());
        callers.spawn(async move {
            let address = caller.address();
            match caller.secured().await {
                Ok(stream) => host.converse(stream, address, stop).await,
                Err(error) => tracing::debug!(%error, "a caller did not shake hands"),
            }
            drop(slot);
        });
    }
    drop(door);
    callers.close();
    callers.wait().await;
}

/// Who speaks with callers.
pub(crate) trait Converse: Clone + Send + Sync + 'static {
    /// Until the caller has gone; told to stop, until the requests under way are answered.
    fn converse(
        &self,
        stream: Stream,
        from: Option<IpAddr>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

impl Converse for Router {
    async fn converse(&self, stream: Stream, _: Option<IpAddr>, stop: CancellationToken) {
        converse(stream, TowerToHyperService::new(self.clone()), stop).await;
    }
}

async fn converse(stream: Stream, service: TowerToHyperService<Router>, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Door {
    async fn open(&self) -> Caller {
        loop {
            let caller = match self {
                Self::Unix(listener) => listener.accept().await.map(|(one, _)| Caller::Unix(one)),
                Self::Tcp(listener) => listener.accept().await.map(|(one, _)| Caller::Tcp(one)),
                Self::Tls(listener, tls) => {
                    listener.accept().await.map(|(one, _)| Caller::Tls(one, tls.clone()))
                }
            };
            match caller {
                Ok(caller) => return caller,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Caller {
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(stream) | Self::Tls(stream, _) => {
                stream.peer_addr().ok().map(|address| address.ip())
            }
        }
    }

    async fn secured(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(stream) => Either::Left(stream),
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                Either::Right(Either::Left(stream))
            }
            Self::Tls(stream, tls) => {
                stream.set_nodelay(true)?;
                let stream = timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await??;
                Either::Right(Either::Right(Box::new(stream)))
            }
        })
    }
}

#[cfg(test)]
mod tests;
