//! Pinning: no identity but ours reaches a host.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use super::query;
use crate::policy::{is_identity_header, is_identity_protocol, is_identity_query_key, with_dashes};

/// Takes out of the headers what says who sends the request, the named ones too. What consists of
/// nothing but one of `placeholders` stays: it becomes our secret.
pub(crate) fn headers(headers: &mut HeaderMap, named: &BTreeSet<String>, placeholders: &[&str]) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            is_identity_header(name.as_str())
                || named.contains(name.as_str())
                || named.contains(&*with_dashes(name.as_str()))
                || *name == header::SEC_WEBSOCKET_PROTOCOL
        })
        .cloned()
        .collect();
    for name in names {
        let kept: Vec<HeaderValue> = headers
            .get_all(&name)
            .iter()
            .filter_map(|value| match name {
                header::COOKIE => cookies(value, placeholders),
                header::SEC_WEBSOCKET_PROTOCOL => protocols(value),
                _ => is_ours(value, placeholders).then(|| value.clone()),
            })
            .collect();
        headers.remove(&name);
        for value in kept {
            headers.append(&name, value);
        }
    }
}

/// The query without the parameters that say who sends the request.
pub(crate) fn query(text: &str, named: &BTreeSet<String>) -> Option<String> {
    query::without(text, |key| is_identity_query_key(key) || named.contains(key))
}

/// Whether the value is a placeholder, alone, behind the name of a scheme, or as one half of
/// `Basic` beside a name. A value that holds anything else beside it could be somebody's.
fn is_ours(value: &HeaderValue, placeholders: &[&str]) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let text = text.trim();
    let (scheme, rest) = text.split_once(' ').unwrap_or(("", text));
    if scheme.eq_ignore_ascii_case("basic") {
        return halves(rest.trim()).is_some_and(|(user, password)| {
            let is_ours = |half: &str| placeholders.contains(&half);
            (is_ours(&user) && (is_ours(&password) || is_name(&password)))
                || (is_ours(&password) && is_name(&user))
        });
    }
    let scheme_only = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    scheme_only && scheme.len() <= 16 && placeholders.contains(&rest.trim())
}

/// Whether a half of `Basic` is the name of an account, or a word that stands for none, and no key: some
/// servers look at one half alone.
fn is_name(half: &str) -> bool {
    const BYTES_MAX: usize = 64;
    const DIGITS_MAX: usize = 8;
    const PART_MAX: usize = 20;
    let digits = half.bytes().filter(u8::is_ascii_digit).count();
    let mut parts = half.split(|character: char| !character.is_ascii_alphanumeric());
    half.len() <= BYTES_MAX && digits <= DIGITS_MAX && parts.all(|part| part.len() < PART_MAX)
}

fn halves(encoded: &str) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
    let decoded = Zeroizing::new(BASE64.decode(encoded).ok()?);
    let text = str::from_utf8(&decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((Zeroizing::new(user.to_owned()), Zeroizing::new(password.to_owned())))
}

/// The cookies whose values are placeholders.
fn cookies(value: &HeaderValue, placeholders: &[&str]) -> Option<HeaderValue> {
    let kept: Vec<&str> = value
        .to_str()
        .ok()?
        .split(';')
        .map(str::trim)
        .filter(|pair| pair.split_once('=').is_some_and(|(_, value)| placeholders.contains(&value)))
        .collect();
    (!kept.is_empty()).then(|| HeaderValue::from_str(&kept.join("; ")).ok()).flatten()
}

/// The protocols that are no identities.
fn protocols(value: &HeaderValue) -> Option<HeaderValue> {
    let offered = value.to_str().ok()?.split(',').map(str::trim);
    let kept: Vec<&str> = offered.filter(|name| !is_identity_protocol(name)).collect();
    (!kept.is_empty()).then(|| HeaderValue::from_str(&kept.join(", ")).ok()).flatten()
}

/// What says in a trailer who sends the request. Nothing may (RFC 9110, 6.5.1), and some servers read it.
pub(crate) fn trailers(trailers: &mut HeaderMap) {
    headers(trailers, &BTreeSet::new(), &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_go_and_placeholders_stay() {
        let ours = ["FUMEHOOD_SECRET_x1"];
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
        for (name, value, left) in [
            ("authorization", "Bearer stolen".to_owned(), None),
            ("authorization", "Bearer FUMEHOOD_SECRET_x1".to_owned(), Some("")),
            ("authorization", "token FUMEHOOD_SECRET_x1".to_owned(), Some("")),
            ("authorization", "FUMEHOOD_SECRET_x1".to_owned(), Some("")),
            ("authorization", "Bearer FUMEHOOD_SECRET_x1 stolen".to_owned(), None),
            ("authorization", "stolen, FUMEHOOD_SECRET_x1".to_owned(), None),
            ("authorization", "sk-stolenkeythatislong FUMEHOOD_SECRET_x1".to_owned(), None),
            ("authorization", "Bearer xFUMEHOOD_SECRET_x1".to_owned(), None),
            ("authorization", basic("user:FUMEHOOD_SECRET_x1"), Some("")),
            ("authorization", basic("FUMEHOOD_SECRET_x1:"), Some("")),
            ("authorization", basic("FUMEHOOD_SECRET_x1:x-oauth-basic"), Some("")),
            ("authorization", basic("FUMEHOOD_SECRET_x1:FUMEHOOD_SECRET_x1"), Some("")),
            ("authorization", basic("first.last@example.com:FUMEHOOD_SECRET_x1"), Some("")),
            (
                "authorization",
                basic("FUMEHOOD_SECRET_x1:ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
                None,
            ),
            ("authorization", basic("sk_live_4eC39HqLyjWDarjtT1zdp7dc:FUMEHOOD_SECRET_x1"), None),
            (
                "authorization",
                basic("01234567-89ab-cdef-0123-456789abcdef:FUMEHOOD_SECRET_x1"),
                None,
            ),
            ("authorization", basic("user:stolenFUMEHOOD_SECRET_x1"), None),
            ("x-api-key", "stolen".to_owned(), None),
            ("x-mine", "named".to_owned(), None),
            ("x-other", "stays".to_owned(), Some("")),
            ("x_api_key", "stolen".to_owned(), None),
            ("x_mine", "named".to_owned(), None),
            ("sec-websocket-protocol", "chat".to_owned(), Some("")),
            (
                "sec-websocket-protocol",
                "realtime, openai-insecure-api-key.stolen".to_owned(),
                Some("realtime"),
            ),
            ("sec-websocket-protocol", "bearer.stolen".to_owned(), None),
            ("cookie", "a=stolen; b=FUMEHOOD_SECRET_x1".to_owned(), Some("b=FUMEHOOD_SECRET_x1")),
            ("cookie", "a=stolen".to_owned(), None),
        ] {
            let mut map = HeaderMap::new();
            map.insert(HeaderName::from_static(name), value.parse().unwrap());
            headers(&mut map, &BTreeSet::from(["x-mine".to_owned()]), &ours);
            let expected = left.map(|left| if left.is_empty() { value.as_str() } else { left });
            assert_eq!(map.get(name).map(|v| v.to_str().unwrap()), expected, "{name}: {value}");
        }
    }

    #[test]
    fn identities_in_the_query_go_however_they_are_written() {
        let named = BTreeSet::from(["mine".to_owned()]);
        for (text, left) in [
            ("a=1&key=x&b=2", "a=1&b=2"),
            ("ACCESS_TOKEN=x", ""),
            ("%61pi_key=x&c", "c"),
            ("a=1&mine=2&Mine=3", "a=1"),
            ("keys=1&monkey=2", "keys=1&monkey=2"),
            ("token", ""),
            ("a;key=1", "a"),
            ("x=1;private_token=x;b=2", "x=1;b=2"),
            ("access.token=x&access%20token=x&access_token%00y=x&+token[]=x&a", "a"),
            ("key=1;a=2", "a=2"),
            ("x-algolia-api-key=1", ""),
        ] {
            let kept = query(text, &named).unwrap_or_else(|| text.to_owned());
            assert_eq!(kept, left, "{text}");
        }
    }
}
