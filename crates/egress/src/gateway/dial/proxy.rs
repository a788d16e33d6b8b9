//! Through the host's own proxy, by `CONNECT`.

use std::{io, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use zeroize::Zeroizing;

use super::{Destination, DialError, Lookup, Wire, direct};
use crate::{control::UpstreamProxy, gateway::rewound::Rewound, host::Host};

/// Longest reply to `CONNECT`, in bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024;

/// Whether the destination is to be reached without the proxy. The host itself always is.
pub(super) fn excepts(proxy: &UpstreamProxy, to: &Destination<'_>) -> bool {
    if to.addresses.iter().all(IpAddr::is_loopback) {
        return true;
    }
    let name = match to.host {
        Some(host) => host.to_string(),
        None => to.addresses.first().map(ToString::to_string).unwrap_or_default(),
    };
    proxy.except.iter().map(|entry| entry.trim().trim_start_matches("*.")).any(|entry| {
        let suffix = entry.trim_start_matches('.').to_ascii_lowercase();
        let below = name.strip_suffix(&suffix).is_some_and(|head| head.ends_with('.'));
        entry == "*" || (!suffix.is_empty() && (name == suffix || below))
    })
}

/// Connects to the proxy and asks it for the destination: by name, where there is one, since it may
/// be the only one who can resolve it.
pub(super) async fn connect(
    to: Destination<'_>,
    proxy: &UpstreamProxy,
    lookup: &Lookup,
) -> Result<Wire, DialError> {
    let addresses = addresses(proxy, lookup).await?;
    let connected = direct(&addresses, proxy.port).await;
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(DialError::Connect(error)) => return Err(DialError::Proxy(error)),
        Err(other) => return Err(other),
    };
    let request = request(to, proxy)?;
    stream.write_all(request.as_bytes()).await.map_err(DialError::Proxy)?;
    reply(stream).await
}

async fn addresses(proxy: &UpstreamProxy, lookup: &Lookup) -> Result<Vec<IpAddr>, DialError> {
    let text = proxy.host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    if text == "localhost" {
        return Ok(vec![
            std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ]);
    }
    let host = Host::parse(text).map_err(|error| {
        DialError::Proxy(io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    })?;
    lookup(host).await.map_err(DialError::Proxy)
}

fn request(to: Destination<'_>, proxy: &UpstreamProxy) -> Result<Zeroizing<String>, DialError> {
    let port = to.port;
    let target = match (to.host, to.addresses.first()) {
        (Some(host), _) => format!("{host}:{port}"),
        (None, Some(IpAddr::V6(address))) => format!("[{address}]:{port}"),
        (None, Some(address)) => format!("{address}:{port}"),
        (None, None) => return Err(DialError::NoAddress),
    };
    let mut text = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
    if let Some(credentials) = &proxy.credentials {
        text.push_str("Proxy-Authorization: Basic ");
        text.push_str(&Zeroizing::new(BASE64.encode(credentials.expose())));
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    Ok(text)
}

/// Reads the head of the reply; what comes behind it is the destination's.
async fn reply(mut stream: TcpStream) -> Result<Wire, DialError> {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = bytes.split_to(end + 4);
            return match status(&head) {
                Some(200..=299) => Ok(Rewound::new(bytes.freeze(), stream)),
                Some(status) => Err(DialError::ProxyRefused(status)),
                None => Err(DialError::ProxyReply),
            };
        }
        if REPLY_BYTES_MAX < bytes.len() {
            return Err(DialError::ProxyReply);
        }
        if stream.read_buf(&mut bytes).await.map_err(DialError::Proxy)? == 0 {
            return Err(DialError::ProxyReply);
        }
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    str::from_utf8(line).ok()?.parse().ok()
}
