//! The questions by table, and against a naive model.

mod addresses;
mod explaining;
mod naive;
mod names;
mod patterns;
mod presets;
mod requests;
mod servers;

use http::HeaderMap;

use super::*;
use crate::host::Host;

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn cidr(text: &str) -> Cidr {
    Cidr::parse(text).unwrap()
}

/// `name` or `name:port`.
fn domain(text: &str, rules: Vec<Rule>) -> Domain {
    let (pattern, port) = match text.rsplit_once(':') {
        Some((pattern, port)) => (pattern, Some(port.parse().unwrap())),
        None => (text, None),
    };
    Domain { pattern: HostPattern::parse(pattern).unwrap(), port, rules, preset: None }
}

fn listed(domains: Vec<Domain>) -> Policy {
    Policy { domains, ..Policy::default() }
}

fn public(domains: Vec<Domain>) -> Policy {
    Policy { reach: Reach::Public, domains, ..Policy::default() }
}

fn rule(when: Match, then: Action) -> Rule {
    Rule { when, then }
}

fn allow(when: Match) -> Rule {
    rule(when, Action::Send(Edits::default()))
}

fn deny(when: Match) -> Rule {
    rule(when, Action::Deny)
}

fn every() -> Match {
    Match::default()
}

fn methods(names: &[&str]) -> Match {
    Match { methods: names.iter().map(|&name| name.to_owned()).collect(), ..Match::default() }
}

fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.to_owned())
}

fn starts(text: &str) -> TextMatch {
    TextMatch::StartsWith(text.to_owned())
}

fn regex(text: &str) -> TextMatch {
    TextMatch::Regex(Pattern::parse(text).unwrap())
}

fn path(text: TextMatch) -> Match {
    Match { path: Some(text), ..Match::default() }
}

fn query(key: TextMatch, value: TextMatch) -> Match {
    Match { query: vec![PairMatch { key: Some(key), value: Some(value) }], ..Match::default() }
}

/// An answer in one line: `+rule` or `-rule: why`.
fn told(answer: Result<Grant, Denial>) -> String {
    match answer {
        Ok(grant) => format!("+{}", grant.rule),
        Err(denial) => format!("-{}: {}", denial.rule, denial.why),
    }
}

/// The same with the treatment: `raw`, `spliced` or `opened` before the rule.
fn treated(answer: Result<Treatment, Denial>) -> String {
    match answer {
        Ok(Treatment::Raw(grant)) => format!("raw {}", grant.rule),
        Ok(Treatment::Inspect { grant, opened: false }) => format!("spliced {}", grant.rule),
        Ok(Treatment::Inspect { grant, opened: true }) => format!("opened {}", grant.rule),
        Err(denial) => format!("-{}: {}", denial.rule, denial.why),
    }
}

/// The answer to `METHOD /path?query` with headers, on 443.
fn ruled(policy: &Policy, name: &str, request: &str, headers: &[(&str, &str)]) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    let head = Head { method, path, query, headers: &map };
    match policy.request(&host(name), 443, &head) {
        Ok(Ruling::Send { rule, edits, .. }) => {
            format!("+{rule}{}", if edits.is_some() { "" } else { " unchanged" })
        }
        Ok(Ruling::Forward { rule, .. }) => format!("forward {rule}"),
        Ok(Ruling::Respond { rule, .. }) => format!("respond {rule}"),
        Err(Denial { rule, why: Why::Malformed(_) }) => format!("malformed {rule}"),
        Err(denial) => format!("-{}: {}", denial.rule, denial.why),
    }
}
