//! HTTP to the guest: connections through the agent's channel, kept for the next request for a moment.

use std::{
    collections::BTreeMap,
    error::Error,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use http::{Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use protocol::RefusalCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tower_service::Service;

use super::page::{Fault, Kind};
use crate::{
    agent::{AgentError, Tunnel},
    ids::SandboxKey,
    limits::{
        GUEST_CONNECT_DEADLINE, GUEST_CONNECTIONS_MAX, GUEST_IDLE, GUEST_IDLE_MAX,
        GUEST_SLOT_DEADLINE, HEAD_BYTES_MAX, HTTP2_WINDOW,
    },
    registry::Registry,
    route::Subdomain,
    sandbox::{Activity, NotRunning},
};

/// Speaks HTTP with guests.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    http1: Client<Dial, Incoming>,
    /// For gRPC, which there is no other way for.
    http2: Client<Dial, Incoming>,
}

impl Upstream {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        let dial = Dial { registry, slots: Arc::default() };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(GUEST_IDLE)
            .pool_max_idle_per_host(GUEST_IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http2_max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .http2_initial_stream_window_size(HTTP2_WINDOW)
            .http2_initial_connection_window_size(HTTP2_WINDOW);
        let http1 = builder.clone().set_host(false).build(dial.clone());
        let http2 = builder.set_host(false).http2_only(true).build(dial);
        Self { http1, http2 }
    }

    /// Sends a request whose URI names the port by its host name, and gives the reply as it begins.
    pub(super) async fn request(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Fault> {
        let client = if is_grpc(&request) { &self.http2 } else { &self.http1 };
        *request.version_mut() = Version::HTTP_11;
        client.request(request).await.map_err(|error| {
            let mut cause = error.source();
            while let Some(error) = cause {
                if let Some(dial) = error.downcast_ref::<DialError>() {
                    return dial.fault();
                }
                cause = error.source();
            }
            tracing::debug!(error = crate::causes(&error), "a guest did not reply");
            let detail = "It closed the connection before its reply, or what it said is not HTTP.";
            Fault::new(Kind::BadReply, detail)
        })
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Connects to the port that a host name stands for.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    registry: Arc<Registry>,
    /// Connections that each sandbox may still have.
    slots: Arc<Mutex<BTreeMap<SandboxKey, Weak<Semaphore>>>>,
}

#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("no port is called so")]
    Unknown,
    #[error(transparent)]
    NotRunning(NotRunning),
    #[error("too many connections")]
    Busy,
    #[error("port {port}")]
    Agent { port: u16, source: AgentError },
}

impl DialError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unknown => unknown(),
            Self::NotRunning(error) => not_running(error),
            Self::Busy => Fault::new(
                Kind::Busy,
                format!("It has {GUEST_CONNECTIONS_MAX} already. Ask again in a moment."),
            ),
            Self::Agent { port, source } => unreached(*port, source),
        }
    }
}

fn unreached(port: u16, error: &AgentError) -> Fault {
    match error {
        AgentError::Refused(refusal) if refusal.code == RefusalCode::NotListening => Fault::new(
            Kind::NotListening,
            format!("The sandbox runs, and no program in it listens on port {port} yet."),
        ),
        AgentError::Refused(refusal) if refusal.code == RefusalCode::TooManyConnections => {
            Fault::new(Kind::Busy, "Ask again in a moment.")
        }
        AgentError::Gone => Fault::new(Kind::Stopped, "It has just ended."),
        AgentError::TimedOut => Fault::new(
            Kind::Silent,
            format!("No connection to its port {port} came about in time."),
        ),
        AgentError::Refused(_)
        | AgentError::VersionMismatch { .. }
        | AgentError::TooLong
        | AgentError::Confused
        | AgentError::Reset
        | AgentError::Body(_) => {
            Fault::new(Kind::Silent, format!("Its port {port} cannot be connected to."))
        }
    }
}

pub(super) fn unknown() -> Fault {
    Fault::new(Kind::Unknown, "No sandbox has a port of this name. It may have been removed.")
}

pub(super) fn not_running(error: &NotRunning) -> Fault {
    let kind = match error {
        NotRunning::Starting | NotRunning::Paused => Kind::Silent,
        NotRunning::Snapshotting(_) => Kind::Snapshotting,
        NotRunning::Stopping(_) => Kind::Stopping,
        NotRunning::Stopped(_) => Kind::Stopped,
    };
    Fault::new(kind, error.to_string())
}

impl Dial {
    async fn dial(self, to: Uri) -> Result<TokioIo<Line>, DialError> {
        let label = to.host().and_then(|host| host.split('.').next()).unwrap_or_default();
        let subdomain = Subdomain::parse(label).ok_or(DialError::Unknown)?;
        let (sandbox, route) = self.registry.find_route(&subdomain).ok_or(DialError::Unknown)?;
        let slots = self.slots_of(&sandbox.key);
        let slot = timeout(GUEST_SLOT_DEADLINE, slots.acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(DialError::Busy) };
        let session = sandbox.current();
        let agent = session.agent().map_err(DialError::NotRunning)?;
        let tunnel = agent.connect(route.port, GUEST_CONNECT_DEADLINE).await;
        let tunnel = tunnel.map_err(|source| DialError::Agent { port: route.port, source })?;
        Ok(TokioIo::new(Line { tunnel, activity: session.activity.clone(), _slot: slot }))
    }

    fn slots_of(&self, key: &SandboxKey) -> Arc<Semaphore> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = slots.get(key).and_then(Weak::upgrade) {
            return known;
        }
        slots.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(GUEST_CONNECTIONS_MAX));
        slots.insert(key.clone(), Arc::downgrade(&new));
        new
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Line>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.dial(to).await.map_err(Into::into) })
    }
}

/// A connection to a port, and its place among those of its sandbox.
#[derive(Debug)]
pub(super) struct Line {
    tunnel: Tunnel,
    /// What passes is use; that it is open is not.
    activity: Activity,
    _slot: OwnedSemaphorePermit,
}

impl Line {
    fn touch_if<T>(&self, polled: &Poll<io::Result<T>>) {
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.activity.touch();
        }
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.tunnel).poll_read(context, buffer);
        self.touch_if(&polled);
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tunnel).poll_write(context, bytes);
        self.touch_if(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_shutdown(context)
    }
}
