//! Paths and queries, in which no text can be more than one part.

use serde::Serialize;

pub(super) fn session_path(session: &str, rest: &str) -> String {
    format!("/v2/sandboxes/sessions/{}{rest}", segment(session))
}

/// Text as one segment of a path or one value of a query, so that none can be two.
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

pub(super) fn query_string(query: &impl Serialize) -> String {
    let fields = serde_json::to_value(query).expect("our own types are always JSON");
    let mut text = String::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mark = if text.is_empty() { '?' } else { '&' };
        text.push_str(&format!("{mark}{name}={}", segment(&value)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SandboxQuery, SortBy};

    #[test]
    fn the_query_of_a_list() {
        let query = SandboxQuery {
            limit: Some(50),
            cursor: Some("a/b".to_owned()),
            sort_by: Some(SortBy::CreatedAt),
            ..SandboxQuery::default()
        };
        assert_eq!(query_string(&query), "?limit=50&sortBy=createdAt&cursor=a%2Fb");
        assert_eq!(query_string(&SandboxQuery::default()), "");
    }
}
