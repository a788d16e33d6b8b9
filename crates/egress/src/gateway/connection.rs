//! One TCP connection of the guest, from its first byte to its last.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{FutureExt, select_ok};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Recorder,
    active::{Active, Current},
    authority::Inside,
    client_hello::{ClientHello, Encrypted, InvalidHello},
    dial::{self, Destination, DialError, Lookup, Wire, is_own},
    http::{self, Named, SendError, Sender, Session, Upstream, Way},
    opened,
    rewound::Rewound,
    sniff::{Patience, Spoken, sniff},
    spliced::Spliced,
};
use crate::{
    address::HOST_NAME,
    clock,
    event::{Decision, Event, Kind},
    host::Host,
    policy::{Denial, Grant, Treatment, Why},
};

/// What all connections of a guest share.
pub(crate) struct Gateway {
    pub(crate) current: Current,
    pub(crate) recorder: Recorder,
    pub(crate) lookup: Lookup,
    /// Requests that may run at a time, over all connections.
    pub(crate) requests: Arc<Semaphore>,
    /// Whether an address is the host's own: [`is_own`], but for tests.
    pub(crate) is_own: fn(IpAddr) -> bool,
}

/// As many requests run at a time. Each may hold some 200 KiB on its way.
const REQUESTS_MAX: usize = 1024;

/// The other end of a connection, as the guest asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The names that the address was given out for; none if the guest uses it by itself.
    pub(crate) names: Vec<Host>,
    /// The port at the guest's own end.
    pub(crate) source_port: u16,
}

/// How a connection begins.
#[derive(Debug)]
enum Plan {
    /// Its bytes pass, whatever they say.
    Raw { grant: Grant, host: Option<Host> },
    /// Its first bytes say how it goes on.
    Inspect(Vec<Candidate>),
}

/// Something that the connection may turn out to be for.
#[derive(Debug)]
struct Candidate {
    whom: Named,
    treatment: Treatment,
}

/// Any port does where only the address is asked about.
const HTTPS_PORT: u16 = 443;

/// Longest time that is waited for other addresses of a name.
const OTHER_ADDRESSES: Duration = Duration::from_secs(2);
/// Longest time in which a last word to the guest is tried.
const LAST_WORD: Duration = Duration::from_secs(2);
/// A TLS alert, fatal: access denied.
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    pub(crate) fn new(current: Current, recorder: Recorder, lookup: Lookup) -> Self {
        Self { current, recorder, lookup, requests: Arc::new(Semaphore::new(REQUESTS_MAX)), is_own }
    }

    /// The configuration that holds; without one nothing is let through.
    pub(crate) fn active(&self) -> Option<Rc<Active>> {
        self.current.borrow().clone()
    }

    /// Whether the guest may open this connection at all; if not, that is told. What it may do with
    /// it, [`carry`] finds out.
    pub(crate) fn admits(&self, peer: &Peer) -> bool {
        let planned = self.active().map(|active| plan(self, &active, peer));
        match planned {
            Some(Ok(_)) => true,
            Some(Err(denial)) => {
                self.deny(peer, Kind::Tcp, None, &denial);
                false
            }
            None => false,
        }
    }

    /// Whether the policy and the host let packets go there.
    pub(crate) fn may_dial(
        &self,
        active: &Active,
        to: IpAddr,
        port: u16,
        host: Option<&Host>,
    ) -> bool {
        self.check_dial(active, to, port, host).is_ok()
    }

    /// Whether the guest may know that the name leads to this address. What it may reach there is
    /// decided when it connects.
    pub(crate) fn may_tell(&self, active: &Active, to: IpAddr, host: &Host) -> Result<(), Denial> {
        match self.check_dial(active, to, HTTPS_PORT, Some(host)) {
            Err(denial) if denial.why.is_about_the_address() => Err(denial),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn check_dial(
        &self,
        active: &Active,
        to: IpAddr,
        port: u16,
        host: Option<&Host>,
    ) -> Result<(), Denial> {
        let granted = active.policy.dial(to, port, host);
        if granted.as_ref().is_err_and(|denial| denial.why.is_about_the_address()) {
            return granted.map(drop);
        }
        let named = active.policy.subnets.allow.iter().any(|net| net.contains(to));
        if !named && !is_host_itself(host) && (self.is_own)(to) {
            return Err(Denial { rule: "default".to_owned(), why: Why::HostItself });
        }
        granted.map(drop)
    }

    /// Connects to whom the guest wants: to the address that it chose and, if that fails or takes
    /// long, to others of the same name.
    pub(crate) async fn dial(
        &self,
        active: &Active,
        peer: &Peer,
        host: Option<&Host>,
    ) -> Result<Wire, DialError> {
        let (chosen, port) = (peer.address.ip(), peer.address.port());
        let proxy = active.proxy.as_ref();
        let dial_all = async |addresses: &[IpAddr]| {
            dial::dial(Destination { host, addresses, port }, proxy, &self.lookup).await
        };
        if is_host_itself(host) {
            return dial_all(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]).await;
        }
        if host.is_some_and(|host| active.policy.stands_in(chosen, host)) {
            return Err(DialError::NoAddress);
        }
        let chosen_only = [chosen];
        let mut first = pin!(dial_all(&chosen_only));
        let (Some(host), None) = (host, proxy) else { return first.await };
        let failed = match timeout(dial::HEAD_START, first.as_mut()).await {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(error)) => Some(error),
            Err(_elapsed) => None,
        };
        let others = timeout(OTHER_ADDRESSES, (self.lookup)(host.clone())).await;
        let mut others = others.ok().and_then(Result::ok).unwrap_or_default();
        others.retain(|&other| other != chosen && self.may_dial(active, other, port, Some(host)));
        match (failed, others.is_empty()) {
            (Some(error), true) => Err(error),
            (None, true) => first.await,
            (Some(_), false) => dial_all(&others).await,
            (None, false) => {
                let second = pin!(dial_all(&others));
                match select_ok([first.boxed_local(), second.boxed_local()]).await {
                    Ok((wire, _)) => Ok(wire),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The connection upstream for requests in the clear.
    pub(crate) async fn connect_open(
        &self,
        session: &Session,
        whom: &Named,
        inside: Inside,
        closed: &CancellationToken,
    ) -> Result<Sender, SendError> {
        let gone = || SendError::Connect("the gateway has no configuration".to_owned());
        let active = self.active().ok_or_else(gone)?;
        let host = match whom {
            Named::Host(host) => Some(host),
            Named::Address(_) => None,
        };
        let wire = self.dial(&active, &session.peer, host).await;
        let wire = wire.map_err(|error| SendError::Connect(format!("{whom}: {error}")))?;
        Sender::begin(wire, inside, &session.cut, closed).await
    }

    pub(crate) fn deny(&self, peer: &Peer, kind: Kind, host: Option<&Host>, denial: &Denial) {
        let mut event = event(peer, kind, host);
        event.decision = Decision::Deny;
        event.rule.clone_from(&denial.rule);
        event.reason = Some(denial.why.to_string());
        self.recorder.tell(event);
    }
}

/// What every event of a connection begins with.
pub(crate) fn event(peer: &Peer, kind: Kind, host: Option<&Host>) -> Event {
    let mut event = Event::new(clock::now_ms(), Decision::Allow, kind, "default");
    event.address = Some(peer.address);
    event.source_port = Some(peer.source_port);
    event.host = match (host, &peer.names[..]) {
        (Some(host), _) | (None, [host]) => Some(host.to_string()),
        (None, _) => None,
    };
    event
}

fn is_host_itself(host: Option<&Host>) -> bool {
    host.is_some_and(|host| host.as_str() == HOST_NAME)
}

/// Carries the connection until it is over. Dropping it cuts it.
///
/// `accept` tells the guest that it is connected, and gives nothing if the guest does not wait for
/// it any more. Where nothing is to be seen in the bytes, it is called when the host has been
/// reached: a port that nobody listens on is refused, as it is without a gateway.
pub(crate) async fn carry<S>(accept: impl FnOnce() -> Option<S>, peer: Peer, gateway: Rc<Gateway>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Some(active) = gateway.active() else { return };
    match plan(&gateway, &active, &peer) {
        Ok(Plan::Raw { grant, host }) => {
            let spliced = Spliced { grant, host, kind: Kind::Tcp };
            drop(active);
            spliced.carry(accept, &peer, &gateway).await;
        }
        Ok(Plan::Inspect(candidates)) => {
            drop(active);
            let Some(stream) = accept() else { return };
            inspect(stream, peer, &gateway, candidates).await;
        }
        Err(denial) => gateway.deny(&peer, Kind::Tcp, None, &denial),
    }
}

/// Decides by what is known without a byte: address, port, and the names that it was given out for.
fn plan(gateway: &Gateway, active: &Active, peer: &Peer) -> Result<Plan, Denial> {
    let (address, port) = (peer.address.ip(), peer.address.port());
    let by_address = || {
        gateway.check_dial(active, address, port, None)?;
        let treatment = active.policy.connect_address(address, port)?;
        Ok(match treatment {
            Treatment::Raw(grant) => Plan::Raw { grant, host: None },
            Treatment::Inspect { .. } => {
                Plan::Inspect(vec![Candidate { whom: Named::Address(address), treatment }])
            }
        })
    };
    if peer.names.is_empty() {
        return by_address();
    }
    let mut candidates = Vec::new();
    let mut denied = None;
    for host in &peer.names {
        let judged = gateway
            .check_dial(active, address, port, Some(host))
            .and_then(|()| active.policy.connect(host, port));
        match judged {
            Ok(treatment) => {
                candidates.push(Candidate { whom: Named::Host(host.clone()), treatment });
            }
            Err(denial) => denied = denied.or(Some(denial)),
        }
    }
    if let (true, Some(denial)) = (candidates.is_empty(), denied) {
        // What may be reached without any name may be reached under one that says nothing about it.
        return by_address().map_err(|_by_address: Denial| denial);
    }
    // Only if none of the names is to be looked into do the bytes pass unseen.
    let all_raw = candidates.iter().all(|one| matches!(one.treatment, Treatment::Raw(_)));
    match candidates.pop_if(|_| all_raw) {
        Some(Candidate { whom: Named::Host(host), treatment: Treatment::Raw(grant) }) => {
            Ok(Plan::Raw { grant, host: Some(host) })
        }
        Some(other) => Ok(Plan::Inspect(vec![other])),
        None => Ok(Plan::Inspect(candidates)),
    }
}

async fn inspect<S>(mut stream: S, peer: Peer, gateway: &Rc<Gateway>, candidates: Vec<Candidate>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let raw = candidates.iter().find_map(|one| match (&one.treatment, &one.whom) {
        (Treatment::Raw(grant), Named::Host(host)) => Some((grant.clone(), Some(host.clone()))),
        (Treatment::Raw(grant), Named::Address(_)) => Some((grant.clone(), None)),
        (Treatment::Inspect { .. }, _) => None,
    });
    let patience = if raw.is_some() { Patience::Short } else { Patience::Long };
    let Ok((spoken, first)) = sniff(&mut stream, patience).await else { return };
    let stream = Rewound::new(first.clone(), stream);
    let denied = |why| Denial { rule: "default".to_owned(), why };
    match spoken {
        Spoken::Tls(hello) => tls(stream, &hello, peer, gateway, candidates).await,
        Spoken::BadTls(error) => {
            let why = if error == InvalidHello::Inner {
                Why::HiddenName
            } else {
                Why::Malformed("the TLS client hello is not as it should be")
            };
            refuse_tls(stream, gateway, &peer, None, denied(why)).await;
        }
        Spoken::Http1 | Spoken::Http2 => {
            let inside = if spoken == Spoken::Http2 { Inside::Http2 } else { Inside::Http1 };
            let whom = candidates.into_iter().map(|one| one.whom).collect();
            let gateway = Rc::clone(gateway);
            let session = Session::new(gateway, peer, Way::Open, whom, Upstream::unasked());
            http::serve(stream, inside, Rc::new(session)).await;
        }
        Spoken::Other => match raw {
            Some((grant, host)) => {
                Spliced { grant, host, kind: Kind::Tcp }
                    .carry(|| Some(stream), &peer, gateway)
                    .await;
            }
            // A connection without a byte is a probe, or was given up: there is nothing to tell.
            None if first.is_empty() => (),
            None => gateway.deny(&peer, Kind::Tcp, None, &denied(Why::NotHttp)),
        },
    }
}

async fn tls<S>(
    stream: Rewound<S>,
    hello: &ClientHello,
    peer: Peer,
    gateway: &Rc<Gateway>,
    candidates: Vec<Candidate>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Some(active) = gateway.active() else { return };
    let judged = judge_hello(&active, hello, &peer, candidates);
    drop(active);
    let (host, treatment) = match judged {
        Ok(judged) => judged,
        Err(denial) => {
            let host = hello.server_name.as_ref();
            return refuse_tls(stream, gateway, &peer, host, denial).await;
        }
    };
    let opens = opens(&treatment, hello.encrypted);
    let kind = match &treatment {
        Treatment::Raw(_) => Kind::Tcp,
        Treatment::Inspect { .. } => Kind::Tls,
    };
    let (Treatment::Raw(grant) | Treatment::Inspect { grant, .. }) = treatment;
    match opens {
        Opens::No => {
            Spliced { grant, host: Some(host), kind }.carry(|| Some(stream), &peer, gateway).await;
        }
        Opens::Yes => {
            let opening = opened::Opening { host, grant, peer, gateway: Rc::clone(gateway) };
            opening.carry(stream, hello).await;
        }
    }
}

/// Whether TLS is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    No,
    Yes,
}

/// What may hide another name inside is opened even if no rule asks for it. An encrypted hello and
/// a random one that looks like it cannot be told apart; opened, the random one is overlooked as by
/// any server that does not know it, and the encrypted one leads nowhere: the gateway sends a hello
/// of its own, and the client breaks off.
fn opens(treatment: &Treatment, encrypted: Encrypted) -> Opens {
    match (treatment, encrypted) {
        (Treatment::Raw(_), _) => Opens::No,
        (Treatment::Inspect { opened: false, .. }, Encrypted::No) => Opens::No,
        (Treatment::Inspect { .. }, _) => Opens::Yes,
    }
}

/// Whom a TLS connection is for, and how it is treated.
fn judge_hello(
    active: &Active,
    hello: &ClientHello,
    peer: &Peer,
    candidates: Vec<Candidate>,
) -> Result<(Host, Treatment), Denial> {
    let Some(asked) = &hello.server_name else {
        return Err(Denial { rule: "default".to_owned(), why: Why::NoSni });
    };
    let by_address = candidates.iter().any(|one| matches!(one.whom, Named::Address(_)));
    let named = Named::Host(asked.clone());
    if let Some(found) = candidates.into_iter().find(|one| one.whom == named) {
        return Ok((asked.clone(), found.treatment));
    }
    let treatment = active.policy.connect(asked, peer.address.port())?;
    // By an address that may be reached by itself, a name may be said that may be reached too.
    if by_address {
        return Ok((asked.clone(), treatment));
    }
    let why = Why::NameMismatch { asked: asked.to_string() };
    Err(Denial { rule: "default".to_owned(), why })
}

/// Refuses a TLS connection so that its client says what happened.
pub(crate) async fn refuse_tls<S: AsyncWrite + Unpin>(
    mut stream: S,
    gateway: &Gateway,
    peer: &Peer,
    host: Option<&Host>,
    denial: Denial,
) {
    gateway.deny(peer, Kind::Tls, host, &denial);
    let last = async {
        stream.write_all(&ACCESS_DENIED).await?;
        stream.shutdown().await
    };
    drop(timeout(LAST_WORD, last).await);
}

#[cfg(test)]
mod tests;
