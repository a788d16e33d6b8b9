//! The ways in which a server may read the path, the query and the method of a request.
//!
//! A policy compares text, and a server acts on what it makes of that text. Where the two could
//! differ, every reading is compared: all must fall under a rule for it to let a request through,
//! and one is enough for it to be denied. What no honest client sends is refused outright.

use std::borrow::Cow;

use super::{Head, loose_key, with_dashes};

/// Longest path that is compared with rules, in bytes.
const PATH_BYTES_MAX: usize = 32 << 10;
/// How often a path may be escaped over: `%2525` is three times.
const ROUNDS_MAX: usize = 3;
/// Most pairs of a query that are compared with rules.
const PAIRS_MAX: usize = 512;

/// Headers by which a request says that its method is another one.
const METHOD_OVERRIDES: [&str; 3] =
    ["x-http-method-override", "x-http-method", "x-method-override"];
/// The same in a query.
const METHOD_OVERRIDE_KEY: &str = "_method";
/// Headers by which a request says that it is for another path, or for another one too.
const PATH_OVERRIDES: [&str; 9] = [
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-override-url",
    "destination",
    "x-amz-copy-source",
    "x-goog-copy-source",
    "x-ms-copy-source",
    "x-ms-rename-source",
];
/// Headers that take a part of the path away.
const PATH_SHIFTS: [&str; 3] = ["script-name", "x-script-name", "path-info"];

/// One way to read a path, in the form in which rules are written ([`canonical`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathReading {
    pub(super) text: String,
    /// Whether parameters of its segments (`;v=1`) were taken out.
    pub(super) without_parameters: bool,
}

/// A path with each character written in one way: escaped if it must be, and not if it need not be.
/// Escapes that are more than a way of writing (`%2F`, `%3B`, `%25`) stay.
#[must_use]
pub fn canonical(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut text = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match escape(bytes, at) {
            Some(decoded) if is_plain(decoded) => text.push(char::from(decoded)),
            Some(decoded) => push_escaped(&mut text, decoded),
            // A lone % is left: it is no escape, and only a path that a person wrote has one.
            None if is_plain(*byte) || b"/;=&+%".contains(byte) => text.push(char::from(*byte)),
            None => push_escaped(&mut text, *byte),
        }
        at += if escape(bytes, at).is_some() { 3 } else { 1 };
    }
    text
}

/// What a request is for.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) query: Option<Cow<'a, str>>,
}

/// What the request is for, and what else it says that it is for.
pub(super) fn targets<'a>(head: &Head<'a>) -> Vec<Target<'a>> {
    let own = Target { path: head.path.into(), query: head.query.map(Cow::Borrowed) };
    let others = values(head.headers, &PATH_OVERRIDES).map(|text| {
        let (path, query) = without_host(text.split('#').next().unwrap_or_default());
        let slash = if path.starts_with('/') { "" } else { "/" };
        let query = query.map(|query| Cow::Owned(query.to_owned()));
        Target { path: Cow::Owned(format!("{slash}{path}")), query }
    });
    std::iter::once(own).chain(others).collect()
}

/// Path and query of a URL, which may have a scheme and a host before them.
fn without_host(url: &str) -> (&str, Option<&str>) {
    let (path, query) =
        url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    match path.split_once("://").filter(|_| !path.starts_with('/')) {
        Some((_scheme, rest)) => (rest.find('/').map_or("/", |at| &rest[at..]), query),
        None => (path, query),
    }
}

/// Whether a header takes a part of the path away for some servers.
pub(super) fn is_shifted(headers: &http::HeaderMap) -> bool {
    values(headers, &PATH_SHIFTS).next().is_some()
}

/// The values of the headers that servers take for one of these.
fn values<'a>(headers: &'a http::HeaderMap, names: &[&str]) -> impl Iterator<Item = Cow<'a, str>> {
    let named = headers.iter().filter(|(name, _)| names.contains(&&*with_dashes(name.as_str())));
    named.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()))
}

/// Every way to read the path; the first is as it was sent.
pub(super) fn paths(path: &str) -> Result<Vec<PathReading>, &'static str> {
    if path == "*" {
        return Ok(vec![PathReading { text: path.to_owned(), without_parameters: false }]);
    }
    if !path.starts_with('/') {
        return Err("the path does not begin with /");
    }
    if path.len() > PATH_BYTES_MAX {
        return Err("the path is too long");
    }
    let mut texts = vec![canonical(path)];
    let mut current = Cow::Borrowed(path.as_bytes());
    check(&current)?;
    check_escapes(&current)?;
    let mut rounds = 0;
    while has_escape(&current) {
        if rounds == ROUNDS_MAX {
            return Err("the path is escaped too many times over");
        }
        rounds += 1;
        current = Cow::Owned(decode(&current));
        texts.push(encode(check(&current)?));
    }
    Ok(variants(texts))
}

/// With slashes that follow one another as one, without what stands behind two of them as a host does in
/// a URL, and without parameters.
fn variants(texts: Vec<String>) -> Vec<PathReading> {
    let mut readings = Vec::new();
    let mut add = |text: String, without_parameters| {
        let reading = PathReading { text, without_parameters };
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    };
    for text in texts {
        if text.contains("//") {
            add(merge_slashes(&text), false);
        }
        if let Some(rest) = text.strip_prefix("//") {
            add(rest.find('/').map_or("/", |at| &rest[at..]).to_owned(), false);
        }
        if text.contains(';') {
            let bare = without_parameters(&text);
            add(merge_slashes(&bare), true);
            add(bare, true);
        }
        add(text, false);
    }
    readings
}

/// Refuses what no honest client sends, in any round of decoding.
fn check(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = std::str::from_utf8(bytes).or(Err("the path is not UTF-8"))?;
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("the path has a control character");
    }
    if text.contains('\\') {
        return Err("the path has a backslash");
    }
    let is_dots = |segment: &str| {
        let name = segment.split(';').next().unwrap_or(segment);
        matches!(name.trim(), "." | "..")
    };
    if text.split('/').any(is_dots) { Err("the path has a dot segment") } else { Ok(text) }
}

fn check_escapes(bytes: &[u8]) -> Result<(), &'static str> {
    let broken = |at: usize| bytes.get(at) == Some(&b'%') && escape(bytes, at).is_none();
    if (0..bytes.len()).any(broken) { Err("the path has a broken escape") } else { Ok(()) }
}

fn merge_slashes(text: &str) -> String {
    let mut merged = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

fn without_parameters(text: &str) -> String {
    let bare = text.split('/').map(|segment| segment.split(';').next().unwrap_or(segment));
    bare.collect::<Vec<_>>().join("/")
}

/// The byte that is escaped here.
fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| {
        let value = char::from(*bytes.get(at)?).to_digit(16)?;
        u8::try_from(value).ok()
    };
    (bytes.get(at) == Some(&b'%')).then_some(())?;
    Some((digit(at + 1)? << 4) | digit(at + 2)?)
}

fn has_escape(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| escape(bytes, at).is_some())
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = escape(bytes, at);
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    decoded
}

/// Decoded text in the form of [`canonical`].
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) || b"/;=&+".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            push_escaped(&mut encoded, byte);
        }
    }
    encoded
}

/// Whether a byte of a path means the same escaped or not.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$'()*,:@".contains(&byte)
}

fn push_escaped(text: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('0');
    text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

pub(super) type Pairs = Vec<(String, String)>;

/// Every way to read the query as pairs: `;` parts them for some servers.
pub(super) fn queries(query: &str) -> Result<Vec<Pairs>, &'static str> {
    let mut readings = vec![pairs(query.split('&'))?];
    if query.contains(';') {
        readings.push(pairs(query.split(['&', ';']))?);
    }
    Ok(readings)
}

/// Whether there are escapes that few servers know (`%u0061`).
pub(super) fn has_wide_escape(query: &str) -> bool {
    let mut parts = query.split("%u").skip(1);
    parts.any(|part| 4 <= part.bytes().take_while(u8::is_ascii_hexdigit).count())
}

pub(super) fn has_nul(queries: &[Pairs]) -> bool {
    queries.iter().flatten().any(|(key, value)| key.contains('\0') || value.contains('\0'))
}

fn pairs<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Pairs, &'static str> {
    let text = |part: &str| {
        let spaced = part.replace('+', " ");
        String::from_utf8_lossy(&decode(spaced.as_bytes())).into_owned()
    };
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (text(key), text(value))
    };
    let parts = parts.filter(|part| !part.is_empty());
    let pairs: Pairs = parts.take(PAIRS_MAX + 1).map(pair).collect();
    if pairs.len() > PAIRS_MAX { Err("the query has too many parts") } else { Ok(pairs) }
}

/// The headers as pairs; a value that is not UTF-8 is shown with marks in it.
pub(super) fn headers(headers: &http::HeaderMap) -> Pairs {
    let value = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, text)| (name.as_str().to_owned(), value(text))).collect()
}

/// The method, and those that the request says stand in its place.
pub(super) fn methods(head: &Head<'_>, queries: &[Pairs]) -> Vec<String> {
    let mut methods = vec![head.method.to_owned()];
    methods.extend(values(head.headers, &METHOD_OVERRIDES).map(Cow::into_owned));
    let named = queries.iter().flatten().filter(|(key, _)| loose_key(key) == METHOD_OVERRIDE_KEY);
    methods.extend(named.map(|(_, value)| value.clone()));
    methods.iter_mut().for_each(|method| method.make_ascii_uppercase());
    methods
}
