//! By which headers and query keys a client says who it is: what a pin takes out.

use std::borrow::Cow;

/// Headers whose names alone do not tell it: see [`is_identity_header`]. In lower case.
const HEADERS: &[&str] = &[
    "cf-access-client-id",
    "openai-organization",
    "openai-project",
    "x-amz-credential",
    "x-auth-email",
    "x-goog-user-project",
];

/// Words of a header's name that tell what is in it.
const WORDS: &[&str] = &[
    "assertion",
    "auth",
    "authentication",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "passwd",
];
/// The same at a word's end: `accesstoken`.
const ENDS: &[&str] = &["apikey", "password", "secret", "token"];

/// Headers with such words, or that end in `-key`, by which nobody says who he is. Those with
/// `encryption` in their names hold keys to what is stored.
const OTHERS: &[&str] = &[
    "cache-key",
    "csrf-token",
    "idempotency-key",
    "sec-websocket-key",
    "surrogate-key",
    "x-cache-key",
    "x-csrf-token",
    "x-idempotency-key",
    "x-xsrf-token",
];

/// Query keys, in lower case.
const IDENTITY_QUERY_KEYS: &[&str] = &[
    "access-token",
    "access_key",
    "access_token",
    "accesstoken",
    "api-key",
    "api_key",
    "api_token",
    "apikey",
    "apitoken",
    "auth",
    "auth_key",
    "auth_token",
    "authtoken",
    "authorization",
    "awsaccesskeyid",
    "bearer_token",
    "client_assertion",
    "client_secret",
    "hapikey",
    "id_token",
    "job_token",
    "jwt",
    "key",
    "oauth_token",
    "password",
    "private_token",
    "secret",
    "session_token",
    "sig",
    "signature",
    "subscription-key",
    "token",
    "user_token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-api-key",
    "x-goog-credential",
    "x-goog-signature",
];

/// Whether a header of this name says who the client is, in any case and also with `_`, which many
/// servers take for `-`. Nobody knows all names, so words in them decide.
#[must_use]
pub fn is_identity_header(name: &str) -> bool {
    let name = with_dashes(name);
    let is_other = OTHERS.contains(&&*name) || name.contains("encryption");
    let tells = tells(&name) || name.ends_with("-key");
    HEADERS.contains(&&*name) || (tells && !is_other)
}

/// Whether one of the names in a `Sec-WebSocket-Protocol` is a client's identity: browsers can send
/// nothing else, so there are servers that take it there.
#[must_use]
pub fn is_identity_protocol(name: &str) -> bool {
    let name = with_dashes(name);
    tells(&name) || name.split('-').any(|word| word == "bearer")
}

/// Whether a query key, decoded, says who the client is; also with blanks around it or brackets behind,
/// which servers overlook.
#[must_use]
pub fn is_identity_query_key(key: &str) -> bool {
    let key = key.trim().to_ascii_lowercase();
    let key = key.split('[').next().unwrap_or_default().trim();
    IDENTITY_QUERY_KEYS.contains(&key) || with_dashes(key).contains("api-key")
}

/// In lower case, its words parted by `-`.
#[must_use]
pub fn with_dashes(name: &str) -> Cow<'_, str> {
    if !name.bytes().any(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'.')) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.to_ascii_lowercase().replace(['_', '.'], "-"))
}

/// A key of a query as PHP has it, in lower case: without blanks before it, and blanks and dots as `_`.
#[must_use]
pub fn loose_key(key: &str) -> String {
    key.trim_start().to_ascii_lowercase().replace([' ', '.'], "_")
}

fn tells(name: &str) -> bool {
    let is_one = |word: &str| WORDS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end));
    name.split('-').any(is_one) || name.contains("api-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITIES: &str = "
        Authorization proxy-authorization cookie api-key apikey X-Api-Key x_api_key xi-api-key token auth fastly-key
        ocp-apim-subscription-key x-nuget-apikey cf-access-client-id cf-access-client-secret x-algolia-api-key
        x-rapidapi-key x-subscription-token x-functions-key access-token session-token x-user-token x-accesstoken
        x-auth-key x-auth-email x-amz-security-token dd-application-key job-token x-goog-iap-jwt-assertion
        x-ms-authorization-auxiliary x-vault-token private-token";
    const OTHER_HEADERS: &str = "
        accept content-type user-agent idempotency-key Sec-WebSocket-Key x-csrf-token author x-authored-by keyword
        x-amz-server-side-encryption-customer-key x-monkey x-request-id anthropic-version openai-beta if-match";
    const PROTOCOLS: &str = "
        openai-insecure-api-key.sk-x base64url.bearer.authorization.k8s.io.eA token.x access_token";
    const OTHER_PROTOCOLS: &str =
        "realtime graphql-transport-ws mqtt openai-beta.realtime-v1 v4.channel.k8s.io";

    #[test]
    fn identities_are_known_by_their_names() {
        let all = |names: &'static str, is_one: fn(&str) -> bool, expected: bool| {
            for name in names.split_whitespace() {
                assert_eq!(is_one(name), expected, "{name}");
            }
        };
        all(IDENTITIES, is_identity_header, true);
        all(OTHER_HEADERS, is_identity_header, false);
        all(PROTOCOLS, is_identity_protocol, true);
        all(OTHER_PROTOCOLS, is_identity_protocol, false);
        for key in ["access_token", "ACCESS_TOKEN ", " access_token", "access_token[]", "jwt"] {
            assert!(is_identity_query_key(key), "{key}");
        }
        for key in ["page_token", "keys", "monkey", "q", "tokens", ""] {
            assert!(!is_identity_query_key(key), "{key}");
        }
    }
}
