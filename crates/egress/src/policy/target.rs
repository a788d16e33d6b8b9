//! What is asked to be explained: a URL, as far as a policy looks at it.

use std::net::IpAddr;

use crate::host::{Host, InvalidHost};

/// What is asked about cannot be a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("a URL begins with http:// or https://, or with tcp:// and has a port")]
    Scheme,
    #[error("a URL may not hold a user name or password here")]
    UserInfo,
    #[error("the URL has no host that can be reached")]
    Host(#[source] InvalidHost),
    #[error("the port of the URL is not a number from 1 to 65535")]
    Port,
    #[error("a method is made of letters")]
    Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    Tcp,
}

pub(super) enum Place {
    Name(Host),
    Address(IpAddr),
}

/// A URL, as far as a policy looks at it.
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) place: Place,
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// Whether the name ends with a dot, which is no other name, though servers disagree about it.
    pub(super) dotted: bool,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl::Scheme)?;
        let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => (Scheme::Http, Some(80)),
            "https" | "wss" => (Scheme::Https, Some(443)),
            "tcp" => (Scheme::Tcp, None),
            _ => return Err(InvalidUrl::Scheme),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            return Err(InvalidUrl::UserInfo);
        }
        let (place, written) = split_port(authority)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        let port = written.or(port).ok_or(InvalidUrl::Scheme)?;
        let dotted = authority.split(':').next().is_some_and(|name| name.ends_with('.'));
        Ok(Self { scheme, place, port, path, query, dotted })
    }

    pub(super) fn text(&self) -> String {
        let (scheme, own, path) = match self.scheme {
            Scheme::Http => ("http", 80, self.path.as_str()),
            Scheme::Https => ("https", 443, self.path.as_str()),
            Scheme::Tcp => ("tcp", 0, ""),
        };
        let port = if self.port == own { String::new() } else { format!(":{}", self.port) };
        match &self.place {
            Place::Name(host) => format!("{scheme}://{host}{port}{path}"),
            Place::Address(IpAddr::V6(v6)) => format!("{scheme}://[{v6}]{port}{path}"),
            Place::Address(IpAddr::V4(v4)) => format!("{scheme}://{v4}{port}{path}"),
        }
    }
}

fn split_port(authority: &str) -> Result<(Place, Option<u16>), InvalidUrl> {
    let (place, port) = match authority.rsplit_once(':') {
        Some((place, port)) if !port.contains(']') => (place, Some(port)),
        Some(_) | None => (authority, None),
    };
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port| plain && *port != 0).ok_or(InvalidUrl::Port)
    };
    let port = port.map(number).transpose()?;
    let inner = place.strip_prefix('[').and_then(|place| place.strip_suffix(']'));
    if let Some(Ok(address)) = inner.map(str::parse::<std::net::Ipv6Addr>) {
        return Ok((Place::Address(address.into()), port));
    }
    if let Ok(address) = place.parse::<std::net::Ipv4Addr>() {
        return Ok((Place::Address(address.into()), port));
    }
    Host::parse(place).map(|host| (Place::Name(host), port)).map_err(InvalidUrl::Host)
}
