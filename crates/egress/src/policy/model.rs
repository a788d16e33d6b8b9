//! The policy itself. It is made at the edge (from the API's form or a preset) and checked there;
//! in here every value is of its form.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    host::Host,
    secret::{SecretName, SecretText},
};

/// What a sandbox may reach. The default is nothing at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub reach: Reach,
    /// In the order in which they were written; the most specific pattern that matches a name
    /// decides ([`HostPattern`]).
    pub domains: Vec<Domain>,
    pub subnets: Subnets,
    /// TCP ports of the host's loopback that the guest reaches at
    /// [`HOST_NAME`](crate::address::HOST_NAME).
    pub host_ports: BTreeSet<u16>,
    /// Whether every TLS connection is opened, also where no rule needs to look inside.
    pub strict: bool,
}

/// What is reached that no domain or subnet names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Nothing.
    #[default]
    Listed,
    /// Every public address, by name or by itself, on every TCP port.
    Public,
}

/// Names that may be reached, and what holds for requests to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    pub pattern: HostPattern,
    /// `None` is HTTP and HTTPS on their own ports, 80 and 443. With a port and without rules the
    /// bytes of any protocol pass untouched; with rules it must be HTTP or TLS there too.
    pub port: Option<u16>,
    /// The first whose match fits a request decides; with none the request passes as it is.
    pub rules: Vec<Rule>,
    /// Where the domain comes from if not from the user's own list: the name of a preset.
    pub preset: Option<String>,
}

/// `api.example.com`; `*.example.com` (any depth below, not itself); `www.*.com` (one label);
/// `*` (any name). The exact name is more specific than a pattern, and of two patterns the one with
/// more labels that are not `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPattern {
    Any,
    Exact(Host),
    /// The labels from left to right; `None` is a `*`. A leading `*` stands for one label or more,
    /// any other for exactly one.
    Wild(Vec<Option<String>>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub when: Match,
    pub then: Action,
}

/// What a request must be like; what is absent is not asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Without the query, as the gateway sends it on.
    pub path: Option<TextMatch>,
    /// Upper case; one of them. Empty is any.
    pub methods: Vec<String>,
    /// Each must be met by one of the query's pairs, percent-decoded.
    pub query: Vec<PairMatch>,
    /// Each must be met by one of the headers; names are compared in lower case.
    pub headers: Vec<PairMatch>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairMatch {
    pub key: Option<TextMatch>,
    pub value: Option<TextMatch>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TextMatch {
    Exact(String),
    StartsWith(String),
    /// Found anywhere in the text, in time linear in it.
    Regex(Pattern),
}

/// A regular expression of RE2's kind: no back references, no look-around. Bounded in size when it
/// is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// Most bytes that a compiled pattern may take.
    const BYTES_MAX: usize = 1 << 20;

    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        let mut builder = regex::RegexBuilder::new(text);
        builder.size_limit(Self::BYTES_MAX).dfa_size_limit(Self::BYTES_MAX).build().map(Self)
    }

    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, regex::Error> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.as_str().to_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// The request is refused.
    Deny,
    /// It goes to its host, edited.
    Send(Edits),
    /// It goes to somebody else, who sees what it was (`forwardURL`).
    Forward(ForwardTo),
    /// It is answered here.
    Respond(Canned),
}

/// What is changed in a request before it leaves. Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edits {
    /// Set, in place of what the guest sent under the same name.
    pub headers: Vec<HeaderEdit>,
    pub credentials: Vec<Credential>,
    pub pin: Pin,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderEdit {
    /// Lower case.
    pub name: String,
    pub value: SecretText,
}

/// A stored secret, and where in a request it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    pub secret: SecretName,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Place {
    /// The header `name`, with `prefix` before the secret (`Bearer `).
    Header { name: String, prefix: String },
    /// `Authorization: Basic`, with this user and the secret as password.
    Basic { user: String },
    /// The query parameter of this name.
    Query { name: String },
    /// Instead of this text, which the guest was given, wherever it stands in a header's value, also
    /// inside the base64 of `Authorization: Basic`.
    Placeholder(String),
}

/// Whether other identities than ours are taken out of every request to the domain. It is on where
/// a rule of the domain puts in a credential, or sets a header by which clients prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pin {
    #[default]
    Off,
    /// The usual ones (`authorization`, `proxy-authorization`, `cookie`, `x-api-key`, …; query keys
    /// like `access_token`) and these, in lower case.
    On { headers: BTreeSet<String>, query: BTreeSet<String> },
}

/// An `http` or `https` URL without credentials in it. Requests go there with their path and query
/// added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardTo {
    pub secure: bool,
    pub host: Host,
    pub port: u16,
    /// Begins with `/` or is empty; no `/` at its end.
    pub path: String,
}

/// A reply that the gateway gives itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canned {
    /// 200 to 599.
    pub status: u16,
    /// None of `connection`, `content-length`, `transfer-encoding`.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Addresses beside names: those in `allow` are reached by themselves and on every TCP port, also
/// reserved ones; those in `deny` never, also by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnets {
    pub allow: Vec<Cidr>,
    pub deny: Vec<Cidr>,
}

/// A network: an address whose bits beyond the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cidr {
    pub address: std::net::IpAddr,
    pub prefix: u8,
}
