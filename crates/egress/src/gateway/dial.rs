//! The way from the gateway to an upstream host: directly, or through the proxy that the host
//! itself has to go through.

mod own;
mod proxy;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

pub(crate) use own::is_own;

use super::rewound::Rewound;
use crate::{control::UpstreamProxy, host::Host};

/// Longest time for one connection, over all addresses. Linux gives up on one address after 130 s,
/// and clients before that.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long one address is tried alone (RFC 8305, 5).
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);
/// More addresses of a name than this are not tried.
const ADDRESSES_MAX: usize = 8;

/// Asks which addresses a name has now. It is asked for names that the policy allows, and for those
/// that the user chose (a proxy, the target of a rule).
pub(crate) type Lookup = Rc<dyn Fn(Host) -> LocalBoxFuture<'static, io::Result<Vec<IpAddr>>>>;

/// Bytes to and from an upstream host.
pub(crate) type Wire = Rewound<TcpStream>;

/// Where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    /// The name that it is reached by, if by name.
    pub(crate) host: Option<&'a Host>,
    /// Granted by the policy, in the order in which they are tried.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) port: u16,
}

/// No connection. [`std::fmt::Display`] is shown to the guest: it names no address of a proxy and
/// no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("it has no address that may be reached")]
    NoAddress,
    #[error("its addresses cannot be found")]
    Lookup(#[source] io::Error),
    #[error("it cannot be reached: {}", reason(.0))]
    Connect(#[source] io::Error),
    #[error("it did not answer in {} s", DEADLINE.as_secs())]
    Deadline,
    #[error("the host's proxy cannot be reached: {}", reason(.0))]
    Proxy(#[source] io::Error),
    #[error("the host's proxy answered with status {0}")]
    ProxyRefused(u16),
    #[error("the host's proxy answered with something that is not HTTP")]
    ProxyReply,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are all the same here")]
fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused",
        io::ErrorKind::ConnectionReset => "the connection was reset",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route leads there"
        }
        io::ErrorKind::TimedOut => "it does not answer",
        io::ErrorKind::PermissionDenied => "the host does not permit it",
        _ => "the connection failed",
    }
}

/// Connects, through the proxy unless it is excepted.
pub(crate) async fn dial(
    to: Destination<'_>,
    proxy: Option<&UpstreamProxy>,
    lookup: &Lookup,
) -> Result<Wire, DialError> {
    let until = Instant::now() + DEADLINE;
    let connecting = async {
        match proxy.filter(|proxy| !proxy::excepts(proxy, &to)) {
            Some(proxy) => proxy::connect(to, proxy, lookup).await,
            None => {
                let stream = direct(to.addresses, to.port).await?;
                Ok(Rewound::new(bytes::Bytes::new(), stream))
            }
        }
    };
    timeout_at(until, connecting).await.unwrap_or(Err(DialError::Deadline))
}

/// Tries the addresses one after another, each with a head start before the next, both families in
/// turn; the first that answers is taken.
async fn direct(addresses: &[IpAddr], port: u16) -> Result<TcpStream, DialError> {
    let mut trying = FuturesUnordered::new();
    let mut last = DialError::NoAddress;
    for address in in_turn(addresses) {
        trying.push(connect(SocketAddr::new(address, port)));
        match timeout(HEAD_START, trying.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last = DialError::Connect(error),
            Ok(None) | Err(_) => {}
        }
    }
    while let Some(tried) = trying.next().await {
        match tried {
            Ok(stream) => return Ok(stream),
            Err(error) => last = DialError::Connect(error),
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The families by turns, beginning with that of the first address.
fn in_turn(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let of_family = |family: bool| addresses.iter().filter(move |a| a.is_ipv6() == family);
    let (mut one, mut other) = (of_family(first.is_ipv6()), of_family(!first.is_ipv6()));
    let mut ordered: Vec<IpAddr> = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(one.next());
        ordered.extend(other.next());
        if before == ordered.len() || ADDRESSES_MAX <= ordered.len() {
            ordered.truncate(ADDRESSES_MAX);
            return ordered;
        }
    }
}

#[cfg(test)]
mod tests;
