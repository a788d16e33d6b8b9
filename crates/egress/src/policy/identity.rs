//! By which headers and query keys a client says who it is: what a pin takes out.

/// Headers, in lower case.
pub const IDENTITY_HEADERS: &[&str] = &[
    "api-key",
    "api-token",
    "apikey",
    "auth-token",
    "authorization",
    "cookie",
    "dd-api-key",
    "dd-application-key",
    "deploy-token",
    "job-token",
    "openai-organization",
    "openai-project",
    "private-token",
    "proxy-authorization",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-email",
    "x-auth-key",
    "x-auth-token",
    "x-authorization",
    "x-figma-token",
    "x-github-token",
    "x-gitlab-token",
    "x-goog-api-key",
    "x-goog-iam-authorization-token",
    "x-goog-iap-jwt-assertion",
    "x-goog-user-project",
    "x-ms-authorization-auxiliary",
    "x-session-token",
    "x-shopify-access-token",
    "x-token",
    "x-vault-token",
];

/// Query keys, in lower case.
pub const IDENTITY_QUERY_KEYS: &[&str] = &[
    "access-token",
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "authorization",
    "awsaccesskeyid",
    "client_secret",
    "job_token",
    "key",
    "oauth_token",
    "private_token",
    "secret",
    "session_token",
    "sig",
    "signature",
    "subscription-key",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

/// Whether a header of this name, in any case, says who the client is.
#[must_use]
pub fn is_identity_header(name: &str) -> bool {
    IDENTITY_HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name))
}
