//! What is shown, asked for again with the values of its headers, is the same policy.

use api::network_policy::{
    Allow, CannedResponse, CredentialUse, Match, Mode, Ordered, PairMatch, PinUse, ReplyMode, Rule,
    RuleAction, RuleReply, SecretHeaders, Subnets, TextMatch, Transform,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

const NAMES: [&str; 6] =
    ["a.com", "*.a.com", "www.*.com", "*", "db.a.com:5432", "xn--bcher-kva.example"];

fn some_text(texts: &'static [&'static str]) -> impl Strategy<Value = TextMatch> {
    (select(texts), 0..3).prop_map(|(text, kind)| {
        let (text, none) = (Some(text.to_owned()), TextMatch::default());
        match kind {
            0 => TextMatch { exact: text, ..none },
            1 => TextMatch { starts_with: text, ..none },
            _ => TextMatch { regex: text, ..none },
        }
    })
}

fn some_match() -> impl Strategy<Value = Match> {
    let pair = || {
        (some_text(&["k", "x-key"]), option::of(some_text(&["v", "V w"])))
            .prop_map(|(key, value)| PairMatch { key: Some(key), value })
    };
    let pairs = || option::of(vec(pair(), 1..3));
    let methods = option::of(vec(select(&["GET", "PUT"]).prop_map(str::to_owned), 1..3));
    (option::of(some_text(&["/", "/a/b", "/a%20b"])), methods, pairs(), pairs()).prop_map(
        |(path, method, query_string, headers)| Match { path, method, query_string, headers },
    )
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let headers = |name: &str| SecretHeaders([(name.to_owned(), "v".to_owned())].into());
    let transform = |name| Rule {
        transform: Some(vec![Transform { headers: Some(headers(name)) }]),
        ..Rule::default()
    };
    let response = CannedResponse {
        status_code: 403,
        body: Some("no".to_owned()),
        content_type: Some("text/plain".to_owned()),
        headers: None,
    };
    let credential = CredentialUse { secret: "K".to_owned(), ..CredentialUse::default() };
    let to = prop_oneof![
        Just(Rule { action: Some(RuleAction::Allow), ..Rule::default() }),
        Just(Rule { action: Some(RuleAction::Deny), ..Rule::default() }),
        Just(transform("x-a")),
        Just(transform("authorization")),
        Just(Rule { pin: Some(PinUse::Switch(true)), ..transform("x-b") }),
        Just(Rule { forward_url: Some("https://b.com/c".to_owned()), ..Rule::default() }),
        Just(Rule { response: Some(response), ..Rule::default() }),
        Just(Rule {
            credential: Some(CredentialUse { placeholder: Some(true), ..credential.clone() }),
            ..Rule::default()
        }),
        Just(Rule { credential: Some(credential), ..Rule::default() }),
    ];
    (option::of(some_match()), to).prop_map(|(when, rule)| Rule { when, ..rule })
}

fn some_policy() -> impl Strategy<Value = NetworkPolicy> {
    // A secret may not go to just any name.
    let named = (select(&NAMES), vec(some_rule(), 0..4)).prop_map(|(name, mut rules)| {
        if name.starts_with('*') || name.contains(".*.") {
            rules.retain(|rule| rule.credential.is_none());
        }
        (name.to_owned(), rules)
    });
    let domains = vec(named, 0..4).prop_map(|mut domains| {
        let mut seen = std::collections::HashSet::new();
        domains.retain(|(name, _)| seen.insert(name.clone()));
        Some(Allow::Rules(Ordered(domains)))
    });
    let nets =
        || option::of(vec(select(&["10.0.0.0/8", "fd00::/8"]).prop_map(str::to_owned), 0..3));
    let subnets = (nets(), nets()).prop_map(|(allow, deny)| Some(Subnets { allow, deny }));
    let presets = option::of(Just(vec!["github-read".to_owned()]));
    let ports = option::of(vec(1_u16.., 0..3));
    let mode = select(&[Some(Mode::AllowAll), None]);
    (mode, domains, subnets, presets, option::of(any::<bool>()), ports).prop_map(
        |(mode, allow, subnets, presets, strict, host_ports)| NetworkPolicy {
            mode,
            allow,
            subnets,
            presets,
            strict,
            host_ports,
            ..NetworkPolicy::default()
        },
    )
}

/// The request that a client would make of what it is shown, if it knew the values.
fn asked_again(shown: NetworkPolicyReply) -> NetworkPolicy {
    let allow = match shown.rules {
        Some(Ordered(domains)) => {
            let rules = |rules: Vec<RuleReply>| rules.into_iter().map(rule_again).collect();
            let domains = domains.into_iter().map(|(name, list)| (name, rules(list)));
            Allow::Rules(Ordered(domains.collect()))
        }
        None => Allow::Names(shown.allowed_domains),
    };
    let subnets = Subnets { allow: Some(shown.allowed_cidrs), deny: Some(shown.denied_cidrs) };
    NetworkPolicy {
        mode: (shown.mode == ReplyMode::AllowAll).then_some(Mode::AllowAll),
        allow: Some(allow),
        subnets: Some(subnets),
        presets: Some(shown.presets),
        strict: shown.strict,
        host_ports: Some(shown.host_ports),
        ..NetworkPolicy::default()
    }
}

fn rule_again(shown: RuleReply) -> Rule {
    let headers = shown.header_names.into_iter().map(|name| (name, "v".to_owned())).collect();
    let transform = Transform { headers: Some(SecretHeaders(headers)) };
    let is_sent = shown.action == Some(RuleAction::Allow);
    Rule {
        when: shown.when,
        action: shown.action,
        transform: is_sent.then(|| vec![transform]),
        forward_url: shown.forward_url,
        response: shown.response,
        credential: shown.credential,
        pin: shown.pin,
    }
}

proptest! {
    #[test]
    fn a_policy_survives_being_shown(asked in some_policy()) {
        let text = serde_json::to_string(&asked).unwrap();
        let read: NetworkPolicy = serde_json::from_str(&text).unwrap();
        let placeholder = |name: &SecretName| format!("FUMEHOOD_SECRET_{name}");
        let made = policy(&read, &placeholder).unwrap();
        let shown = serde_json::to_string(&reply(&made)).unwrap();
        let again: NetworkPolicyReply = serde_json::from_str(&shown).unwrap();
        let again = policy(&asked_again(again), &placeholder).unwrap();
        prop_assert_eq!(&again, &made);
        // As it goes to a gateway.
        let bytes = serde_json::to_vec(&made).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Policy>(&bytes).unwrap(), made);
    }
}
