//! Where requests are forwarded to: its text.

use std::fmt;

use super::ForwardTo;
use crate::host::{Host, InvalidHost};

/// Text that is no URL to forward to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidForward {
    #[error("a URL to forward to begins with https:// or http://")]
    Scheme,
    #[error("a URL to forward to may not hold a user name or password")]
    UserInfo,
    #[error("a URL to forward to may not have a query or a fragment")]
    Query,
    #[error("a URL to forward to has a host name")]
    Host(#[source] InvalidHost),
    #[error("the port of a URL to forward to is a number from 1 to 65535")]
    Port,
    #[error("the path of a URL to forward to is plain ASCII without dot segments")]
    Path,
}

impl ForwardTo {
    /// Takes `https://proxy.example.com/base`.
    pub fn parse(text: &str) -> Result<Self, InvalidForward> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidForward::Scheme)?;
        let (secure, own) = match scheme.to_ascii_lowercase().as_str() {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return Err(InvalidForward::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(InvalidForward::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(InvalidForward::UserInfo);
        }
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, parse_port(port)?),
            None => (authority, own),
        };
        let host = Host::parse(name).map_err(InvalidForward::Host)?;
        let path = path.trim_end_matches('/');
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let dots = |part: &str| part == "." || part == ".." || part.to_lowercase().contains("%2e");
        if !plain || path.split('/').any(dots) {
            return Err(InvalidForward::Path);
        }
        Ok(Self { secure, host, port, path: path.to_owned() })
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidForward> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port != 0).ok_or(InvalidForward::Port)
}

impl fmt::Display for ForwardTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, own) = if self.secure { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != own {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}
