//! What the answers to the questions are.

use super::{Canned, Edits, ForwardTo, Pin};
use crate::address::Reserved;

/// Why something is not let through. [`std::fmt::Display`] is the sentence that the guest's program
/// and the audit log show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("no rule allows {0}")]
    NotListed(String),
    #[error("the policy denies its subnet")]
    SubnetDenied,
    #[error("it is {0} address, and no subnet of the policy names it")]
    Reserved(Reserved),
    #[error("it is an address of the host itself")]
    HostItself,
    #[error("no rule allows port {0}")]
    Port(u16),
    #[error("the address was never given out for a name that is allowed")]
    NoName,
    #[error("a TLS connection must say which host it is for (SNI)")]
    NoSni,
    #[error("the client hello is encrypted or hides its host (ECH)")]
    HiddenName,
    #[error("{asked} is not a name that this address was given out for")]
    NameMismatch { asked: String },
    #[error("the request is for {asked}, and the connection for {connected}")]
    HostMismatch { asked: String, connected: String },
    #[error("a rule denies it")]
    Rule,
    #[error("only HTTP and TLS are let through here")]
    NotHttp,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("only DNS may use UDP")]
    Udp,
    #[error("too many or too long names were asked for")]
    DnsLimit,
    #[error("too many connections are open")]
    TooManyConnections,
    #[error("a credential of the policy is missing: {0}")]
    NoSecret(String),
    #[error("a rule sets headers or puts a secret in, and that is not done without TLS; use https")]
    InTheClear,
}

impl Why {
    /// Whether it holds for the address, whatever the port.
    pub(crate) fn is_about_the_address(&self) -> bool {
        matches!(self, Self::SubnetDenied | Self::Reserved(_) | Self::HostItself)
    }
}

/// Nothing is let through, by this rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Denial {
    /// As a user finds it again in the policy: `api.example.com[1]` (rules count from 0),
    /// `db.example.com:5432`, `registries-read/pypi.org[0]` (from a preset), `subnets.deny
    /// 10.0.0.0/8`, `hostPorts 8080`, `default`.
    pub rule: String,
    pub why: Why,
}

/// Something is let through, by this rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// As in [`Denial`].
    pub rule: String,
}

/// How the bytes of a connection are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// They pass untouched, whatever they say.
    Raw(Grant),
    /// It must be TLS or HTTP. TLS is passed on by its name alone (`opened: false`), or opened;
    /// HTTP in the clear is always read, and each request asked about.
    Inspect { grant: Grant, opened: bool },
}

/// The head of a request, as far as a policy looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a http::HeaderMap,
}

/// What becomes of a request that is let through.
#[derive(Debug)]
pub enum Ruling<'a> {
    /// It is sent to its host after the edits. Whatever the rule, `pin` is that of the whole domain.
    Send {
        rule: String,
        edits: Option<&'a Edits>,
        pin: &'a Pin,
    },
    Forward {
        rule: String,
        to: &'a ForwardTo,
    },
    Respond {
        rule: String,
        canned: &'a Canned,
    },
}
