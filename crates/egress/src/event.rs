//! Decisions, as they are told: one JSON object a line in the sandbox's audit log.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// One decision of a gateway. Holds no secret: credentials are told by their names, queries and
/// headers not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts up from 1 within a session; set when the event is written.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    pub decision: Decision,
    pub kind: Kind,
    /// The rule that decided, as it is found again in the policy; `default` if none did.
    pub rule: String,
    /// Why it was denied, or what failed after it was allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "NamedBy::is_known", default)]
    pub named_by: NamedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Without the query, at most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes from the guest, without what TLS and TCP add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes to the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Names of the secrets that were put in.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub credentials: Vec<String>,
    /// The port that the guest's end of the connection has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// How many alike were left out since the last one that was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated: Option<u64>,
    /// It goes on, and is told again when it is over; so is what takes longer than [`UNDER_WAY`].
    #[serde(skip_serializing_if = "is_false", default)]
    pub under_way: bool,
}

/// What is over sooner is told once, with all that there is to tell.
pub const UNDER_WAY: Duration = Duration::from_secs(2);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How the host is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedBy {
    /// By the answer that led to the address, or by the host's certificate.
    #[default]
    Known,
    /// By what the guest says alone.
    Guest,
}

impl NamedBy {
    fn is_known(&self) -> bool {
        matches!(self, Self::Known)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
    /// Nothing was decided: the gateway tells of itself (it started, took a new policy, failed).
    Note,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Dns,
    /// A connection whose bytes pass untouched, or that was refused before it was known what it is.
    Tcp,
    /// A TLS connection that was passed on by its name, or refused.
    Tls,
    /// A request.
    Http,
    Udp,
    Icmp,
    /// Another Ethernet or IP protocol.
    Other,
    Gateway,
}

impl Event {
    /// With what every event has, and nothing else.
    #[must_use]
    pub fn new(at: u64, decision: Decision, kind: Kind, rule: impl Into<String>) -> Self {
        Self {
            seq: 0,
            at,
            decision,
            kind,
            rule: rule.into(),
            reason: None,
            host: None,
            named_by: NamedBy::default(),
            address: None,
            method: None,
            path: None,
            status: None,
            sent: None,
            received: None,
            duration_ms: None,
            credentials: Vec::new(),
            source_port: None,
            repeated: None,
            under_way: false,
        }
    }
}
