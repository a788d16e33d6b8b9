//! Where a secret goes in a request, to whom it may go, and what it drives out.

use std::collections::BTreeSet;

use api::network_policy as wire;
use egress::{
    policy::{Credential, HostPattern, Pin, Place},
    secret::SecretName,
};
use http::{HeaderName, HeaderValue};

use super::{
    Source, bounds,
    field::{Field, InvalidPolicy, bounded, short},
    rules::header_name,
};
use crate::causes;

pub(super) fn credential(
    asked: &wire::CredentialUse,
    source: Source<'_>,
    field: &Field,
) -> Result<Credential, InvalidPolicy> {
    let secret = SecretName::parse(&asked.secret)
        .map_err(|error| field.member("secret").fault(causes(&error)))?;
    let named = |name: Option<&String>, own: &str, field: &Field| match name {
        Some(name) if name.is_empty() => Err(field.fault("is empty")),
        Some(name) => short(name, bounds::NAME_BYTES_MAX, field).map(str::to_owned),
        None => Ok(own.to_owned()),
    };
    let place = match (&asked.header, &asked.basic, &asked.query, asked.placeholder) {
        (Some(header), None, None, None) => header_place(header, &field.member("header"))?,
        (None, None, None, None) => header_place(&wire::CredentialHeader::default(), field)?,
        (None, Some(basic), None, None) => {
            let field = field.member("basic").member("user");
            let user = short(&basic.user, bounds::NAME_BYTES_MAX, &field)?;
            if user.contains(':') || user.chars().any(char::is_control) {
                return Err(field.fault("a user name has no colon and no control character"));
            }
            Place::Basic { user: user.to_owned() }
        }
        (None, None, Some(query), None) => {
            let field = field.member("query").member("name");
            Place::Query { name: named(query.name.as_ref(), "key", &field)? }
        }
        (None, None, None, Some(true)) => Place::Placeholder((source.placeholder)(&secret)),
        (None, None, None, Some(false)) => {
            return Err(field.member("placeholder").fault("is true or absent"));
        }
        (_, _, _, _) => {
            let fault = "one of `header`, `basic`, `query` and `placeholder` is given at most";
            return Err(field.fault(fault));
        }
    };
    Ok(Credential { secret, place })
}

fn header_place(asked: &wire::CredentialHeader, field: &Field) -> Result<Place, InvalidPolicy> {
    let name = asked.name.as_deref().unwrap_or("authorization");
    let name = header_name(name, &field.member("name"))?;
    let own = if name == "authorization" { "Bearer " } else { "" };
    let (prefix, field) = (asked.prefix.as_deref().unwrap_or(own), field.member("prefix"));
    short(prefix, bounds::NAME_BYTES_MAX, &field)?;
    if HeaderValue::from_str(prefix).is_err() {
        return Err(field.fault("has a character that no header may have"));
    }
    Ok(Place::Header { name, prefix: prefix.to_owned() })
}

/// A secret goes to hosts of one owner: the last two parts of the name are fixed.
pub(super) fn narrow(pattern: &HostPattern, field: &Field) -> Result<(), InvalidPolicy> {
    let fixed = match pattern {
        HostPattern::Any => false,
        HostPattern::Exact(_) => true,
        HostPattern::Wild(labels) => {
            2 < labels.len() && labels.iter().rev().take(2).all(Option::is_some)
        }
    };
    if fixed {
        Ok(())
    } else {
        Err(field.fault(format!("a secret may not go to whatever matches `{pattern}`")))
    }
}

pub(super) fn pin(asked: &wire::PinUse, field: &Field) -> Result<Pin, InvalidPolicy> {
    let beside = match asked {
        wire::PinUse::Switch(false) => return Ok(Pin::Off),
        wire::PinUse::Switch(true) => &wire::PinBeside::default(),
        wire::PinUse::Beside(beside) => beside,
    };
    let names = |list: &[String], field: &Field, is_name: fn(&str) -> bool| {
        let check = |(index, name): (usize, &String)| {
            let field = field.index(index);
            let name = short(name, bounds::NAME_BYTES_MAX, &field)?;
            if is_name(name) {
                Ok(name.to_ascii_lowercase())
            } else {
                Err(field.fault("is no name"))
            }
        };
        let list = bounded(list, bounds::HEADERS_MAX, field)?;
        list.iter().enumerate().map(check).collect::<Result<BTreeSet<String>, _>>()
    };
    let is_header = |name: &str| HeaderName::from_bytes(name.as_bytes()).is_ok();
    let is_key = |name: &str| !name.is_empty();
    Ok(Pin::On {
        headers: names(&beside.headers, &field.member("headers"), is_header)?,
        query: names(&beside.query, &field.member("query"), is_key)?,
    })
}
