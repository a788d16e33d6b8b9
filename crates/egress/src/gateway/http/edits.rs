//! What is changed in a request before it leaves: identities taken out, headers set, secrets put in.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts};
use zeroize::Zeroizing;

use super::{alike, pin, placeholder, query};
use crate::{
    policy::{Credential, Edits, Pin, Place, Why, is_identity_header, with_dashes},
    secret::{SecretName, SecretText},
};

/// Whether what is put into a request can be read on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// TLS, to a host whose certificate was verified.
    Sealed,
    /// Plain HTTP. No secret goes there, whatever a rule says: anybody on the way could take it.
    Open,
}

/// What was put in.
#[derive(Default)]
pub(crate) struct Injected {
    /// The names of the secrets.
    pub(crate) names: Vec<String>,
    /// Their values in every form in which they were written, for looking through the reply.
    pub(crate) texts: Vec<Zeroizing<Vec<u8>>>,
}

/// Edits a request to a host of the domain that the edits are of.
pub(crate) fn apply(
    parts: &mut Parts,
    edits: Option<&Edits>,
    pinned: &Pin,
    secrets: &BTreeMap<SecretName, SecretText>,
    way: Way,
) -> Result<Injected, Why> {
    let mut injected = Injected::default();
    let (set, credentials) =
        edits.map_or((&[][..], &[][..]), |edits| (&edits.headers, &edits.credentials));
    if let Pin::On { headers, query } = pinned {
        let ours: Vec<&str> = credentials.iter().filter_map(placeholder_of).collect();
        pin::headers(&mut parts.headers, headers, &ours);
        if let Some(kept) = parts.uri.query().and_then(|text| pin::query(text, query)) {
            parts.uri = with_query(&parts.uri, &kept)?;
        }
    }
    // The server is to find ours under a name, and nothing beside it.
    let edited = set.iter().map(|edit| edit.name.as_str());
    let named = edited.chain(credentials.iter().filter_map(header_of));
    let set_by_us: Vec<Cow<'_, str>> = named.map(with_dashes).collect();
    alike::take_out(&mut parts.headers, |name| set_by_us.iter().any(|ours| ours == name));
    for edit in set {
        if way == Way::Open {
            return Err(Why::InTheClear);
        }
        let value = edit.value.expose();
        put(&mut parts.headers, &edit.name, value)?;
        // A header that says who sends the request holds a secret; any other may hold a word that
        // replies are full of.
        if is_identity_header(&edit.name) {
            let words = value.split([' ', ';']).flat_map(|word| [Some(word), after_name(word)]);
            let texts = words.flatten().map(|word| Zeroizing::new(word.as_bytes().to_vec()));
            injected.texts.extend(texts);
        }
    }
    for credential in credentials {
        let name = &credential.secret;
        let secret = secrets.get(name).ok_or_else(|| Why::NoSecret(name.to_string()))?;
        let put_in = place(parts, &credential.place, secret, &mut injected.texts)?;
        if put_in && way == Way::Open {
            return Err(Why::InTheClear);
        }
        if put_in {
            injected.names.push(name.to_string());
        }
    }
    Ok(injected)
}

/// The value of a cookie.
fn after_name(pair: &str) -> Option<&str> {
    pair.split_once('=').map(|(_, value)| value)
}

fn header_of(credential: &Credential) -> Option<&str> {
    match &credential.place {
        Place::Header { name, .. } => Some(name),
        Place::Basic { .. } => Some(header::AUTHORIZATION.as_str()),
        Place::Placeholder(_) | Place::Query { .. } => None,
    }
}

fn placeholder_of(credential: &Credential) -> Option<&str> {
    match &credential.place {
        Place::Placeholder(text) => Some(text),
        Place::Header { .. } | Place::Basic { .. } | Place::Query { .. } => None,
    }
}

/// Puts one secret in; whether there was a place for it.
fn place(
    parts: &mut Parts,
    place: &Place,
    secret: &SecretText,
    texts: &mut Vec<Zeroizing<Vec<u8>>>,
) -> Result<bool, Why> {
    let exposed = secret.expose();
    let keep = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    match place {
        Place::Header { name, prefix } => {
            let value = Zeroizing::new(format!("{prefix}{exposed}"));
            put(&mut parts.headers, name, &value)?;
        }
        Place::Basic { user } => {
            let pair = Zeroizing::new(format!("{user}:{exposed}"));
            let encoded = Zeroizing::new(BASE64.encode(pair.as_bytes()));
            let value = Zeroizing::new(format!("Basic {}", *encoded));
            put(&mut parts.headers, header::AUTHORIZATION.as_str(), &value)?;
            texts.push(keep(&encoded));
        }
        Place::Query { name } => {
            let query = query::with(parts.uri.query(), name, exposed);
            parts.uri = with_query(&parts.uri, &query)?;
            texts.push(keep(&query::with(None, "", exposed)[1..]));
        }
        Place::Placeholder(text) => {
            if !placeholder::replace(&mut parts.headers, text, secret, texts)? {
                return Ok(false);
            }
        }
    }
    texts.push(keep(exposed));
    Ok(true)
}

/// Sets a header in place of all under its name.
fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Why> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_error| Why::Malformed("a rule sets a header whose name is none"))?;
    if FRAMING.contains(&name) {
        return Err(Why::Malformed("a rule sets a header that says where a request ends or goes"));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_error| Why::Malformed("a rule sets a header to what no header can hold"))?;
    // Never put into a table that both ends of HTTP/2 keep.
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

const FRAMING: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn with_query(uri: &Uri, query: &str) -> Result<Uri, Why> {
    let path = uri.path();
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let text = Zeroizing::new(text);
    let mut parts = uri.clone().into_parts();
    let unfit = |_error| Why::Malformed("the query cannot hold what a rule puts in");
    parts.path_and_query = Some(text.parse().map_err(unfit)?);
    Uri::from_parts(parts).map_err(|_error| Why::Malformed("the URL cannot be put together"))
}

#[cfg(test)]
mod tests;
