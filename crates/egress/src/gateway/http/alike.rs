//! Headers that many servers take for one another: in names `_` and `.` for `-`.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::with_dashes;

/// Takes out each header whose name, in lower case and with dashes, is one.
pub(super) fn take_out(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    remove(headers, |name| is_one(&with_dashes(name.as_str())));
}

/// Takes out each header that is none of these, and that servers may take for one.
pub(super) fn take_out_disguised(headers: &mut HeaderMap, names: &[HeaderName]) {
    remove(headers, |name| {
        let plain = with_dashes(name.as_str());
        !names.contains(name) && names.iter().any(|own| own.as_str() == plain)
    });
}

fn remove(headers: &mut HeaderMap, is_one: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_one(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Takes blanks from both ends of each value: HTTP/1 has none there, and HTTP/2 may carry some, which
/// servers drop.
pub(super) fn trim(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let bytes = value.as_bytes();
        let trimmed = bytes.trim_ascii();
        if trimmed.len() < bytes.len()
            && let Ok(trimmed) = HeaderValue::from_bytes(trimmed)
        {
            *value = trimmed;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn what_only_looks_like_a_length_goes_and_blanks_go() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-length", "3"),
            ("content_length", "0"),
            ("transfer.encoding", "chunked"),
            ("transfer_encoding", "chunked"),
            ("x-a", "a b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-b", HeaderValue::from_bytes(b" \tb ").unwrap());
        take_out_disguised(&mut headers, &[header::CONTENT_LENGTH, header::TRANSFER_ENCODING]);
        trim(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        left.sort_unstable();
        assert_eq!(left, [("content-length", &b"3"[..]), ("x-a", b"a b"), ("x-b", b"b")]);
    }
}
