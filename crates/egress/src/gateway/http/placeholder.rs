//! Placeholders: what a guest was given to write where a secret belongs.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderValue, request::Parts};
use zeroize::Zeroizing;

use crate::{policy::Why, secret::SecretText};

/// Longest value of a header after replacing, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Puts the secret in place of its placeholder in every header; whether there was one.
pub(crate) fn replace(
    headers: &mut HeaderMap,
    placeholder: &str,
    secret: &SecretText,
    texts: &mut Vec<Zeroizing<Vec<u8>>>,
) -> Result<bool, Why> {
    let mut found = false;
    for value in headers.values_mut() {
        let replaced = match within(value.as_bytes(), placeholder, secret) {
            Some(replaced) => replaced,
            None => {
                let Some(decoded) = basic(value) else { continue };
                let Some(replaced) = within(&decoded, placeholder, secret) else { continue };
                let encoded = Zeroizing::new(BASE64.encode(&*replaced));
                texts.push(Zeroizing::new(encoded.as_bytes().to_vec()));
                Zeroizing::new(format!("Basic {}", *encoded).into_bytes())
            }
        };
        let fits = replaced.len() <= VALUE_BYTES_MAX;
        let mut header = fits
            .then(|| HeaderValue::from_bytes(&replaced).ok())
            .flatten()
            .ok_or(Why::Malformed("a header cannot hold the secret that it asks for"))?;
        header.set_sensitive(true);
        *value = header;
        found = true;
    }
    Ok(found)
}

/// Whether the text stands in a header or in the URL, also where it would be replaced.
pub(crate) fn occurs(parts: &Parts, placeholder: &str) -> bool {
    let needle = placeholder.as_bytes();
    let holds = |bytes: &[u8]| find(bytes, needle).is_some();
    parts
        .headers
        .values()
        .any(|value| holds(value.as_bytes()) || basic(value).is_some_and(|bytes| holds(&bytes)))
        || parts.uri.path_and_query().is_some_and(|text| holds(text.as_str().as_bytes()))
}

fn within(bytes: &[u8], placeholder: &str, secret: &SecretText) -> Option<Zeroizing<Vec<u8>>> {
    let needle = placeholder.as_bytes();
    let mut at = find(bytes, needle)?;
    let mut rest = bytes;
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() + secret.expose().len()));
    loop {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(secret.expose().as_bytes());
        rest = &rest[at + needle.len()..];
        let Some(next) = find(rest, needle) else { break };
        at = next;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// What stands encoded in `Basic`.
fn basic(value: &HeaderValue) -> Option<Zeroizing<Vec<u8>>> {
    let text = value.to_str().ok()?.trim();
    let (scheme, rest) = text.split_once(' ')?;
    let rest = scheme.eq_ignore_ascii_case("basic").then(|| rest.trim())?;
    BASE64.decode(rest).ok().map(Zeroizing::new)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    bytes.windows(needle.len()).position(|window| window == needle)
}
