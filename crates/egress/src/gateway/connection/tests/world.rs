//! A guest, a gateway, and names that lead to this machine.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming, client::conn};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, DuplexStream},
    sync::watch,
    task::{JoinHandle, LocalSet},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::super::*;
use crate::{
    control::{Authority, Configuration, UpstreamProxy},
    gateway::{authority, in_place::Buffered},
    policy::{Action, Credential, Pin, Place},
    policy::{Cidr, Domain, Edits, HostPattern, Match, Policy, Rule, Subnets},
    secret::{SecretName, SecretText},
};

pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) type GuestBody = UnsyncBoxBody<Bytes, std::io::Error>;
pub(super) type GuestTls = TlsStream<DuplexStream>;

/// Runs a test on one thread, as a gateway runs. No test takes a minute.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let timed = async { timeout(Duration::from_secs(60), test).await.expect("it hangs") };
    LocalSet::new().block_on(&runtime, timed);
}

pub(super) struct World {
    pub(super) gateway: Rc<Gateway>,
    configured: watch::Sender<Option<Rc<Active>>>,
    configuration: RefCell<Configuration>,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl World {
    /// The gateway holds the policy; every name leads to this machine, where `root` is trusted.
    pub(super) fn new(policy: Policy, root: &CertificateDer<'_>) -> Self {
        let authority = authority::make().unwrap();
        let configuration = Configuration {
            revision: 1,
            policy,
            secrets: BTreeMap::new(),
            authority: authority.clone(),
            identities: BTreeMap::new(),
            extra_roots: vec![root.to_vec()],
            proxy: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let open = |name| {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).read(true).append(true).open(folder.path().join(name)).unwrap()
        };
        let recorder = Recorder::open([open("0"), open("1")]).unwrap();
        let (configured, current) = watch::channel(None);
        let lookup: Lookup = Rc::new(|_name| Box::pin(async { Ok(vec![LOCAL]) }));
        let gateway = Rc::new(Gateway::new(current, recorder, lookup));
        let configuration = RefCell::new(configuration);
        let world = Self { gateway, configured, configuration, authority, folder };
        world.change(|_| ());
        world
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Configuration)) {
        let mut configuration = self.configuration.borrow_mut();
        change(&mut configuration);
        configuration.policy.spread_pins();
        let active = Active::build(configuration.clone(), &RootCertStore::empty()).unwrap();
        self.configured.send_replace(Some(Rc::new(active)));
    }

    pub(super) fn secret(&self, name: &str, value: &str) {
        let name = SecretName::parse(name).unwrap();
        self.change(|c| drop(c.secrets.insert(name, SecretText::new(value.to_owned()))));
    }

    pub(super) fn proxy(&self, port: u16) {
        self.change(|c| {
            c.proxy = Some(UpstreamProxy {
                host: "127.0.0.1".to_owned(),
                port,
                credentials: Some(SecretText::new("me:pass".to_owned())),
                except: vec!["direct.test".to_owned()],
            });
        });
    }

    pub(super) fn peer(&self, names: &[&str], port: u16) -> Peer {
        let names = names.iter().map(|name| Host::parse(name).unwrap()).collect();
        Peer { address: SocketAddr::new(LOCAL, port), names, source_port: 40_000 }
    }

    /// A connection of the guest, and the task that carries it.
    pub(super) fn open(&self, peer: Peer) -> (DuplexStream, JoinHandle<()>) {
        let (guest, end) = tokio::io::duplex(64 * 1024);
        let accept = move || Some(Buffered::new(end));
        (guest, tokio::task::spawn_local(carry(accept, peer, Rc::clone(&self.gateway))))
    }

    pub(super) fn plain(&self, name: &str, port: u16) -> DuplexStream {
        self.open(self.peer(&[name], port)).0
    }

    /// TLS to a name, as a guest speaks it that trusts the gateway.
    pub(super) async fn tls(
        &self,
        name: &str,
        port: u16,
        protocols: &[&str],
    ) -> std::io::Result<GuestTls> {
        self.tls_as(self.peer(&[name], port), name, protocols).await
    }

    pub(super) async fn tls_as(
        &self,
        peer: Peer,
        name: &str,
        protocols: &[&str],
    ) -> std::io::Result<GuestTls> {
        let config = self.guest_config(&self.authority.certificate, protocols);
        let name = name.to_owned().try_into().unwrap();
        TlsConnector::from(config).connect(name, self.open(peer).0).await
    }

    pub(super) fn guest_config(&self, root: &[u8], protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// What the guest trusts.
    pub(super) fn authority(&self) -> Vec<u8> {
        self.authority.certificate.clone()
    }

    /// HTTP/1 to a name over TLS.
    pub(super) async fn http1(&self, name: &str, port: u16) -> conn::http1::SendRequest<GuestBody> {
        let tls = self.tls(name, port, &["http/1.1"]).await.unwrap();
        speak1(tls).await
    }

    /// HTTP/2 to a name over TLS.
    pub(super) async fn http2(&self, name: &str, port: u16) -> conn::http2::SendRequest<GuestBody> {
        let tls = self.tls(name, port, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let executor = hyper_util::rt::TokioExecutor::new();
        let handshake = conn::http2::handshake(executor, TokioIo::new(tls));
        let (sender, connection) = handshake.await.unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        sender
    }

    /// What has been told, of the kinds given, once it was over.
    pub(super) fn events(&self, kind: Kind) -> Vec<Event> {
        self.all_events()
            .into_iter()
            .filter(|event| event.kind == kind && !event.under_way)
            .collect()
    }

    fn all_events(&self) -> Vec<Event> {
        let lines = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        let text = lines("0") + &lines("1");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until it has been told that something goes on.
    pub(super) async fn under_way(&self) -> Event {
        let mut written = self.gateway.recorder.written();
        loop {
            written.mark_unchanged();
            if let Some(event) = self.all_events().into_iter().find(|event| event.under_way) {
                return event;
            }
            written.changed().await.unwrap();
        }
    }

    /// All that was written to the log.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("0")).unwrap()
    }

    /// Waits until as many events of the kind have been told.
    pub(super) async fn told(&self, kind: Kind, count: usize) -> Vec<Event> {
        let mut written = self.gateway.recorder.written();
        loop {
            written.mark_unchanged();
            let events = self.events(kind);
            if count <= events.len() {
                return events;
            }
            written.changed().await.unwrap();
        }
    }
}

/// A policy that lets this machine be reached, and these domains.
pub(super) fn policy(domains: Vec<Domain>) -> Policy {
    let net = Cidr { address: Ipv4Addr::new(127, 0, 0, 0).into(), prefix: 8 };
    let subnets = Subnets { allow: vec![net], deny: Vec::new() };
    Policy { domains, subnets, ..Policy::default() }
}

pub(super) fn domain(pattern: &str, port: u16, rules: Vec<Rule>) -> Domain {
    let pattern = HostPattern::parse(pattern).unwrap();
    Domain { pattern, port: Some(port), rules, preset: None }
}

pub(super) fn rule(then: Action) -> Rule {
    Rule { when: Match::default(), then }
}

/// A rule that changes nothing, so that connections are opened.
pub(super) fn look() -> Rule {
    rule(Action::Send(Edits::default()))
}

pub(super) fn inject(secret: &str, place: Place) -> Rule {
    let pin = Pin::On { headers: [].into(), query: [].into() };
    let credentials = vec![Credential { secret: SecretName::parse(secret).unwrap(), place }];
    rule(Action::Send(Edits { credentials, pin, ..Edits::default() }))
}

pub(super) fn full(text: impl Into<Bytes>) -> GuestBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn get(host: &str, path: &str) -> Request<GuestBody> {
    Request::builder().uri(path).header("host", host).body(full("")).unwrap()
}

/// The same as HTTP/2 has it.
pub(super) fn get2(host: &str, path: &str) -> Request<GuestBody> {
    Request::builder().uri(format!("https://{host}{path}")).body(full("")).unwrap()
}

pub(super) async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A client that speaks HTTP/1 on it.
pub(super) async fn speak1<S>(stream: S) -> conn::http1::SendRequest<GuestBody>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    sender
}
