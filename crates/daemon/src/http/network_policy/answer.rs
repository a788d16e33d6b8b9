//! An answer that the gateway gives itself.

use std::collections::BTreeMap;

use api::network_policy as wire;
use egress::policy::Canned;
use http::{HeaderName, HeaderValue};

use super::{
    bounds,
    field::{Field, InvalidPolicy, short},
};

pub(super) fn canned(asked: &wire::CannedResponse, field: &Field) -> Result<Canned, InvalidPolicy> {
    let status = asked.status_code;
    if !(200..=599).contains(&status) {
        return Err(field.member("statusCode").fault("is not from 200 to 599"));
    }
    let body = asked.body.as_deref();
    if body.is_some() && asked.content_type.is_none() {
        return Err(field.member("contentType").fault("is needed with a `body`"));
    }
    if body.is_some() && [204, 205, 304].contains(&status) {
        return Err(field.member("body").fault(format!("is not allowed with {status}")));
    }
    let body = short(body.unwrap_or_default(), bounds::ANSWER_BYTES_MAX, &field.member("body"))?;
    let headers = answer_headers(asked, field)?;
    Ok(Canned { status, headers, body: body.as_bytes().to_vec() })
}

fn answer_headers(
    asked: &wire::CannedResponse,
    field: &Field,
) -> Result<Vec<(String, String)>, InvalidPolicy> {
    const MANAGED: [&str; 3] = ["connection", "content-length", "transfer-encoding"];
    let mut made = BTreeMap::new();
    let own = asked
        .headers
        .iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value, field.member("headers").key(name)));
    let content_type =
        asked.content_type.iter().map(|value| ("content-type", value, field.member("contentType")));
    for (name, value, field) in own.chain(content_type) {
        short(name, bounds::NAME_BYTES_MAX, &field)?;
        short(value, bounds::HEADER_BYTES_MAX, &field)?;
        let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(field.fault("is no name of a header"));
        };
        if MANAGED.contains(&parsed.as_str()) {
            return Err(field.fault("the gateway sets this header itself"));
        }
        if HeaderValue::from_str(value).is_err() {
            return Err(field.fault("the value has a character that no header may have"));
        }
        if made.insert(parsed.as_str().to_owned(), value.clone()).is_some() {
            return Err(field.fault("the header comes twice"));
        }
    }
    if bounds::HEADERS_MAX < made.len() {
        return Err(field
            .member("headers")
            .fault(format!("has more than {}", bounds::HEADERS_MAX)));
    }
    Ok(made.into_iter().collect())
}
