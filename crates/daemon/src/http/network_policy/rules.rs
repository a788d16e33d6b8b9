//! One rule of a domain: what becomes of a request that fits.

use std::collections::{BTreeMap, BTreeSet};

use api::network_policy::{self as wire, RuleAction};
use egress::{
    policy::{Action, Edits, ForwardTo, HeaderEdit, HostPattern, Pin, Rule, is_identity_header},
    secret::SecretText,
};
use http::{HeaderName, HeaderValue};

use super::{
    Source,
    answer::canned,
    bounds,
    credential::{credential, narrow, pin},
    field::{Field, InvalidPolicy, bounded, short},
    matching,
};
use crate::causes;

/// What a reply of Vercel's clients shows in the place of a value.
const REDACTED: &str = "<redacted>";

/// Headers by which a connection works or a request finds its host.
const NOT_SET: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "sec-websocket-key",
];

pub(super) fn rule(
    asked: &wire::Rule,
    pattern: &HostPattern,
    source: Source<'_>,
    field: &Field,
) -> Result<Rule, InvalidPolicy> {
    let when = matching::when(asked.when.as_ref(), &field.member("match"))?;
    Ok(Rule { when, then: action(asked, pattern, source, field)? })
}

fn action(
    asked: &wire::Rule,
    pattern: &HostPattern,
    source: Source<'_>,
    field: &Field,
) -> Result<Action, InvalidPolicy> {
    let edits = [
        ("transform", asked.transform.is_some()),
        ("credential", asked.credential.is_some()),
        ("pin", asked.pin.is_some()),
    ];
    let others = [
        ("forwardURL", asked.forward_url.is_some()),
        ("response", asked.response.is_some()),
        ("action", asked.action.is_some()),
    ];
    let given: Vec<&str> =
        others.iter().chain(&edits).filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    let alone = |name: &str| {
        let other = given.iter().find(|other| **other != name);
        other.map_or(Ok(()), |other| {
            Err(field.fault(format!("`{name}` and `{other}` do not go together")))
        })
    };
    if let Some(url) = &asked.forward_url {
        alone("forwardURL")?;
        return forward(url, &field.member("forwardURL")).map(Action::Forward);
    }
    if let Some(response) = &asked.response {
        alone("response")?;
        return canned(response, &field.member("response")).map(Action::Respond);
    }
    if asked.action == Some(RuleAction::Deny) {
        alone("action")?;
        return Ok(Action::Deny);
    }
    if given.is_empty() {
        return Err(field.fault(
            "one of `action`, `transform`, `credential`, `pin`, `forwardURL` and `response` is needed",
        ));
    }
    sent(asked, pattern, source, field).map(Action::Send)
}

fn sent(
    asked: &wire::Rule,
    pattern: &HostPattern,
    source: Source<'_>,
    field: &Field,
) -> Result<Edits, InvalidPolicy> {
    let transforms = asked.transform.as_deref().unwrap_or_default();
    let headers = headers(transforms, &field.member("transform"))?;
    let use_it = |asked| {
        let field = field.member("credential");
        credential(asked, source, &field).and_then(|made| narrow(pattern, &field).map(|()| made))
    };
    let credential = asked.credential.as_ref().map(use_it).transpose()?;
    let proves =
        credential.is_some() || headers.iter().any(|header| is_identity_header(&header.name));
    let pin = match &asked.pin {
        None if proves => Pin::On { headers: BTreeSet::new(), query: BTreeSet::new() },
        None => Pin::Off,
        Some(asked) => pin(asked, &field.member("pin"))?,
    };
    Ok(Edits { headers, credentials: credential.into_iter().collect(), pin })
}

fn headers(list: &[wire::Transform], field: &Field) -> Result<Vec<HeaderEdit>, InvalidPolicy> {
    let mut made: BTreeMap<String, HeaderEdit> = BTreeMap::new();
    for (index, transform) in bounded(list, bounds::HEADERS_MAX, field)?.iter().enumerate() {
        let field = field.index(index).member("headers");
        for (name, value) in transform.headers.iter().flat_map(|headers| &headers.0) {
            let field = field.key(name);
            let name = header_name(name, &field)?;
            if value == REDACTED {
                let fault = "the value is missing: this is what a reply shows in its place";
                return Err(field.fault(fault));
            }
            short(value, bounds::HEADER_BYTES_MAX, &field)?;
            if HeaderValue::from_str(value).is_err() {
                return Err(field.fault("the value has a character that no header may have"));
            }
            let edit = HeaderEdit { name: name.clone(), value: SecretText::new(value.clone()) };
            if made.insert(name, edit).is_some() {
                return Err(field.fault("the header is set twice"));
            }
        }
        if bounds::HEADERS_MAX < made.len() {
            return Err(field.fault(format!("has more than {}", bounds::HEADERS_MAX)));
        }
    }
    Ok(made.into_values().collect())
}

/// The name in lower case, if a rule may set the header.
pub(super) fn header_name(name: &str, field: &Field) -> Result<String, InvalidPolicy> {
    short(name, bounds::NAME_BYTES_MAX, field)?;
    match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => Err(field.fault("is no name of a header")),
        Ok(name) if NOT_SET.contains(&name.as_str()) => {
            Err(field.fault("the gateway sets this header itself"))
        }
        Ok(name) => Ok(name.as_str().to_owned()),
    }
}

fn forward(url: &str, field: &Field) -> Result<ForwardTo, InvalidPolicy> {
    short(url, bounds::URL_BYTES_MAX, field)?;
    ForwardTo::parse(url).map_err(|error| field.fault(causes(&error)))
}
