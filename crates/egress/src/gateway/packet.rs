//! What a frame from the guest is. Strict: what is not understood to the last bit of its headers is
//! [`Junk`], and goes no further.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, GUEST_MAC, GUEST_V4, GUEST_V6};

mod ip;

pub use ip::{Datagram, Echo, Flags, Segment, Selective, SynOptions};

/// The gateway's and the guest's link-local addresses, as they follow from the Ethernet addresses.
pub const GATEWAY_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x66, 0x75ff, 0xfe6d, 0x6501);
pub const GUEST_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x66, 0x75ff, 0xfe6d, 0x6502);

/// A frame that means something here. Every source address in it is the guest's own.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The guest asks for the gateway's Ethernet address.
    WhoHas,
    /// The same, for one of the gateway's IPv6 addresses.
    Solicit {
        source: Ipv6Addr,
        target: Ipv6Addr,
    },
    Tcp(Segment<'a>),
    Udp(Datagram<'a>),
    /// An echo request to one of the gateway's own addresses.
    Echo(Echo<'a>),
}

/// Why a frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Junk {
    /// Not from the guest's card, or not to the gateway's.
    #[error("it is not from the guest's card to the gateway's")]
    Stranger,
    #[error("its headers are malformed")]
    Malformed,
    /// What every system says when its card comes up, and nobody here listens to.
    #[error("nobody listens to it")]
    Chatter,
    #[error("it is of the Ethernet type {0:#06x}")]
    EtherType(u16),
    #[error("it claims to come from {0}")]
    Source(IpAddr),
    #[error("it is a fragment")]
    Fragment(IpAddr),
    #[error("its IP header has options")]
    Options(IpAddr),
    #[error("it is for many")]
    Multicast(IpAddr),
    #[error("it is of the IP protocol {1}")]
    Protocol(IpAddr, u8),
    #[error("it is an ICMP echo request")]
    Echo(IpAddr),
    #[error("it is an ICMP message")]
    Icmp(IpAddr),
}

impl Junk {
    /// Where it was to go.
    #[must_use]
    pub fn to(self) -> Option<IpAddr> {
        match self {
            Self::Fragment(to)
            | Self::Options(to)
            | Self::Multicast(to)
            | Self::Protocol(to, _)
            | Self::Echo(to)
            | Self::Icmp(to) => Some(to),
            Self::Stranger
            | Self::Malformed
            | Self::Chatter
            | Self::EtherType(_)
            | Self::Source(_) => None,
        }
    }
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

impl<'a> Packet<'a> {
    /// Understands one Ethernet frame.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Junk> {
        let (to, rest) = frame.split_first_chunk::<6>().ok_or(Junk::Malformed)?;
        let (from, rest) = rest.split_first_chunk::<6>().ok_or(Junk::Malformed)?;
        let (ether_type, payload) = rest.split_first_chunk::<2>().ok_or(Junk::Malformed)?;
        let for_many = to[0] & 1 == 1;
        if *from != GUEST_MAC || !(for_many || *to == GATEWAY_MAC) {
            return Err(Junk::Stranger);
        }
        match u16::from_be_bytes(*ether_type) {
            ARP => arp(payload),
            IPV4 => ip::v4(payload),
            IPV6 => ip::v6(payload),
            other => Err(Junk::EtherType(other)),
        }
        .and_then(|packet| match packet {
            // A frame for many carries nothing for one, but for questions who has an address.
            Self::WhoHas | Self::Solicit { .. } => Ok(packet),
            _ if for_many => Err(Junk::Malformed),
            Self::Tcp(_) | Self::Udp(_) | Self::Echo(_) => Ok(packet),
        })
    }
}

/// An ARP request of the guest for the gateway's IPv4 address, to the byte.
fn arp(payload: &[u8]) -> Result<Packet<'_>, Junk> {
    const REQUEST: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
    let body: &[u8; 28] = payload.first_chunk().ok_or(Junk::Malformed)?;
    let (head, from, source, target) = (&body[..8], &body[8..14], &body[14..18], &body[24..28]);
    if head != REQUEST || from != GUEST_MAC {
        return Err(Junk::Chatter);
    }
    if source != GUEST_V4.octets() {
        let claimed: [u8; 4] = *source.first_chunk().ok_or(Junk::Malformed)?;
        let claimed = Ipv4Addr::from(claimed);
        // Systems probe for an address before they take it.
        let junk =
            if claimed.is_unspecified() { Junk::Chatter } else { Junk::Source(claimed.into()) };
        return Err(junk);
    }
    if target == GATEWAY_V4.octets() { Ok(Packet::WhoHas) } else { Err(Junk::Chatter) }
}

/// Whether the address is one of the gateway's own.
#[must_use]
pub fn is_gateway(address: IpAddr) -> bool {
    address == GATEWAY_V4 || address == GATEWAY_V6 || address == GATEWAY_LOCAL
}

/// The guest's end of traffic with this address.
#[must_use]
pub fn guest_for(address: IpAddr, port: u16) -> SocketAddr {
    let guest: IpAddr = match address {
        IpAddr::V4(_) => GUEST_V4.into(),
        IpAddr::V6(address) if address == GATEWAY_LOCAL => GUEST_LOCAL.into(),
        IpAddr::V6(_) => GUEST_V6.into(),
    };
    SocketAddr::new(guest, port)
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
