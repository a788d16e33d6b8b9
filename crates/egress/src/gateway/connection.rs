//! One TCP connection of the guest, from its first byte to its last.

mod plan;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{FutureExt, select_ok};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) use plan::stays_unseen;
use plan::{Candidate, Passage, Plan, judge_hello, plan, unseen};

use super::{
    Recorder,
    active::{Active, Current},
    authority::Inside,
    client_hello::{ClientHello, InvalidHello},
    dial::{self, Destination, DialError, Lookup, Wire, is_own},
    http::{self, Named, SendError, Sender, Session, Upstream, Way},
    in_place::InPlace,
    opened,
    rewound::Rewound,
    sniff::{Patience, Spoken, sniff},
    spliced::Spliced,
};
use crate::{
    address::HOST_NAME,
    clock,
    event::{Decision, Event, Kind, NamedBy},
    host::Host,
    policy::{Denial, Why},
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

impl Peer {
    /// The name, if the address was given out for it: what the guest says by itself leads nowhere.
    pub(crate) fn led_by<'a>(&self, host: &'a Host) -> Option<&'a Host> {
        Some(host).filter(|host| self.names.contains(host))
    }

    pub(crate) fn named_by(&self, host: &Host) -> NamedBy {
        self.led_by(host).map_or(NamedBy::Guest, |_| NamedBy::Known)
    }
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
        let to = to.to_canonical();
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
        let host = host.and_then(|host| peer.led_by(host));
        let proxy = active.proxy.as_ref();
        let dial_all = async |addresses: &[IpAddr]| {
            dial::dial(Destination { host, addresses, port }, proxy, &self.lookup).await
        };
        if is_host_itself(host) {
            return dial_all(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]).await;
        }
        if host.into_iter().chain(&peer.names).any(|host| active.policy.stands_in(chosen, host)) {
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
    S: InPlace + 'static,
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

async fn inspect<S>(mut stream: S, peer: Peer, gateway: &Rc<Gateway>, candidates: Vec<Candidate>)
where
    S: InPlace + 'static,
{
    // Where only the address would let bytes pass unseen, a client that says nothing yet may still come
    // to say a name that has rules.
    let patience = if candidates.iter().any(Candidate::is_raw_name) {
        Patience::Short
    } else {
        Patience::Long
    };
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
        // A connection without a byte is a probe, or was given up: there is nothing to tell.
        Spoken::Other if first.is_empty() && patience == Patience::Long => (),
        Spoken::Other => match unseen(&candidates) {
            Some((grant, host)) => {
                Spliced { grant, host, kind: Kind::Tcp }
                    .carry(|| Some(stream), &peer, gateway)
                    .await;
            }
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
    S: InPlace + 'static,
{
    let Some(active) = gateway.active() else { return };
    let judged = judge_hello(&active, hello, &peer, candidates);
    drop(active);
    match judged {
        Ok(Passage::Spliced(spliced)) => spliced.carry(|| Some(stream), &peer, gateway).await,
        Ok(Passage::Opened { host, grant }) => {
            let opening = opened::Opening { host, grant, peer, gateway: Rc::clone(gateway) };
            opening.carry(stream, hello).await;
        }
        Err(denial) => {
            let host = hello.server_name.as_ref();
            refuse_tls(stream, gateway, &peer, host, denial).await;
        }
    }
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
