//! Secrets stored with a server, under `/v1/fumehood/secrets` (ours). A value goes in and never
//! comes out again: a policy names it, and the gateway puts it into requests.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The longest value of a secret, in bytes: more than servers take in a header.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// The value of a secret, on its way to the server. Nothing shows it, and it is overwritten when it
/// is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Zeroize, ZeroizeOnDrop, schemars::JsonSchema)]
#[serde(transparent)]
pub struct SecretValue(String);

impl SecretValue {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The value itself. Who calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(redacted)")
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    /// The usual words for a number where text should be would repeat the number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => Err(de::Error::custom("the value of a secret is a string")),
        }
    }
}

/// `PUT /v1/fumehood/secrets/{name}`: stores it, in place of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PutSecret {
    pub value: SecretValue,
}

/// What is told of a stored secret. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    pub name: String,
    pub created_at: u64,
    pub updated_at: u64,
}

/// `GET /v1/fumehood/secrets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SecretList {
    pub secrets: Vec<Secret>,
}
