//! Whether a request fits what a rule asks for, in every way in which it can be read.

use super::{
    Action, Domain, Head, Match, PairMatch, Rule, TextMatch, loose_key,
    reading::{self, Pairs, PathReading, Target},
    with_dashes,
};

/// Whether a request is what a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    No,
    Yes,
    /// In one reading it is, and in another it is not.
    Unclear,
}

impl Fit {
    /// Of several readings of one thing.
    fn of(readings: impl IntoIterator<Item = bool>) -> Self {
        let (mut some, mut all) = (false, true);
        for reading in readings {
            some |= reading;
            all &= reading;
        }
        match (some, all) {
            (true, true) => Self::Yes,
            (true, false) => Self::Unclear,
            (false, _) => Self::No,
        }
    }

    /// Of several things that must all be.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unclear, _) | (_, Self::Unclear) => Self::Unclear,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

/// How text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    AsWritten,
    /// As the most forgiving server does: a rule that denies must not be dodged by `/Admin`, `/admin/`
    /// or `x_admin: 1`. Regular expressions are compared as written.
    Widely,
}

/// Where pairs stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Query,
    Headers,
}

/// A request in all its readings.
#[derive(Debug)]
pub(super) struct Asked {
    paths: Vec<PathReading>,
    queries: Vec<Pairs>,
    headers: Pairs,
    methods: Vec<String>,
}

impl Asked {
    /// Reads as much of the request as the domain's rules look at.
    pub(super) fn of(domain: &Domain, head: &Head<'_>) -> Result<Self, &'static str> {
        if domain.looks_at_paths() && reading::is_shifted(head.headers) {
            return Err("a header takes a part of the path away");
        }
        let (mut paths, mut queries) = (Vec::new(), Vec::new());
        for Target { path, query } in reading::targets(head) {
            if domain.looks_at_paths() {
                paths.extend(reading::paths(&path)?);
            }
            let query = query.as_deref().unwrap_or_default();
            if domain.looks_at_queries() && reading::has_wide_escape(query) {
                return Err("the query has escapes that few servers know");
            }
            queries.extend(reading::queries(query)?);
        }
        // Some servers stop reading a value where it is.
        if domain.looks_at_queries() && reading::has_nul(&queries) {
            return Err("the query has a NUL");
        }
        let methods = reading::methods(head, &queries);
        Ok(Self { paths, queries, headers: reading::headers(head.headers), methods })
    }

    pub(super) fn fit(&self, rule: &Rule) -> Fit {
        let how = match rule.then {
            Action::Deny => Compare::Widely,
            Action::Send(_) | Action::Forward(_) | Action::Respond(_) => Compare::AsWritten,
        };
        let Match { path, methods, query, headers } = &rule.when;
        let path = path.as_ref().map_or(Fit::Yes, |text| self.fit_path(text, how));
        let queries = query.iter().map(|wanted| {
            let fits = self.queries.iter().map(|pairs| fit_pairs(wanted, pairs, Place::Query, how));
            fits.reduce(Fit::either).unwrap_or(Fit::No)
        });
        let headers =
            headers.iter().map(|wanted| fit_pairs(wanted, &self.headers, Place::Headers, how));
        queries.chain(headers).fold(path.and(self.fit_method(methods)), Fit::and)
    }

    fn fit_method(&self, wanted: &[String]) -> Fit {
        if wanted.is_empty() {
            return Fit::Yes;
        }
        let is_wanted = |method: &String| wanted.iter().any(|one| one.eq_ignore_ascii_case(method));
        Fit::of(self.methods.iter().map(is_wanted))
    }

    fn fit_path(&self, wanted: &TextMatch, how: Compare) -> Fit {
        // Who writes parameters into a rule knows that the server heeds them.
        let knows_parameters = text_of(wanted).contains(';');
        let readings =
            self.paths.iter().filter(|path| !(knows_parameters && path.without_parameters));
        Fit::of(readings.map(|path| path_is(wanted, &path.text, how)))
    }
}

impl Fit {
    /// Of two readings of one thing.
    fn either(self, other: Self) -> Self {
        if self == other { self } else { Self::Unclear }
    }
}

impl Domain {
    /// Whether it matters what a server takes a path for. A path that is added to another must not
    /// climb out of it.
    fn looks_at_paths(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.when.path.is_some() || matches!(rule.then, Action::Forward(_)))
    }
}

impl Domain {
    /// Whether it matters what a server takes a query for. A method may stand in it, too.
    fn looks_at_queries(&self) -> bool {
        self.rules.iter().any(|rule| !rule.when.query.is_empty() || !rule.when.methods.is_empty())
    }
}

fn text_of(wanted: &TextMatch) -> &str {
    match wanted {
        TextMatch::Exact(text) | TextMatch::StartsWith(text) => text,
        TextMatch::Regex(pattern) => pattern.as_str(),
    }
}

fn path_is(wanted: &TextMatch, path: &str, how: Compare) -> bool {
    match (wanted, how) {
        (TextMatch::Exact(text), Compare::Widely) => {
            let bare = |text: &'_ str| text.trim_end_matches('/').to_ascii_lowercase();
            bare(text) == bare(path)
        }
        (TextMatch::Exact(_) | TextMatch::StartsWith(_) | TextMatch::Regex(_), _) => {
            text_is(wanted, path, how)
        }
    }
}

fn text_is(wanted: &TextMatch, text: &str, how: Compare) -> bool {
    match (wanted, how) {
        (TextMatch::Exact(wanted), Compare::AsWritten) => wanted == text,
        (TextMatch::Exact(wanted), Compare::Widely) => wanted.eq_ignore_ascii_case(text),
        (TextMatch::StartsWith(wanted), Compare::AsWritten) => text.starts_with(wanted.as_str()),
        (TextMatch::StartsWith(wanted), Compare::Widely) => text
            .as_bytes()
            .get(..wanted.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes())),
        (TextMatch::Regex(pattern), _) => pattern.is_match(text),
    }
}

/// Whether a name is as wanted. Many servers take `_` in a header's for `-`, and PHP `.` in a query's
/// for `_`; many take `key[]` for `key`.
fn name_is(wanted: &TextMatch, name: &str, place: Place, how: Compare) -> bool {
    let is = match wanted {
        TextMatch::Exact(_) => str::eq,
        TextMatch::StartsWith(_) => |name: &str, wanted: &str| name.starts_with(wanted),
        TextMatch::Regex(_) => return text_is(wanted, name, how),
    };
    let text = text_of(wanted);
    match (how, place) {
        (Compare::AsWritten, _) => text_is(wanted, name, how),
        (Compare::Widely, Place::Headers) => is(&with_dashes(name), &with_dashes(text)),
        (Compare::Widely, Place::Query) => {
            let (name, text) = (loose_key(name), loose_key(text));
            let bare = name.split('[').next().unwrap_or_default();
            is(&name, &text) || is(bare, &text)
        }
    }
}

/// Whether one of the pairs is as wanted. Where a key is named and comes again with another value,
/// which of them the server takes is not known.
fn fit_pairs(wanted: &PairMatch, pairs: &Pairs, place: Place, how: Compare) -> Fit {
    let key_is =
        |key: &str, how| wanted.key.as_ref().is_none_or(|text| name_is(text, key, place, how));
    let value_is = |value: &str| {
        wanted.value.as_ref().is_none_or(|text| text_is(text, value, Compare::AsWritten))
    };
    if !pairs.iter().any(|(key, value)| key_is(key, how) && value_is(value)) {
        return Fit::No;
    }
    let names_a_key = matches!(wanted.key, Some(TextMatch::Exact(_)));
    let contradicts =
        |(key, value): &(String, String)| key_is(key, Compare::Widely) && !value_is(value);
    if names_a_key && pairs.iter().any(contradicts) { Fit::Unclear } else { Fit::Yes }
}
