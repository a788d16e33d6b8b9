//! Presets: lists of domains with their rules that come with the program, as data.
//!
//! A preset is written as a policy is in the API: rules with `match` and `action`, in the order in
//! which they are tried.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Action, Domain, Edits, HostPattern, Match, PairMatch, Pattern, Rule, TextMatch};

/// Each preset, and its text.
const PRESETS: [(&str, &str); 3] = [
    ("github-read", include_str!("presets/github-read.json")),
    ("llm-apis", include_str!("presets/llm-apis.json")),
    ("registries-read", include_str!("presets/registries-read.json")),
];

/// A named list of domains.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    pub name: &'static str,
    /// What it lets through and what not, for people.
    pub about: String,
    pub domains: Vec<Domain>,
}

impl Preset {
    /// The names of all presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.into_iter().map(|(name, _)| name)
    }

    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let (name, text) = PRESETS.into_iter().find(|(known, _)| *known == name)?;
        let file: File = serde_json::from_str(text).expect("a test reads every preset");
        let domains = file.groups.into_iter().flat_map(|group| group.domains(name)).collect();
        Some(Self { name, about: file.about, domains })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    groups: Vec<Group>,
}

/// Domains that have the same rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    domains: Vec<String>,
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(default, rename = "match")]
    when: MatchText,
    action: ActionText,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionText {
    Allow,
    Deny,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct MatchText {
    method: Vec<String>,
    path: Option<TextMatchText>,
    query_string: Vec<BTreeMap<PairPart, TextMatchText>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PairPart {
    Key,
    Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum TextMatchText {
    Exact(String),
    StartsWith(String),
    Regex(Pattern),
}

impl Group {
    fn domains(self, preset: &'static str) -> impl Iterator<Item = Domain> {
        let rules: Vec<Rule> = self.rules.into_iter().map(RuleText::rule).collect();
        self.domains.into_iter().map(move |text| Domain {
            pattern: HostPattern::parse(&text).expect("a test reads every preset"),
            port: None,
            rules: rules.clone(),
            preset: Some(preset.to_owned()),
        })
    }
}

impl RuleText {
    fn rule(self) -> Rule {
        let pair = |mut parts: BTreeMap<PairPart, TextMatchText>| PairMatch {
            key: parts.remove(&PairPart::Key).map(TextMatchText::text_match),
            value: parts.remove(&PairPart::Value).map(TextMatchText::text_match),
        };
        let when = Match {
            path: self.when.path.map(TextMatchText::text_match),
            methods: self.when.method,
            query: self.when.query_string.into_iter().map(pair).collect(),
            headers: Vec::new(),
        };
        let then = match self.action {
            ActionText::Allow => Action::Send(Edits::default()),
            ActionText::Deny => Action::Deny,
        };
        Rule { when, then }
    }
}

impl TextMatchText {
    fn text_match(self) -> TextMatch {
        match self {
            Self::Exact(text) => TextMatch::Exact(text),
            Self::StartsWith(text) => TextMatch::StartsWith(text),
            Self::Regex(pattern) => TextMatch::Regex(pattern),
        }
    }
}
