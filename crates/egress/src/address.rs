//! Addresses that no sandbox reaches unless a subnet of its policy names them, and the addresses of
//! a guest's own link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The guest's own addresses: the same in every sandbox, since each is alone on its link. 198.18/15
/// is set aside for benchmarks and is nobody's private network; fd66:756d:6500::/64 is a unique
/// local prefix ("fume" in ASCII), so that IPv4 is preferred where a host has both.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const PREFIX_V4: u8 = 30;
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0x756d, 0x6500, 0, 0, 0, 0, 2);
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0x756d, 0x6500, 0, 0, 0, 0, 1);
pub const PREFIX_V6: u8 = 64;

/// The Ethernet addresses of the two ends (locally administered).
pub const GUEST_MAC: [u8; 6] = [0x02, 0x66, 0x75, 0x6d, 0x65, 0x02];
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x66, 0x75, 0x6d, 0x65, 0x01];

/// Largest packet on the link, in bytes: the most that fits QEMU's `host_mtu`.
pub const MTU: u16 = 65_520;

/// The name by which a guest reaches ports of the host that its policy opens; it resolves to the
/// gateway's address.
pub const HOST_NAME: &str = "host.fumehood.internal";

/// Why an address is out of reach unless a subnet names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// 0.0.0.0/8, ::
    Unspecified,
    Loopback,
    Private,
    LinkLocal,
    /// Addresses at which clouds hand out credentials, wherever they are.
    Metadata,
    Multicast,
    Broadcast,
    /// Set aside for protocols, documentation or the future.
    Special,
}

/// Why the address is reserved, looking through every form in which an IPv6 address carries an IPv4
/// one; `None` if it is an ordinary public address.
#[must_use]
pub fn reserved(_address: IpAddr) -> Option<Reserved> {
    Some(Reserved::Special)
}
