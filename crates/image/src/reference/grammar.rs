//! The letters of names, as the distribution specification and Docker have them.

use std::net::Ipv6Addr;

const TAG_BYTES_MAX: usize = 128;
const DIGEST_DIGITS: usize = 64;

/// Whether the first part of a name with a slash is a registry and no part of the repository.
pub(super) fn names_a_registry(first: &str) -> bool {
    let has_upper = first.bytes().any(|byte| byte.is_ascii_uppercase());
    first == "localhost" || first.contains(['.', ':']) || has_upper
}

pub(super) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rest = |byte: u8| word(byte) || byte == b'.' || byte == b'-';
    text.len() <= TAG_BYTES_MAX && text.bytes().next().is_some_and(word) && text.bytes().all(rest)
}

pub(super) fn is_bare_digest(text: &str) -> bool {
    text.len() == DIGEST_DIGITS
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn is_repository(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// Words of lowercase letters and digits, between them one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, last) = (text.bytes().next(), text.bytes().last());
    if !first.is_some_and(is_word) || !last.is_some_and(is_word) {
        return false;
    }
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.into_iter().all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

/// A host name or address, and a port if it has one.
pub(super) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    port.is_none_or(is_port) && is_host(host)
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return address.is_some_and(|address| address.is_ok());
    }
    let is_label = |label: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric();
        label.len() <= 63
            && label.bytes().next().is_some_and(letter)
            && label.bytes().last().is_some_and(letter)
            && label.bytes().all(|byte| letter(byte) || byte == b'-')
    };
    host.split('.').all(is_label)
}

/// A path, and what follows its last colon where that can be a tag.
pub(super) fn path_and_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, tag)) if !path.is_empty() && is_tag(tag) => (path, Some(tag)),
        Some(_) | None => (text, None),
    }
}
