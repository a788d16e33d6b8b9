//! What server and gateway say to each other, over a Unix socket that the gateway listens on.
//!
//! A message is its length (four bytes, big-endian) and its `postcard` form. The server speaks first
//! with [`ToGateway::Hello`]; one server is served at a time, and a new one takes the place of the
//! one before. A gateway that has not been configured lets nothing through.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    policy::Policy,
    secret::{SecretName, SecretText},
};

/// A gateway outlives the server that started it; one of another version is replaced.
pub const VERSION: u16 = 2;

/// Longest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToGateway {
    Hello {
        version: u16,
    },
    /// All that the gateway needs to work; sent again whenever any of it changes. It holds at once
    /// for new connections and for requests on open ones; open connections that it would not have
    /// let through are cut.
    Configure(Box<Configuration>),
    /// Whether it is there: a gateway that has hung holds up all of its machine.
    Ping,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGateway {
    /// The revision of the configuration that holds, if there is one.
    Hello {
        version: u16,
        revision: Option<u64>,
    },
    /// This configuration holds.
    Applied {
        revision: u64,
    },
    /// It cannot hold; the one before does.
    Rejected {
        revision: u64,
        reason: String,
    },
    /// Events have been written to the log since the last time.
    Logged,
    /// Bytes that passed since the gateway started.
    Traffic {
        sent: u64,
        received: u64,
    },
    Pong,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    pub revision: u64,
    pub policy: Policy,
    /// The values of all secrets that the policy names.
    pub secrets: BTreeMap<SecretName, SecretText>,
    pub authority: Authority,
    /// By what those whom requests are forwarded to know this sandbox: a token for each URL, as it is
    /// written.
    pub identities: BTreeMap<String, SecretText>,
    /// Whom upstream certificates are verified against, beside the host's own store: DER.
    pub extra_roots: Vec<Vec<u8>>,
    /// The proxy that the host itself has to go through.
    pub proxy: Option<UpstreamProxy>,
}

/// The sandbox's own certificate authority, by which opened connections are signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS#8, PEM.
    pub key: SecretText,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamProxy {
    /// A name or an address.
    pub host: String,
    pub port: u16,
    /// `user:password`.
    pub credentials: Option<SecretText>,
    /// Names that are reached without it, as in `NO_PROXY`: suffixes.
    pub except: Vec<String>,
}
