//! Network policy: what a client asks for, and what it is shown.
//!
//! Vercel has two request forms, and one for replies. The modern form is `{mode:"allow-all"}`,
//! `{mode:"deny-all"}`, or `{allow, subnets}`; the old one, which their REST API takes too, names a
//! mode and lists beside it. Ours are `presets`, `strict`, `hostPorts`, `allow` beside
//! `mode:"allow-all"`, keys of `allow` with a port (`db.example.com:5432`), and in a rule `action`,
//! `credential` and `pin`.
//!
//! A member that is not known is refused, as nowhere else: half a policy is another policy.

mod explanation;
mod ordered;
mod reply;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    fault::fault_in_words,
    object::{Object, list, object, only},
};

pub use explanation::{Decision, Explain, Explanation, Outcome, Question, Step};
pub use ordered::{Allow, Ordered};
pub use reply::{
    ForwardRuleReply, InjectionRuleReply, NetworkPolicyReply, ReplyMode, ResponseRuleReply,
    RuleReply,
};

/// What a sandbox may reach, in either request form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NetworkPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub subnets: Option<Subnets>,
    /// Of the old form, as are the next five.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_domains: Option<Vec<String>>,
    #[serde(rename = "allowedCIDRs", skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<Vec<String>>,
    #[serde(rename = "deniedCIDRs", skip_serializing_if = "Option::is_none")]
    pub denied_cidrs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "list")]
    pub injection_rules: Option<Vec<InjectionRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "list")]
    pub forward_rules: Option<Vec<ForwardRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "list")]
    pub response_rules: Option<Vec<ResponseRule>>,
    /// Names of lists of domains that the server has (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presets: Option<Vec<String>>,
    /// Whether every TLS connection is opened (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// TCP ports of the host that are reached at `host.fumehood.internal` (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ports: Option<Vec<u16>>,
}

impl NetworkPolicy {
    /// Reads the JSON of one, as it is in a file. What is wrong with it is told in words.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let read = serde_json::from_slice(json).map(|Object(policy)| policy);
        read.map_err(|error| fault_in_words(&error.to_string()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    AllowAll,
    DenyAll,
    /// The old form, as are the next two.
    Custom,
    DefaultAllow,
    DefaultDeny,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Subnets {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

/// One rule of a domain: what a request must be like, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rule {
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub when: Option<Match>,
    /// Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<RuleAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "list")]
    pub transform: Option<Vec<Transform>>,
    #[serde(rename = "forwardURL", skip_serializing_if = "Option::is_none")]
    pub forward_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub response: Option<CannedResponse>,
    /// Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub credential: Option<CredentialUse>,
    /// Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinUse>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    Allow,
    Deny,
}

/// All that is named must be met; one method of several is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Match {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub path: Option<TextMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "list")]
    pub query_string: Option<Vec<PairMatch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "list")]
    pub headers: Option<Vec<PairMatch>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PairMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub key: Option<TextMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub value: Option<TextMatch>,
}

/// Exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TextMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_with: Option<String>,
    /// Of RE2's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transform {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<SecretHeaders>,
}

/// Headers by name, whose values are often secrets: `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct SecretHeaders(pub BTreeMap<String, String>);

impl fmt::Debug for SecretHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// An answer that the gateway gives itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CannedResponse {
    /// 200 to 599.
    pub status_code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Demands `contentType`; none with 204, 205 and 304.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// A stored secret, and where it is put in: one of the four places, `header` when none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialUse {
    /// The secret's name.
    pub secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub header: Option<CredentialHeader>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub basic: Option<CredentialBasic>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub query: Option<CredentialQuery>,
    /// `true`: in place of the text that the guest was given for the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialHeader {
    /// `authorization` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What stands before the secret. When absent: `Bearer ` in `authorization`, nothing elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// `Authorization: Basic` with the secret as password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialBasic {
    pub user: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialQuery {
    /// `key` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Whether other identities are taken out of requests to the domain; when absent they are where a
/// rule puts one in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "expected true, false, or an object with `headers` and `query`")]
pub enum PinUse {
    Switch(bool),
    /// These are taken out beside the usual ones.
    Beside(#[serde(deserialize_with = "only")] PinBeside),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PinBeside {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
}

/// A header rule of the old form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InjectionRule {
    pub domain: String,
    pub headers: SecretHeaders,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub when: Option<Match>,
}

/// A forwarding rule of the old form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardRule {
    pub domain: String,
    #[serde(rename = "forwardURL")]
    pub forward_url: String,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub when: Option<Match>,
}

/// A rule with an answer, of the old form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseRule {
    pub domain: String,
    pub status_code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "object")]
    pub when: Option<Match>,
}

#[cfg(test)]
mod tests;
