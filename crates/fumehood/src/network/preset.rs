//! Presets as the API writes policies.

use std::cmp::Reverse;

use api::network_policy::{
    Allow, Match, NetworkPolicy, Ordered, PairMatch, Rule, RuleAction, TextMatch,
};
use egress::host::Host;
use egress::policy::{self, Action, Preset};

/// The preset as a policy that allows what it does, and nothing else.
pub(crate) fn as_policy(preset: &Preset) -> NetworkPolicy {
    let domains = preset.domains.iter();
    let domains = domains.map(|domain| (domain.pattern.to_string(), wire(&domain.rules))).collect();
    NetworkPolicy { allow: Some(Allow::Rules(Ordered(domains))), ..NetworkPolicy::default() }
}

/// The rules that a preset has for a host; none when it does not name it.
pub(crate) fn rules(preset: &str, host: &Host) -> Option<Vec<Rule>> {
    let mut domains = Preset::find(preset)?.domains;
    // As the gateway decides: the most specific, and of two such the one written first.
    domains.sort_by_key(|domain| Reverse(domain.pattern.specificity()));
    domains.iter().find(|domain| domain.pattern.matches(host)).map(|domain| wire(&domain.rules))
}

fn wire(rules: &[policy::Rule]) -> Vec<Rule> {
    rules.iter().map(rule).collect()
}

/// Presets allow and deny; what else a rule can do is in none of them.
fn rule(rule: &policy::Rule) -> Rule {
    let action = match rule.then {
        Action::Send(_) => RuleAction::Allow,
        Action::Deny | Action::Forward(_) | Action::Respond(_) => RuleAction::Deny,
    };
    Rule { when: matching(&rule.when), action: Some(action), ..Rule::default() }
}

fn matching(when: &policy::Match) -> Option<Match> {
    let pairs = |pairs: &[policy::PairMatch]| {
        let wire = |pair: &policy::PairMatch| PairMatch {
            key: pair.key.as_ref().map(text),
            value: pair.value.as_ref().map(text),
        };
        (!pairs.is_empty()).then(|| pairs.iter().map(wire).collect())
    };
    let wire = Match {
        path: when.path.as_ref().map(text),
        method: (!when.methods.is_empty()).then(|| when.methods.clone()),
        query_string: pairs(&when.query),
        headers: pairs(&when.headers),
    };
    (wire != Match::default()).then_some(wire)
}

fn text(text: &policy::TextMatch) -> TextMatch {
    match text {
        policy::TextMatch::Exact(exact) => {
            TextMatch { exact: Some(exact.clone()), ..TextMatch::default() }
        }
        policy::TextMatch::StartsWith(start) => {
            TextMatch { starts_with: Some(start.clone()), ..TextMatch::default() }
        }
        policy::TextMatch::Regex(pattern) => {
            TextMatch { regex: Some(pattern.as_str().to_owned()), ..TextMatch::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_told_whole() {
        for name in Preset::names() {
            let preset = Preset::find(name).unwrap();
            let Some(Allow::Rules(Ordered(domains))) = as_policy(&preset).allow else { panic!() };
            assert_eq!(domains.len(), preset.domains.len(), "{name}");
            for ((_, told), domain) in domains.iter().zip(&preset.domains) {
                assert_eq!(told.len(), domain.rules.len(), "{name}");
                // A rule that does something else would be told as one that denies.
                let known =
                    |rule: &policy::Rule| matches!(rule.then, Action::Deny | Action::Send(_));
                assert!(domain.rules.iter().all(known), "{name}");
            }
        }
    }

    #[test]
    fn the_rules_of_one_host() {
        let host = |text| Host::parse(text).unwrap();
        let found = rules("registries-read", &host("pypi.org")).unwrap();
        let found = serde_json::to_value(found).unwrap();
        assert_eq!(
            found,
            serde_json::json!([
                {"match": {"method": ["GET", "HEAD"]}, "action": "allow"},
                {"action": "deny"},
            ])
        );
        assert_eq!(rules("registries-read", &host("pypi.org.evil.test")), None);
        assert_eq!(rules("nothing", &host("pypi.org")), None);
    }
}
