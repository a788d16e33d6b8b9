//! Addresses that no sandbox reaches unless a subnet of its policy names them, and the addresses of
//! a guest's own link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;

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

/// What a guest is told of a name that leads nowhere it may go, where rules answer for it or send its
/// requests elsewhere: an address of 198.19/16, the other half of what is set aside for benchmarks, the
/// same for the same name whenever it is asked. Nothing is ever sent there.
#[must_use]
pub fn stand_in(host: &Host) -> IpAddr {
    // FNV-1a. Names that share one are told apart as those of any address.
    let add = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = host.as_str().as_bytes().iter().fold(0x811c_9dc5, add);
    let [high, low, further_high, further_low] = hash.to_be_bytes();
    Ipv4Addr::new(198, 19, high ^ further_high, low ^ further_low).into()
}

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

/// As it stands before "address".
impl std::fmt::Display for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified",
            Self::Loopback => "a loopback",
            Self::Private => "a private",
            Self::LinkLocal => "a link-local",
            Self::Metadata => "a cloud metadata",
            Self::Multicast => "a multicast",
            Self::Broadcast => "a broadcast",
            Self::Special => "a special-purpose",
        })
    }
}

/// Addresses that hand out credentials or roles to who asks: of AWS (also for containers), Google,
/// Alibaba, Azure and Oracle.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Why the address is reserved, looking through every form in which an IPv6 address carries an IPv4
/// one; `None` if it is an ordinary public address.
///
/// 203.0.113.0/24 counts as ordinary, though it is set aside for documentation: private mirrors are
/// served from it. A translation prefix that a network chose itself (NAT64 other than 64:ff9b) looks
/// like any public address and is not seen through.
#[must_use]
pub fn reserved(address: IpAddr) -> Option<Reserved> {
    match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => {
            let mut carried = carried(address).into_iter().flatten().filter_map(reserved_v4);
            carried.next().or_else(|| reserved_v6(address))
        }
    }
}

/// The networks of all addresses that are reserved by themselves. One that only carries another is let
/// through with that one alone, so it is in none of them for that.
pub(crate) const RESERVED_NETWORKS: [(IpAddr, u8); 20] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    // Azure's metadata, alone among public addresses.
    v4([168, 63, 129, 16], 32),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([224, 0, 0, 0], 3),
    // All but 2000::/3, and what is set aside in that.
    v6([0, 0], 3),
    v6([0x4000, 0], 2),
    v6([0x8000, 0], 1),
    v6([0x2001, 0], 23),
    v6([0x2001, 0xdb8], 32),
    v6([0x3fff, 0], 20),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix)
}

const fn v6([first, second]: [u16; 2], prefix: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)), prefix)
}

fn reserved_v4(address: Ipv4Addr) -> Option<Reserved> {
    if METADATA_V4.contains(&address) {
        return Some(Reserved::Metadata);
    }
    match address.octets() {
        [0, ..] => Some(Reserved::Unspecified),
        [127, ..] => Some(Reserved::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            Some(Reserved::Private)
        }
        [169, 254, ..] => Some(Reserved::LinkLocal),
        // Protocols, documentation (without 203.0.113.0/24), the 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => {
            Some(Reserved::Special)
        }
        [224..=239, ..] => Some(Reserved::Multicast),
        [255, 255, 255, 255] => Some(Reserved::Broadcast),
        [240..=255, ..] => Some(Reserved::Special),
        _ => None,
    }
}

/// What the address is by itself, whatever it carries.
fn reserved_v6(address: Ipv6Addr) -> Option<Reserved> {
    if METADATA_V6.contains(&address) {
        return Some(Reserved::Metadata);
    }
    if address.is_unspecified() {
        return Some(Reserved::Unspecified);
    }
    if address.is_loopback() {
        return Some(Reserved::Loopback);
    }
    match address.segments() {
        // Carries an IPv4 address that has been judged.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0 | 1, 0, 0, 0, ..]
        | [0x2001, 0, ..] => None,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Reserved::Private),
        [0xfe80..=0xfebf, ..] => Some(Reserved::LinkLocal),
        [0xff00..=0xffff, ..] => Some(Reserved::Multicast),
        // Protocols (2001::/23) and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(Reserved::Special),
        [0x2000..=0x3fff, ..] => None,
        // Nothing else is global unicast: discard, segment routing, not yet assigned.
        _ => Some(Reserved::Special),
    }
}

/// The IPv4 addresses that an IPv6 address carries: where its packets come out, or through whom
/// they go.
#[must_use]
pub fn carried(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        // Mapped and compatible; translated (SIIT); NAT64, the public prefix and the local one.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, 0, 0, 0, high, low] => [v4(high, low), None],
        // 6to4, and the ISATAP interface that may be below it.
        [0x2002, high, low, _, 0 | 0x200, 0x5efe, inner, most] => [v4(high, low), v4(inner, most)],
        [0x2002, high, low, ..] => [v4(high, low), None],
        // Teredo: its server, and its client with every bit turned.
        [0x2001, 0, high, low, _, _, inner, most] => [v4(high, low), v4(!inner, !most)],
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => [v4(high, low), None],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests;
