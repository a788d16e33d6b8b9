//! What `--allow` and `--deny` take.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use egress::address::HOST_NAME;
use egress::policy::{Cidr, HostPattern, InvalidCidr, InvalidPattern, Preset};

/// Something that may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Name(Name),
    Subnet(Cidr),
    /// The name of a preset, without its `@`.
    Preset(String),
}

/// A host's name or a pattern for some (`*`, `*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) pattern: HostPattern,
    /// None: HTTP and HTTPS on their own ports.
    pub(crate) port: Option<u16>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidDestination {
    #[error("it is empty")]
    Empty,
    #[error("give the host alone, without scheme and path: {0}")]
    Url(String),
    #[error("paths are for a policy's rules (--policy FILE); give the host alone: {0}")]
    Path(String),
    #[error("{0:?} is not a port: 1 to 65535")]
    Port(String),
    #[error("an address is reached on all its ports: give it without one, or a name with a port")]
    AddressPort,
    #[error("the guest's localhost is its own; a port of this computer is --allow-host-port PORT")]
    Localhost,
    #[error("a port of this computer is --allow-host-port PORT")]
    HostPort,
    #[error(transparent)]
    Name(#[from] InvalidPattern),
    #[error("there is no preset {name:?}; there are {}", known_presets())]
    Preset { name: String },
    #[error(transparent)]
    Subnet(#[from] InvalidCidr),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidDenied {
    #[error("a subnet or address is meant, as in 10.0.0.0/8; what --allow does not list is denied")]
    Name,
    #[error(transparent)]
    Subnet(InvalidCidr),
}

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        if let Some(preset) = text.strip_prefix('@') {
            if Preset::names().all(|known| known != preset) {
                return Err(InvalidDestination::Preset { name: preset.to_owned() });
            }
            return Ok(Self::Preset(preset.to_owned()));
        }
        if text.parse::<SocketAddr>().is_ok() {
            return Err(InvalidDestination::AddressPort);
        }
        let address = text.split('/').next().unwrap_or_default();
        if unbracketed(address).parse::<IpAddr>().is_ok() {
            return Ok(Self::Subnet(subnet(text)?));
        }
        Ok(Self::Name(text.parse()?))
    }
}

impl FromStr for Name {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            return Err(InvalidDestination::Url(host.to_owned()));
        }
        if let Some((host, _)) = text.split_once('/') {
            return Err(InvalidDestination::Path(host.to_owned()));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        if host.is_empty() {
            return Err(InvalidDestination::Empty);
        }
        let pattern = HostPattern::parse(host)?;
        match pattern.to_string().as_str() {
            "localhost" => Err(InvalidDestination::Localhost),
            HOST_NAME => Err(InvalidDestination::HostPort),
            _ => Ok(Self { pattern, port }),
        }
    }
}

fn known_presets() -> String {
    Preset::names().collect::<Vec<_>>().join(", ")
}

fn parse_port(text: &str) -> Result<u16, InvalidDestination> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    port.ok_or_else(|| InvalidDestination::Port(text.to_owned()))
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

/// What `--deny` takes.
pub(crate) fn denied(text: &str) -> Result<Cidr, InvalidDenied> {
    subnet(text).map_err(|fault| match fault {
        InvalidCidr::Address(_) => InvalidDenied::Name,
        InvalidCidr::Prefix(_) | InvalidCidr::BitsBeyond(_) | InvalidCidr::Mapped => {
            InvalidDenied::Subnet(fault)
        }
    })
}

fn subnet(text: &str) -> Result<Cidr, InvalidCidr> {
    Cidr::parse(unbracketed(text))
}

#[cfg(test)]
mod tests;
