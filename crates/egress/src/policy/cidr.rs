//! Networks: their text, and which addresses are in them.

use std::{
    fmt,
    net::{AddrParseError, IpAddr},
    num::ParseIntError,
};

use super::{Cidr, Subnets};
use crate::address::{RESERVED_NETWORKS, carried, reserved};

/// Text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidr {
    #[error("an IP address comes first, as in 10.0.0.0/8")]
    Address(#[source] AddrParseError),
    #[error("the prefix after the / is a number of bits")]
    Prefix(#[source] Option<ParseIntError>),
    #[error("the address has bits beyond the prefix; the network is {0}")]
    BitsBeyond(Cidr),
    #[error("an IPv4 network is written as IPv4, not inside IPv6")]
    Mapped,
}

impl Cidr {
    /// Takes `10.0.0.0/8`, `fd00::/8`, or an address by itself.
    pub fn parse(text: &str) -> Result<Self, InvalidCidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(InvalidCidr::Address)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            let prefix: u8 = text.parse().map_err(|error| InvalidCidr::Prefix(Some(error)))?;
            if plain && prefix <= bits { Ok(prefix) } else { Err(InvalidCidr::Prefix(None)) }
        };
        let prefix = prefix.map_or(Ok(bits), number)?;
        if let IpAddr::V6(v6) = address
            && v6.to_ipv4_mapped().is_some()
        {
            return Err(InvalidCidr::Mapped);
        }
        let network = Self { address: cut(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(InvalidCidr::BitsBeyond(network)) }
    }

    /// Whether the address itself is in the network, whatever it carries.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && cut(address, self.prefix) == self.address
    }

    /// Whether reserved addresses are in the network, which it opens where it is allowed.
    #[must_use]
    pub fn has_reserved(&self) -> bool {
        // Of two networks that share an address one is in the other.
        RESERVED_NETWORKS.iter().any(|(address, prefix)| {
            self.contains(*address)
                || Self { address: *address, prefix: *prefix }.contains(self.address)
        })
    }
}

/// The address with the bits beyond the prefix taken away.
fn cut(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Subnets {
    /// The network that denies the address, also where the address only carries one that is in it.
    pub(super) fn denying(&self, address: IpAddr) -> Option<&Cidr> {
        let inner = inner(address);
        self.deny.iter().find(|net| {
            net.contains(address) || inner.iter().flatten().any(|inner| net.contains(*inner))
        })
    }

    /// The network that allows the address. What the address carries must be allowed too, or be
    /// ordinary: `::/0` does not name 127.0.0.1.
    pub(super) fn allowing(&self, address: IpAddr) -> Option<&Cidr> {
        let named = |address| self.allow.iter().find(|net| net.contains(address));
        let open = |inner: IpAddr| reserved(inner).is_none() || named(inner).is_some();
        named(address).filter(|_| inner(address).into_iter().flatten().all(open))
    }
}

fn inner(address: IpAddr) -> [Option<IpAddr>; 2] {
    match address {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(address) => carried(address).map(|inner| inner.map(IpAddr::V4)),
    }
}
