//! What would become of a request (ours).

use serde::{Deserialize, Serialize};

/// `POST …/{sid}/network-policy/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Explain {
    pub method: String,
    /// `https://host/path?query`, `http://…` or `tcp://host:port`.
    pub url: String,
}

/// The reply: each question that the gateway would ask, and how it ends. Holds no secret and no
/// query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub method: String,
    /// As it was understood, without its query.
    pub url: String,
    pub steps: Vec<Step>,
    pub decision: Decision,
    /// The rule that decided: `api.example.com[1]`, `registries-read/pypi.org[0]`,
    /// `subnets.deny 10.0.0.0/8`, `hostPorts 8080`, `default`.
    pub rule: String,
    /// Why it is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub outcome: Outcome,
    /// Names of the secrets that are put in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// Names of the headers that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Whether other identities are taken out.
    pub pinned: bool,
    /// What the answer depends on that was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Step {
    pub question: Question,
    pub decision: Decision,
    pub rule: String,
    /// A sentence for people.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    Name,
    Address,
    Connection,
    Request,
}

/// What becomes of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    Denied,
    /// The bytes of the connection pass untouched; the request is not seen.
    Raw,
    /// TLS passes by its name; the request is not seen.
    Spliced,
    /// To its host, with what is set and put in.
    Sent,
    Forwarded {
        url: String,
    },
    Answered {
        status: u16,
    },
}
