//! By which headers and query keys a client says who it is.

/// Headers that a pin takes out, in lower case.
pub const IDENTITY_HEADERS: [&str; 17] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-goog-user-project",
    "x-auth-token",
    "x-access-token",
    "x-amz-security-token",
    "x-github-token",
    "private-token",
    "job-token",
    "openai-organization",
    "openai-project",
];

/// Query keys that a pin takes out, in lower case.
pub const IDENTITY_QUERY_KEYS: [&str; 11] = [
    "access_token",
    "api_key",
    "api-key",
    "apikey",
    "auth_token",
    "client_secret",
    "key",
    "private_token",
    "token",
    "x-amz-security-token",
    "x-amz-signature",
];

/// Whether a header of this name, in any case, says who the client is.
#[must_use]
pub fn is_identity_header(name: &str) -> bool {
    IDENTITY_HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name))
}
