//! The ingress: how programs in sandboxes are reached from outside. Another origin than the API: it
//! has names and a listener of its own, and neither answers on those of the other.
//!
//! What a visitor sends is parsed by hyper and written anew by hyper, so the guest never sees how it
//! was framed; the same goes for what the guest says. Bodies are passed on as they come, and as fast
//! as they are taken.

mod forward;
mod page;
mod upstream;
mod used;
mod visit;

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use egress::hops::Upgrade;
use http::{Method, Request, Response, StatusCode, Version, header, uri::Authority};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
    upgrade::OnUpgrade,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::{
    forward::Origin,
    page::{Fault, Kind},
    upstream::Upstream,
    used::Used,
    visit::Entrance,
};
use super::{
    connections::{Converse, Stream},
    interactive,
};
use crate::{
    limits::{HEAD_BYTES_MAX, HEAD_DEADLINE, HTTP2_STREAMS_MAX, HTTP2_WINDOW, WAKE_DEADLINE},
    pass::Passes,
    registry::{BeginError, Registry, ResumeError, Resumed, WakeError},
    route::{Admission, IngressUrl, Label, Subdomain},
    sandbox::{Sandbox, Use},
};

/// The host that is meant, said to the name for terminals: many programs do not find a name under
/// `localhost` and cannot write `Host`. A page of another origin cannot send it: browsers ask before, and
/// nothing here allows it.
const MEANT_HOST: &str = "x-fumehood-host";

/// A visitor whose connection died without a word is found out so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_DEADLINE: Duration = Duration::from_secs(20);

/// What every connection is given.
#[derive(Clone, Debug)]
pub(crate) struct Ingress(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    registry: Arc<Registry>,
    /// The port that is listened on; another than that of the URL if something is in front.
    listening: u16,
    upstream: Upstream,
    /// What is answered under the name for terminals.
    terminals: TowerToHyperService<Router>,
}

impl Ingress {
    pub(crate) fn new(
        registry: Arc<Registry>,
        listening: u16,
        handover: CancellationToken,
    ) -> Self {
        let upstream = Upstream::new(Arc::clone(&registry));
        let terminals = interactive::routes(Arc::clone(&registry), handover)
            .fallback(async || terminals_have_no_such());
        let terminals = TowerToHyperService::new(terminals);
        Self(Arc::new(Parts { registry, listening, upstream, terminals }))
    }

    fn url(&self) -> &IngressUrl {
        &self.0.registry.context().ingress.url
    }

    fn passes(&self) -> &Passes {
        &self.0.registry.context().ingress.passes
    }
}

impl Converse for Ingress {
    async fn converse(&self, stream: Stream, peer: Option<IpAddr>, stop: CancellationToken) {
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let has_asked = Arc::new(AtomicBool::new(false));
        let service = service_fn(|request| {
            has_asked.store(true, Ordering::Relaxed);
            let ingress = self.clone();
            async move { Ok::<_, Infallible>(ingress.answer(request, peer).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .initial_stream_window_size(HTTP2_WINDOW)
            .initial_connection_window_size(HTTP2_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_DEADLINE);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let says_nothing = async {
            tokio::time::sleep(HEAD_DEADLINE).await;
            if has_asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = says_nothing => return,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a visitor's connection ended early");
        }
    }
}

impl Ingress {
    async fn answer(&self, mut request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let accept = request.headers().get(header::ACCEPT).cloned();
        let visit = (request.method().clone(), request.uri().path().to_owned());
        let answered = match self.label(&mut request) {
            Ok((Label::Port(subdomain), authority)) => {
                self.to_port(&subdomain, self.origin(peer, authority), request).await
            }
            Ok((Label::Interactive, _)) => match self.0.terminals.call(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            Err(fault) => Err(fault),
        };
        answered.unwrap_or_else(|fault| {
            tracing::debug!(?visit, ?fault, "a visitor was answered by the ingress");
            fault.reply(accept.as_ref()).map(Body::from)
        })
    }

    /// Which of our names a request is for. It names one and the same, however often it does.
    fn label(&self, request: &mut Request<Incoming>) -> Result<(Label, String), Fault> {
        let bad = |detail: &'static str| Fault::new(Kind::BadRequest, detail);
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().map(|host| host.to_str().unwrap_or_default());
        if hosts.next().is_some() {
            return Err(bad("It names more than one host."));
        }
        let target = request.uri().authority().map(Authority::as_str);
        let authority = match (target, host) {
            (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => {
                return Err(bad("Its target and its Host header name different hosts."));
            }
            (Some(named), _) | (None, Some(named)) => named.to_ascii_lowercase(),
            (None, None) => return Err(bad("It names no host.")),
        };
        let named = request.headers_mut().remove(MEANT_HOST);
        let label = |authority: &str| self.url().label_of(authority, self.0.listening);
        match (label(&authority).ok_or_else(upstream::unknown)?, named) {
            (Label::Interactive, Some(meant)) => {
                let meant = meant.to_str().unwrap_or_default().to_ascii_lowercase();
                let label = label(&meant).ok_or_else(upstream::unknown)?;
                Ok((label, meant))
            }
            (label, _) => Ok((label, authority)),
        }
    }

    fn origin(&self, peer: IpAddr, authority: String) -> Origin {
        let (scheme, port) = (self.url().scheme().as_str(), self.url().port());
        Origin { peer, authority, scheme, port }
    }

    async fn to_port(
        &self,
        subdomain: &Subdomain,
        origin: Origin,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Fault> {
        let found = self.0.registry.find_route(subdomain);
        let (sandbox, route) = found.ok_or_else(upstream::unknown)?;
        if request.method() == Method::CONNECT || request.uri().path() == "*" {
            return Err(Fault::new(Kind::BadRequest, "It asks for what a proxy does."));
        }
        if route.admission == Admission::Private {
            match visit::let_in(self.url(), self.passes(), &route.subdomain, &mut request)? {
                Entrance::Open => {}
                Entrance::Elsewhere(response) => return Ok(response),
            }
        }
        let in_use = self.awake(&sandbox).await?;
        let response = self.pass_on(&origin, request).await?;
        Ok(response.map(|body| Body::new(Used { body, in_use })))
    }

    /// Waits until a session of the sandbox runs; one that is paused, or has stopped and is kept, goes on.
    async fn awake(&self, sandbox: &Arc<Sandbox>) -> Result<Use, Fault> {
        let woken = timeout(WAKE_DEADLINE, self.0.registry.awake(&sandbox.current())).await;
        match woken.map_err(|_elapsed| still_starting())? {
            Ok(awake) => return Ok(awake.in_use),
            Err(WakeError::Begin(error)) => return Err(not_resumed(sandbox, &error.into())),
            Err(WakeError::Waking(error)) => {
                return Err(not_resumed(sandbox, &ResumeError::Waking(error)));
            }
            // What does not persist does not begin again by itself, even if somebody made it a snapshot.
            Err(WakeError::NotRunning(error))
                if !error.is_starting() && !sandbox.durable.record().keeping.persistent =>
            {
                return Err(upstream::not_running(&error));
            }
            Err(WakeError::NotRunning(_)) => {}
        }
        match timeout(WAKE_DEADLINE, self.0.registry.resume(sandbox)).await {
            Ok(Ok(Resumed::Yes | Resumed::No)) => {}
            Ok(Err(error)) => return Err(not_resumed(sandbox, &error)),
            Err(_elapsed) => return Err(still_starting()),
        }
        let awake = self.0.registry.awake(&sandbox.current()).await;
        awake.map(|awake| awake.in_use).map_err(|error| match error {
            WakeError::NotRunning(error) => upstream::not_running(&error),
            WakeError::Begin(_) | WakeError::Waking(_) => still_starting(),
        })
    }

    async fn pass_on(
        &self,
        origin: &Origin,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Fault> {
        let upgrade = match request.version() {
            Version::HTTP_11 => Upgrade::of(request.headers()),
            _ => Upgrade::No,
        };
        let visitor = (upgrade == Upgrade::WebSocket).then(|| hyper::upgrade::on(&mut request));
        *request.uri_mut() = forward::target(request.uri(), &origin.authority)
            .ok_or_else(|| Fault::new(Kind::BadRequest, "Its target is none."))?;
        request.extensions_mut().clear();
        forward::to_guest(request.headers_mut(), upgrade, origin);
        let mut response = self.0.upstream.request(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(visitor) = visitor else {
                let detail = "It changed to another protocol, which nobody asked for.";
                return Err(Fault::new(Kind::BadReply, detail));
            };
            let guest = hyper::upgrade::on(&mut response);
            tokio::spawn(splice(visitor, guest));
            forward::to_visitor_upgraded(response.headers_mut());
        } else {
            forward::to_visitor(response.headers_mut());
        }
        response.extensions_mut().clear();
        Ok(response.map(Body::new))
    }
}

fn still_starting() -> Fault {
    Fault::new(Kind::Silent, "It is still starting.")
}

fn not_resumed(sandbox: &Sandbox, error: &ResumeError) -> Fault {
    match error {
        ResumeError::NoSnapshot(_) => match sandbox.current().agent() {
            Err(error) => upstream::not_running(&error),
            Ok(_) => still_starting(),
        },
        ResumeError::Removed(_) => upstream::unknown(),
        ResumeError::Ended(error) => upstream::not_running(error),
        ResumeError::Begin(BeginError::NoRoom(_)) => {
            Fault::new(Kind::NoRoom, "Its host has no room for it now. Ask again later.")
        }
        ResumeError::Begin(BeginError::Host(_) | BeginError::Memory(_) | BeginError::Store(_))
        | ResumeError::Prepare(_)
        | ResumeError::Waking(_) => Fault::new(Kind::NotStarted, "Its owner can see why."),
    }
}

fn terminals_have_no_such() -> Response<Body> {
    upstream::unknown().reply(None).map(Body::from)
}

/// Bytes both ways, until both have ended.
async fn splice(visitor: OnUpgrade, guest: OnUpgrade) {
    let Ok((visitor, guest)) = tokio::try_join!(visitor, guest) else { return };
    let (mut visitor, mut guest) = (TokioIo::new(visitor), TokioIo::new(guest));
    if let Err(error) = tokio::io::copy_bidirectional(&mut visitor, &mut guest).await {
        tracing::debug!(%error, "an upgraded connection was broken off");
    }
}
