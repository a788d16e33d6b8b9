//! What a rule asks of a request.

use api::network_policy as wire;
use egress::policy::{Match, PairMatch, Pattern, TextMatch, canonical_path};

use super::{
    bounds,
    field::{Field, InvalidPolicy, bounded, short},
};

pub(super) fn when(asked: Option<&wire::Match>, field: &Field) -> Result<Match, InvalidPolicy> {
    let Some(asked) = asked else { return Ok(Match::default()) };
    let path = asked.path.as_ref().map(|path| path_match(path, &field.member("path")));
    let methods = asked.method.as_deref().map(|names| methods(names, &field.member("method")));
    let query = pairs(asked.query_string.as_deref(), str::to_owned, &field.member("queryString"))?;
    // Names of headers are compared in lower case.
    let headers =
        pairs(asked.headers.as_deref(), str::to_ascii_lowercase, &field.member("headers"))?;
    let methods = methods.transpose()?.unwrap_or_default();
    Ok(Match { path: path.transpose()?, methods, query, headers })
}

fn methods(names: &[String], field: &Field) -> Result<Vec<String>, InvalidPolicy> {
    if names.is_empty() {
        return Err(field.fault("no method is in the list; leave it out to match any"));
    }
    let check = |(index, name): (usize, &String)| {
        let field = field.index(index);
        let name = short(name, bounds::METHOD_BYTES_MAX, &field)?;
        match http::Method::from_bytes(name.as_bytes()) {
            Ok(_) => Ok(name.to_ascii_uppercase()),
            Err(_) => Err(field.fault(format!("{name:?} is no method"))),
        }
    };
    bounded(names, bounds::MATCHERS_MAX, field)?.iter().enumerate().map(check).collect()
}

fn path_match(asked: &wire::TextMatch, field: &Field) -> Result<TextMatch, InvalidPolicy> {
    let plain = |text: String| {
        if text.contains('?') {
            return Err(
                field.fault("a path ends before `?`; the query is matched by `queryString`")
            );
        }
        if !text.is_empty() && !text.starts_with('/') && text != "*" {
            return Err(field.fault("a path begins with /"));
        }
        Ok(canonical_path(&text))
    };
    match text_match(asked, field)? {
        TextMatch::Exact(text) => plain(text).map(TextMatch::Exact),
        TextMatch::StartsWith(text) => plain(text).map(TextMatch::StartsWith),
        regex @ TextMatch::Regex(_) => Ok(regex),
    }
}

fn pairs(
    asked: Option<&[wire::PairMatch]>,
    key_form: fn(&str) -> String,
    field: &Field,
) -> Result<Vec<PairMatch>, InvalidPolicy> {
    let asked = bounded(asked.unwrap_or_default(), bounds::MATCHERS_MAX, field)?;
    let pair = |(index, pair): (usize, &wire::PairMatch)| {
        let field = field.index(index);
        let text = |name, text: Option<&wire::TextMatch>| {
            text.map(|text| text_match(text, &field.member(name))).transpose()
        };
        if pair.key.is_none() && pair.value.is_none() {
            return Err(field.fault("neither `key` nor `value` is given"));
        }
        let key = text("key", pair.key.as_ref())?.map(|key| match key {
            TextMatch::Exact(text) => TextMatch::Exact(key_form(&text)),
            TextMatch::StartsWith(text) => TextMatch::StartsWith(key_form(&text)),
            regex @ TextMatch::Regex(_) => regex,
        });
        Ok(PairMatch { key, value: text("value", pair.value.as_ref())? })
    };
    asked.iter().enumerate().map(pair).collect()
}

fn text_match(asked: &wire::TextMatch, field: &Field) -> Result<TextMatch, InvalidPolicy> {
    match (&asked.exact, &asked.starts_with, &asked.regex) {
        (Some(text), None, None) => {
            short(text, bounds::MATCH_BYTES_MAX, &field.member("exact"))?;
            Ok(TextMatch::Exact(text.clone()))
        }
        (None, Some(text), None) => {
            short(text, bounds::MATCH_BYTES_MAX, &field.member("startsWith"))?;
            Ok(TextMatch::StartsWith(text.clone()))
        }
        (None, None, Some(text)) => {
            let field = field.member("regex");
            short(text, bounds::REGEX_BYTES_MAX, &field)?;
            let pattern = Pattern::parse(text).map_err(|error| {
                // The crate draws the pattern over several lines; the last says what is wrong.
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                field.fault(format!("is no regular expression: {reason}"))
            })?;
            Ok(TextMatch::Regex(pattern))
        }
        (_, _, _) => Err(field.fault("exactly one of `exact`, `startsWith` and `regex` is given")),
    }
}
