//! `POST …/{sid}/network-policy/explain`: what the gateway would do with a request, and by which
//! rule (ours). Nothing is sent anywhere.

use serde::{Deserialize, Serialize};

/// The request that is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explain {
    /// `GET` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `http` or `https`, with a port where it is not the usual one.
    pub url: String,
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub decision: Verdict,
    /// The rule that decided, as it is found again in the policy; `default` if none did.
    pub rule: String,
    /// Why it is denied, or what is done with it: a sentence for people.
    pub reason: String,
    /// The questions that the gateway asks, in its order, up to the first that is answered with no.
    pub steps: Vec<Step>,
}

/// One question of the gateway, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub question: Question,
    pub decision: Verdict,
    pub rule: String,
    /// A sentence for people.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allow,
    Deny,
}

/// What is asked, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// May the name be looked up?
    Resolve,
    /// May this address be spoken to?
    Dial,
    /// How is a connection to this name and port treated?
    Connect,
    /// What becomes of the request itself?
    Request,
}
