//! How a port of a guest is called from outside: a host name of its own for each sandbox and port.
//!
//! What a stranger writes to say which port it means is parsed here and nowhere else.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::ids;

/// Random digits of a subdomain: more than anyone can try.
const DIGITS: usize = 12;
const PREFIX: &str = "sb-";
/// The clients append `.vercel.run` to the subdomain that they are told. What they are told ends in
/// `/_`, so that it becomes the front of a path, which is taken away here.
const MARKER: &str = "/_.vercel.run";
const MARKED: &str = "/_";

/// The first label of a port's host name: `sb-` and twelve lower-case letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subdomain(String);

impl Subdomain {
    pub(crate) fn random() -> Self {
        let digits: [u8; DIGITS] = ids::random();
        Self(format!("{PREFIX}{}", ids::base36(&digits)))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let fits = digits.len() == DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        fits.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subdomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A port that is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) port: u16,
    pub(crate) subdomain: Subdomain,
    pub(crate) admission: Admission,
}

/// Who is let in at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Admission {
    /// Whoever reaches the ingress.
    Public,
    /// Who has a pass for it.
    Private,
}

/// The routes for these ports. A port that was reached before keeps its name, unless who is let in
/// changes: nobody goes on with what they had.
pub(crate) fn routes(before: &[Route], ports: &[(u16, Admission)]) -> Vec<Route> {
    let route = |(port, admission): &(u16, Admission)| {
        let known =
            before.iter().find(|route| (route.port, route.admission) == (*port, *admission));
        known.cloned().unwrap_or_else(|| Route {
            port: *port,
            subdomain: Subdomain::random(),
            admission: *admission,
        })
    };
    ports.iter().map(route).collect()
}

/// Where the ingress is, as it is written into URLs: `http://localhost:7080`, or a domain of whose
/// every subdomain leads here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressUrl {
    scheme: Scheme,
    domain: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be http:// or https://, a domain, and a port if it is not the usual one")]
pub struct BadIngressUrl;

impl IngressUrl {
    /// On this computer, without TLS.
    pub(crate) fn local(port: u16) -> Self {
        Self { scheme: Scheme::Http, domain: "localhost".to_owned(), port }
    }

    pub(crate) fn local_with_tls(port: u16) -> Self {
        Self { scheme: Scheme::Https, ..Self::local(port) }
    }

    pub fn parse(text: &str) -> Result<Self, BadIngressUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadIngressUrl)?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(BadIngressUrl),
        };
        let (domain, port) =
            split_port(rest.strip_suffix('/').unwrap_or(rest)).ok_or(BadIngressUrl)?;
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // A name and not an address: subdomains are made of it.
        let last = domain.rsplit('.').next().unwrap_or_default();
        let is_name = domain.len() <= 200
            && domain.split('.').all(is_label)
            && last.bytes().any(|byte| byte.is_ascii_alphabetic());
        if !is_name {
            return Err(BadIngressUrl);
        }
        let port = port.unwrap_or(scheme.port());
        Ok(Self { scheme, domain: domain.to_ascii_lowercase(), port })
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `LABEL.DOMAIN`, with the port where it has to be said.
    pub(crate) fn authority(&self, label: &str) -> String {
        match self.port == self.scheme.port() {
            true => format!("{label}.{}", self.domain),
            false => format!("{label}.{}:{}", self.domain, self.port),
        }
    }

    /// The URL of a port.
    pub(crate) fn url(&self, label: &str) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority(label))
    }

    /// Where terminals are. Programs that know no other name under `localhost` know that one.
    pub(crate) fn terminals(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "ws",
            Scheme::Https => "wss",
        };
        match self.domain.as_str() {
            "localhost" => format!("{scheme}://localhost:{}", self.port),
            _ => format!("{scheme}://{}", self.authority(INTERACTIVE)),
        }
    }

    /// What the clients are told as a port's subdomain: see [`MARKER`].
    pub(crate) fn smuggled(&self, subdomain: &Subdomain) -> String {
        format!("{}{MARKED}", self.authority(subdomain.as_str()))
    }

    /// The label before our domain in an authority (`Host`, `:authority`) that names this ingress on
    /// its public port or on `listening`, the one it listens on. The whole name is compared.
    pub fn label_of(&self, authority: &str, listening: u16) -> Option<Label> {
        let (name, port) = split_port(authority)?;
        if port.is_some_and(|port| port != self.port && port != listening) {
            return None;
        }
        let name = name.to_ascii_lowercase();
        if name == self.domain {
            return Some(Label::Interactive);
        }
        let label = name.strip_suffix(self.domain.as_str())?.strip_suffix('.')?;
        match label {
            INTERACTIVE => Some(Label::Interactive),
            label => Subdomain::parse(label).map(Label::Port),
        }
    }
}

impl fmt::Display for IngressUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, domain) = (self.scheme.as_str(), &self.domain);
        match self.port == self.scheme.port() {
            true => write!(f, "{scheme}://{domain}"),
            false => write!(f, "{scheme}://{domain}:{}", self.port),
        }
    }
}

/// The label under which terminals are.
pub(crate) const INTERACTIVE: &str = "interactive";

/// What a host name of ours stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    Port(Subdomain),
    /// Terminals of sessions.
    Interactive,
}

/// Name and port of `name[:port]`. No user, no address in brackets.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let Some((name, port)) = text.split_once(':') else { return Some((text, None)) };
    let is_number = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port != 0)?;
    Some((name, Some(port)))
}

/// Path and query as the guest is to see them.
pub fn without_marker(path_and_query: &str) -> Cow<'_, str> {
    match path_and_query.strip_prefix(MARKER) {
        Some(rest) if rest.starts_with('/') => rest.into(),
        Some(rest) if rest.is_empty() || rest.starts_with('?') => format!("/{rest}").into(),
        Some(_) | None => path_and_query.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> IngressUrl {
        IngressUrl::local(7080)
    }

    #[test]
    fn a_url_says_its_port_only_where_it_must() {
        let subdomain = Subdomain("sb-0123456789ab".into());
        for (url, authority, smuggled) in [
            (
                "http://localhost:7080",
                "sb-0123456789ab.localhost:7080",
                "sb-0123456789ab.localhost:7080/_",
            ),
            (
                "https://Box.example.com",
                "sb-0123456789ab.box.example.com",
                "sb-0123456789ab.box.example.com/_",
            ),
            ("http://box.test:80/", "sb-0123456789ab.box.test", "sb-0123456789ab.box.test/_"),
            ("https://box.test:80", "sb-0123456789ab.box.test:80", "sb-0123456789ab.box.test:80/_"),
        ] {
            let parsed = IngressUrl::parse(url).unwrap();
            assert_eq!(parsed.authority(subdomain.as_str()), authority, "{url}");
            assert_eq!(parsed.smuggled(&subdomain), smuggled, "{url}");
            assert_eq!(IngressUrl::parse(&parsed.to_string()), Ok(parsed), "{url}");
        }
        for bad in [
            "",
            "localhost",
            "ftp://localhost",
            "http://",
            "http://a_b",
            "http://a..b",
            "http://127.0.0.1",
            "http://[::1]:80",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://u@a",
            "http://a/path",
        ] {
            assert_eq!(IngressUrl::parse(bad), Err(BadIngressUrl), "{bad}");
        }
    }

    #[test]
    fn only_the_whole_name_counts() {
        let port = |authority| local().label_of(authority, 9000);
        let own = Some(Label::Port(Subdomain("sb-0123456789ab".into())));
        for good in [
            "sb-0123456789ab.localhost",
            "sb-0123456789ab.localhost:7080",
            "sb-0123456789ab.localhost:9000",
            "SB-0123456789AB.LocalHost:7080",
        ] {
            assert_eq!(port(good), own, "{good}");
        }
        for terminals in ["interactive.localhost:7080", "localhost:7080"] {
            assert_eq!(port(terminals), Some(Label::Interactive), "{terminals}");
        }
        for bad in [
            "",
            ":",
            ".localhost",
            "sb-0123456789ab",
            "sb-0123456789ab.localhost.",
            "sb-0123456789ab.localhost:7081",
            "sb-0123456789ab.localhost:",
            "sb-0123456789ab.localhost:+7080",
            "sb-0123456789ab.localhost.evil.test",
            "sb-0123456789ab.evil-localhost",
            "sb-0123456789abc.localhost",
            "sb-0123456789a.localhost",
            "x.sb-0123456789ab.localhost",
            "sb-0123456789ab..localhost",
            "sb-0123456789ab.localhost:7080:7080",
            "a@sb-0123456789ab.localhost",
            " sb-0123456789ab.localhost",
            "sb-0123456789ab.localhost/",
            "sb-0123456789a\u{e9}.localhost",
            "127.0.0.1:7080",
            "[::1]:7080",
        ] {
            assert_eq!(port(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_the_clients_append_is_taken_away() {
        for (path, seen) in [
            ("/_.vercel.run", "/"),
            ("/_.vercel.run/", "/"),
            ("/_.vercel.run/a/b?c=d", "/a/b?c=d"),
            ("/_.vercel.run//evil.test/", "//evil.test/"),
            ("/_.vercel.runner/a", "/_.vercel.runner/a"),
            ("/_.vercel.run?a=b", "/?a=b"),
            ("/a/_.vercel.run/b", "/a/_.vercel.run/b"),
            ("/", "/"),
        ] {
            assert_eq!(without_marker(path), seen, "{path}");
        }
    }

    #[test]
    fn a_port_keeps_its_name_until_others_are_let_in() {
        use Admission::{Private, Public};
        let first = routes(&[], &[(3000, Public), (4000, Private)]);
        let names = |routes: &[Route]| -> Vec<_> {
            routes.iter().map(|route| (route.port, route.subdomain.clone())).collect()
        };
        assert_ne!(first[0].subdomain, first[1].subdomain);
        assert!(Subdomain::parse(first[0].subdomain.as_str()).is_some());
        assert_eq!(names(&routes(&first, &[(4000, Private), (3000, Public)])), {
            let mut turned = names(&first);
            turned.reverse();
            turned
        });
        let closed = routes(&first, &[(3000, Private), (4000, Private)]);
        assert_ne!(closed[0].subdomain, first[0].subdomain);
        assert_eq!(closed[1], first[1]);
    }
}
