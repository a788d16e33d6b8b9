//! Tokens of projects, under `/v1/fumehood/tokens` (ours): what lets a client in, for one project.
//! They are Vercel's in form, so that its clients take one for `VERCEL_OIDC_TOKEN`.

use serde::{Deserialize, Serialize};

use crate::secrets::SecretValue;

/// What a token lets its bearer do in its project.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    /// Everything.
    #[default]
    Full,
    /// See what there is, read files, logs and the audit; change and start nothing.
    Read,
}

impl TokenScope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
        }
    }
}

/// `POST /v1/fumehood/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateToken {
    /// Whose things it is for: 1 to 128 letters, digits, `_`, `-` or `.`; `local` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Milliseconds until it ends, 1000 at least; it does not end by itself when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    pub scope: TokenScope,
}

/// What is told of a token. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    pub id: String,
    pub project_id: String,
    pub scope: TokenScope,
    pub created_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// A token that was just made, with its text, which is told this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NewToken {
    pub token: Token,
    /// A JWT.
    pub value: SecretValue,
}

/// `GET /v1/fumehood/tokens`: those that are not revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TokenList {
    pub tokens: Vec<Token>,
}

/// `DELETE /v1/fumehood/tokens/{id}` and `POST /v1/fumehood/tokens/rotate-key`: those that are
/// revoked by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RevokedTokens {
    pub tokens: Vec<Token>,
}
