//! A gateway without a network, for fuzzing: the bytes of a guest on one side, a host that writes
//! down which requests reach it on the other.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    fs::File,
    io,
    net::Ipv4Addr,
    rc::Rc,
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, server, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split},
    runtime::Runtime,
    sync::watch,
    task::LocalSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Recorder,
    active::Active,
    authority::{self, Inside},
    connection::{Gateway, Peer},
    dial::Lookup,
    http::{self, Named, Sender, Session, Upstream, Way},
};
use crate::{
    control::Configuration,
    host::Host,
    policy::Policy,
    secret::{SecretName, SecretText},
};

const BUFFER_BYTES: usize = 64 * 1024;
/// More than any input takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so many turns of all tasks without a byte there is nothing left to happen.
const QUIET: usize = 50;

/// A gateway with a policy, and a connection to one of its hosts for every input.
#[derive(Debug)]
pub struct Trial {
    runtime: Runtime,
    gateway: Rc<Gateway>,
    peer: Peer,
    host: Host,
    _configured: watch::Sender<Option<Rc<Active>>>,
}

type Reached = Rc<RefCell<Vec<Request<()>>>>;

impl Trial {
    /// Connections go to this host's port 443, as if TLS with it had been opened.
    pub fn new(
        policy: Policy,
        secrets: Vec<(SecretName, SecretText)>,
        host: Host,
    ) -> io::Result<Self> {
        let configuration = Configuration {
            revision: 1,
            policy,
            secrets: secrets.into_iter().collect(),
            authority: authority::make().map_err(io::Error::other)?,
            identities: [].into(),
            extra_roots: Vec::new(),
            proxy: None,
        };
        let active =
            Active::build(configuration, &RootCertStore::empty()).map_err(io::Error::other)?;
        let (configured, current) = watch::channel(Some(Rc::new(active)));
        let null = || File::options().read(true).write(true).open("/dev/null");
        let recorder = Recorder::open([null()?, null()?])?;
        let nowhere: Lookup =
            Rc::new(|_name| Box::pin(async { Err(io::ErrorKind::NotFound.into()) }));
        let gateway = Rc::new(Gateway::new(current, recorder, nowhere));
        let address = (Ipv4Addr::new(192, 0, 2, 1), 443).into();
        let peer = Peer { address, names: vec![host.clone()], source_port: 1 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, gateway, peer, host, _configured: configured })
    }

    /// The requests that reach the host if a guest sends these bytes. They are read by another
    /// server than the one in the gateway, from the bytes that the gateway sends.
    pub fn run(&self, bytes: &[u8], version: Version) -> Result<Vec<Request<()>>, Stuck> {
        let reached = Reached::default();
        let running = async { timeout(PATIENCE, self.connection(bytes, version, &reached)).await };
        let ended = LocalSet::new().block_on(&self.runtime, running);
        ended.map_err(|_elapsed| Stuck)?.ok_or(Stuck)?;
        Ok(reached.take())
    }

    async fn connection(&self, bytes: &[u8], version: Version, reached: &Reached) -> Option<()> {
        let inside = match version {
            Version::Http1 => Inside::Http1,
            Version::Http2 => Inside::Http2,
        };
        let (near, far) = tokio::io::duplex(BUFFER_BYTES);
        tokio::task::spawn_local(host(far, inside, Rc::clone(reached)));
        let (cut, closed) = (CancellationToken::new(), CancellationToken::new());
        let guard = cut.clone().drop_guard();
        let sender = Sender::begin(near, inside, &cut, &closed).await.ok()?;
        let upstream = Upstream::there(sender, closed);
        let whom = vec![Named::Host(self.host.clone())];
        let gateway = Rc::clone(&self.gateway);
        let session = Session::new(gateway, self.peer.clone(), Way::Sealed, whom, upstream);
        let (guest, end) = tokio::io::duplex(BUFFER_BYTES);
        let (mut replies, mut requests) = split(guest);
        let read = Cell::new(0);
        let talking = async {
            // The gateway may close before it has read everything.
            drop(requests.write_all(bytes).await);
            settle(|| (read.get(), reached.borrow().len())).await;
            drop(requests.shutdown().await);
        };
        let reading = async {
            let mut sink = [0; 4096];
            while let Ok(length @ 1..) = replies.read(&mut sink).await {
                read.set(read.get() + length);
            }
        };
        tokio::join!(http::serve(end, inside, Rc::new(session)), talking, reading);
        drop(guard);
        Some(())
    }
}

/// Waits until nothing happens any more. A guest that ended at once would be taken for one that has
/// given up.
async fn settle(state: impl Fn() -> (usize, usize)) {
    let mut last = state();
    let mut quiet = 0;
    while quiet < QUIET {
        tokio::task::yield_now().await;
        let now = state();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
}

/// The version that the guest and the host speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// The connection did not end with the guest's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection did not end with the guest's bytes")]
pub struct Stuck;

async fn host(stream: DuplexStream, inside: Inside, reached: Reached) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        reached.borrow_mut().push(Request::from_parts(parts, ()));
        async move {
            // A body that breaks off is no matter here.
            drop(body.collect().await);
            Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let io = TokioIo::new(stream);
    // How it ended is seen in what reached it.
    if inside == Inside::Http2 {
        let tasks = http::OfConnection(CancellationToken::new());
        let serving = server::conn::http2::Builder::new(tasks).serve_connection(io, service);
        drop(serving.await);
    } else {
        let mut builder = server::conn::http1::Builder::new();
        drop(builder.header_read_timeout(None).serve_connection(io, service).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, Domain, Edits, HostPattern, Match, Rule};

    #[test]
    fn bytes_become_requests_or_not() {
        let host = Host::parse("a.test").unwrap();
        let when = Match { methods: vec!["PUT".to_owned()], ..Match::default() };
        let look = Rule { when: Match::default(), then: Action::Send(Edits::default()) };
        let rules = vec![Rule { when, then: Action::Deny }, look];
        let pattern = HostPattern::Exact(host.clone());
        let domains = vec![Domain { pattern, port: None, rules, preset: None }];
        let trial = Trial::new(Policy { domains, ..Policy::default() }, vec![], host).unwrap();
        let run = |bytes: &[u8], version| {
            let reached = trial.run(bytes, version).unwrap();
            reached.iter().map(|request| request.uri().path().to_owned()).collect::<Vec<_>>()
        };
        let three =
            b"GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nPUT /2 HTTP/1.1\r\nHost: a.test\r\n\r\n\
                      GET /3 HTTP/1.1\r\nHost: a.test\r\n\r\n";
        assert_eq!(run(three, Version::Http1), ["/1", "/3"]);
        assert_eq!(run(b"\x16\x03\x01", Version::Http1), [""; 0]);
        // A preface, settings, and GET / of a.test with its headers in a literal form.
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        bytes.extend(b"\0\0\x0b\x01\x05\0\0\0\x01\x82\x84\x87\x01\x06a.test");
        assert_eq!(run(&bytes, Version::Http2), ["/"]);
    }
}
