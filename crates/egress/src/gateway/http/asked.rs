//! Whom a request is for, as it says itself.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, Version, header, request::Parts};

use super::edits::Way;
use crate::host::Host;

/// A host, by name or by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Host(Host),
    Address(IpAddr),
}

/// What a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) whom: Named,
    /// `None` is the scheme's own, or nobody cared to say.
    pub(crate) port: Option<u16>,
    /// As it was written.
    pub(crate) text: String,
}

/// It does not say it, or in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unclear {
    #[error("a request names its host once, in Host or :authority")]
    NotOnce,
    #[error("the request's host is no host name")]
    NoName,
    #[error("the request's URL is for another scheme than the connection")]
    Scheme,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Reads it from everything that says it, which must agree.
pub(crate) fn asked(parts: &Parts, way: Way) -> Result<Asked, Unclear> {
    let in_header = only_host(&parts.headers)?;
    let in_url = parts.uri.authority().map(http::uri::Authority::as_str);
    let scheme = match way {
        Way::Sealed => "https",
        Way::Open => "http",
    };
    if parts.uri.scheme_str().is_some_and(|given| given != scheme) {
        return Err(Unclear::Scheme);
    }
    let text = match (in_url, in_header) {
        (Some(url), Some(header)) if parse(url)? != parse(header)? => {
            return Err(Unclear::NotOnce);
        }
        // In HTTP/1 the header is never left out, also beside a whole URL.
        (Some(_), None) if parts.version != Version::HTTP_2 => return Err(Unclear::NotOnce),
        (None, None) => return Err(Unclear::NotOnce),
        (_, Some(text)) | (Some(text), None) => text,
    };
    let (whom, port) = parse(text)?;
    Ok(Asked { whom, port, text: text.to_owned() })
}

fn only_host(headers: &HeaderMap) -> Result<Option<&str>, Unclear> {
    let mut values = headers.get_all(header::HOST).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unclear::NotOnce);
    }
    value.to_str().map(Some).map_err(|_error| Unclear::NoName)
}

fn parse(text: &str) -> Result<(Named, Option<u16>), Unclear> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(Unclear::NoName)?;
        let address: Ipv6Addr = address.parse().map_err(|_error| Unclear::NoName)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if rest.is_empty() => None,
            None => return Err(Unclear::NoName),
        };
        return Ok((Named::Address(address.into()), port));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(parse_port(port)?)),
        None => (text, None),
    };
    if let Ok(address) = name.parse::<std::net::Ipv4Addr>() {
        return Ok((Named::Address(address.into()), port));
    }
    // Servers disagree about a dot at the end.
    if name.ends_with('.') {
        return Err(Unclear::NoName);
    }
    let host = Host::parse_ascii(name).map_err(|_error| Unclear::NoName)?;
    Ok((Named::Host(host), port))
}

fn parse_port(text: &str) -> Result<u16, Unclear> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.filter(|&port| port != 0).ok_or(Unclear::NoName)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, hosts: &[&str], version: Version) -> Parts {
        let mut request = http::Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_host_is_said_once() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        for (uri, hosts, version, result) in [
            ("/", &["a.test"][..], one, Ok(("a.test", None))),
            ("/", &["A.Test:8443"], one, Ok(("a.test", Some(8443)))),
            ("*", &["a.test"], one, Ok(("a.test", None))),
            ("/", &["192.0.2.1:80"], one, Ok(("192.0.2.1", Some(80)))),
            ("/", &["[2001:db8::1]"], one, Ok(("2001:db8::1", None))),
            ("https://a.test/", &["a.test"], one, Ok(("a.test", None))),
            ("https://a.test/", &[], two, Ok(("a.test", None))),
            ("https://a.test/", &["a.test"], two, Ok(("a.test", None))),
            ("/", &["a.test"], two, Ok(("a.test", None))),
            ("/", &[], one, Err(Unclear::NotOnce)),
            ("/", &["a.test", "a.test"], one, Err(Unclear::NotOnce)),
            ("/", &["a.test", "b.test"], one, Err(Unclear::NotOnce)),
            ("https://b.test/", &["a.test"], one, Err(Unclear::NotOnce)),
            ("https://a.test:444/", &["a.test"], one, Err(Unclear::NotOnce)),
            ("https://a.test/", &[], one, Err(Unclear::NotOnce)),
            ("https://a.test/", &["b.test"], two, Err(Unclear::NotOnce)),
            ("http://a.test/", &["a.test"], two, Err(Unclear::Scheme)),
            ("/", &[""], one, Err(Unclear::NoName)),
            ("/", &["a.test."], one, Err(Unclear::NoName)),
            ("/", &["a.test, b.test"], one, Err(Unclear::NoName)),
            ("/", &["u@a.test"], one, Err(Unclear::NoName)),
            ("/", &["a.test:"], one, Err(Unclear::NoName)),
            ("/", &["a.test:0"], one, Err(Unclear::NoName)),
            ("/", &["a.test:+80"], one, Err(Unclear::NoName)),
            ("/", &["a.test:99999"], one, Err(Unclear::NoName)),
            ("/", &["0x7f.1"], one, Err(Unclear::NoName)),
            ("/", &["2130706433"], one, Err(Unclear::NoName)),
            ("/", &["[::1"], one, Err(Unclear::NoName)),
            ("/", &["[::1]x"], one, Err(Unclear::NoName)),
            ("https://u@a.test/", &[], two, Err(Unclear::NoName)),
        ] {
            let read = asked(&request(uri, hosts, version), Way::Sealed);
            let read = read.map(|asked| (asked.whom.to_string(), asked.port));
            let result = result.map(|(host, port): (&str, _)| (host.to_owned(), port));
            assert_eq!(read, result, "{uri} {hosts:?}");
        }
    }
}
