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

/// The bundle of certificates that is in every guest once it is claimed.
pub const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The certificates of the claim alone, for who has others of its own: to read all of the bundle
/// costs an emulated guest's Node.js half a second in each process that speaks TLS.
pub const CLAIMED: &str = "/etc/ssl/fumehood.pem";

/// The variables by which programs that do not look at the system's store find whom to trust. Not
/// among them is `NODE_USE_SYSTEM_CA`, which costs another second.
pub const TRUST_VARIABLES: [(&str, &str); 10] = [
    ("AWS_CA_BUNDLE", BUNDLE),
    ("CARGO_HTTP_CAINFO", BUNDLE),
    ("CURL_CA_BUNDLE", BUNDLE),
    ("GIT_SSL_CAINFO", BUNDLE),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", BUNDLE),
    ("NODE_EXTRA_CA_CERTS", CLAIMED),
    ("NPM_CONFIG_CAFILE", BUNDLE),
    ("PIP_CERT", BUNDLE),
    ("REQUESTS_CA_BUNDLE", BUNDLE),
    ("SSL_CERT_FILE", BUNDLE),
];

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
