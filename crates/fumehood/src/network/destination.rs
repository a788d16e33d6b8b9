//! What `--allow` and `--deny` take.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use egress::address::HOST_NAME;

/// Something that may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Name(Name),
    Subnet(Subnet),
    /// The name of a preset, without its `@`.
    Preset(String),
}

/// A host's name or a pattern for some (`*`, `*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Lower case.
    pub(crate) pattern: String,
    /// None: HTTP and HTTPS on their own ports.
    pub(crate) port: Option<u16>,
}

/// A subnet; an address alone is the subnet that has no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    address: IpAddr,
    prefix: u8,
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
    #[error("{0:?} is not a host's name: {1}")]
    Name(String, String),
    #[error("{0:?} is not the name of a preset; `fumehood policy presets` lists them")]
    Preset(String),
    #[error(transparent)]
    Subnet(#[from] InvalidSubnet),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSubnet {
    #[error("{0:?} is not a subnet such as 10.0.0.0/8; what is not allowed needs no --deny")]
    Form(String),
    #[error("{address} has at most {max} bits: /{max}")]
    Prefix { address: IpAddr, max: u8 },
    #[error("{given} has bits beyond its prefix: {subnet} is the subnet, {address} the address")]
    Beyond { given: String, subnet: Subnet, address: IpAddr },
}

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        if let Some(preset) = text.strip_prefix('@') {
            let grammar = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if preset.is_empty() || !preset.bytes().all(grammar) {
                return Err(InvalidDestination::Preset(preset.to_owned()));
            }
            return Ok(Self::Preset(preset.to_owned()));
        }
        if text.parse::<std::net::SocketAddr>().is_ok() {
            return Err(InvalidDestination::AddressPort);
        }
        let is_address = |text: &str| unbracketed(text).parse::<IpAddr>().is_ok();
        if is_address(text.split('/').next().unwrap_or_default()) {
            return Ok(Self::Subnet(text.parse()?));
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
        let pattern = host.to_ascii_lowercase();
        match pattern.as_str() {
            "" => return Err(InvalidDestination::Empty),
            "localhost" => return Err(InvalidDestination::Localhost),
            HOST_NAME => return Err(InvalidDestination::HostPort),
            _ => {}
        }
        Ok(Self { pattern, port })
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidDestination> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    port.ok_or_else(|| InvalidDestination::Port(text.to_owned()))
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let malformed = || InvalidSubnet::Form(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = unbracketed(address).parse().map_err(|_text| malformed())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse::<u8>().map_err(|_text| malformed())?
            }
            Some(_) => return Err(malformed()),
            None => max,
        };
        if prefix > max {
            return Err(InvalidSubnet::Prefix { address, max });
        }
        let subnet = Self { address: masked(address, prefix), prefix };
        if subnet.address != address {
            return Err(InvalidSubnet::Beyond { given: text.to_owned(), subnet, address });
        }
        Ok(subnet)
    }
}

/// The address with zeros beyond the prefix.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests;
