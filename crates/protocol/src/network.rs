//! The guest's network: the same in every machine, since each is alone on its link.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

/// The guest's own address, and that of the only other one on its link.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const PREFIX_V4: u8 = 30;
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0x756d, 0x6500, 0, 0, 0, 0, 2);
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0x756d, 0x6500, 0, 0, 0, 0, 1);
pub const PREFIX_V6: u8 = 64;

/// The Ethernet address of the other one. The guest's own is its card's.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x66, 0x75, 0x6d, 0x65, 0x01];

/// As many certificates are there in a claim at most, and as many bytes together: a claim has to fit
/// into one frame, with an environment beside them.
pub const TRUSTED_MAX: usize = 64;
pub const TRUSTED_BYTES_MAX: usize = 256 << 10;

/// What a guest is told of its network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Whom the guest is to trust beside whom its image trusts: the authority that signs for its
    /// gateway first, then those of the host.
    pub trust: Vec<Certificate>,
}

/// A certificate, in DER.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate(pub Vec<u8>);

impl fmt::Debug for Certificate {
    /// Public, but long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.len())
    }
}
