//! The policy as it is shown: always in the mode form, and without the values of headers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CannedResponse, CredentialUse, Match, Ordered, PinUse, RuleAction};

/// The policy that holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicyReply {
    pub mode: ReplyMode,
    /// Without those of presets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_domains: Vec<String>,
    #[serde(default, rename = "allowedCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub allowed_cidrs: Vec<String>,
    #[serde(default, rename = "deniedCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub denied_cidrs: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub injection_rules: Vec<InjectionRuleReply>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forward_rules: Vec<ForwardRuleReply>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_rules: Vec<ResponseRuleReply>,
    /// All rules of all domains in their order, also those that Vercel has no form for (ours);
    /// absent if no domain has a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Ordered<Vec<RuleReply>>>,
    /// Ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<String>,
    /// Ours; absent if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyMode {
    AllowAll,
    DenyAll,
    Custom,
}

/// A rule that sets headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectionRuleReply {
    pub domain: String,
    /// Those in which a secret is put included.
    pub header_names: Vec<String>,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub when: Option<Match>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ForwardRuleReply {
    pub domain: String,
    #[serde(rename = "forwardURL")]
    pub forward_url: String,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub when: Option<Match>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResponseRuleReply {
    pub domain: String,
    pub status_code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub when: Option<Match>,
}

/// One rule of a domain, whatever it does (ours).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleReply {
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub when: Option<Match>,
    /// Absent where the request goes elsewhere or is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<RuleAction>,
    /// Of the headers that are set; not that of a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_names: Vec<String>,
    #[serde(default, rename = "forwardURL", skip_serializing_if = "Option::is_none")]
    pub forward_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<CannedResponse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialUse>,
    /// What holds, also where it was not asked for; absent where the request is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinUse>,
}
