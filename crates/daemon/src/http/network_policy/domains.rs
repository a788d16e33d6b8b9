//! The domains of a policy, gathered from lists, objects and the old form's rules.

use std::collections::{HashMap, HashSet};

use api::network_policy::{self as wire, NetworkPolicy};
use egress::{
    address::HOST_NAME,
    host::InvalidHost,
    policy::{Action, Domain, HostPattern, InvalidPattern, Rule, TextMatch},
};

use super::{
    Source, bounds,
    field::{Field, InvalidPolicy, bounded},
    rules,
};
use crate::causes;

type Key = (String, Option<u16>);

/// Domains under way, in the order in which they were first named.
pub(super) struct Domains<'a> {
    source: Source<'a>,
    domains: Vec<Domain>,
    /// Where each is in the list.
    places: HashMap<Key, usize>,
    rules: usize,
    regexes: usize,
    forwards: HashSet<String>,
}

impl<'a> Domains<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            domains: Vec::new(),
            places: HashMap::new(),
            rules: 0,
            regexes: 0,
            forwards: HashSet::new(),
        }
    }

    /// Names alone; one that comes twice is one.
    pub(super) fn add_names(
        &mut self,
        names: &[String],
        list: &Field,
    ) -> Result<(), InvalidPolicy> {
        for (index, name) in bounded(names, bounds::DOMAINS_MAX, list)?.iter().enumerate() {
            self.place(name, &list.index(index))?;
        }
        Ok(())
    }

    /// Names with their rules; two that are one name in different spellings are refused.
    pub(super) fn add_rules(
        &mut self,
        named: &[(String, Vec<wire::Rule>)],
        object: &Field,
    ) -> Result<(), InvalidPolicy> {
        let mut seen = HashSet::new();
        for (name, asked) in bounded(named, bounds::DOMAINS_MAX, object)? {
            let field = object.key(name);
            let place = self.place(name, &field)?;
            if !seen.insert(place) {
                return Err(field.fault("the same domain comes twice"));
            }
            for (index, rule) in
                bounded(asked, bounds::RULES_OF_DOMAIN_MAX, &field)?.iter().enumerate()
            {
                self.add_rule(place, rule, &field.index(index))?;
            }
        }
        Ok(())
    }

    /// The lists of the old form, in which each rule names its domain.
    pub(super) fn add_old_form(
        &mut self,
        asked: &NetworkPolicy,
        root: &Field,
    ) -> Result<(), InvalidPolicy> {
        let names = asked.allowed_domains.as_deref().unwrap_or_default();
        self.add_names(names, &root.member("allowedDomains"))?;
        let injections = asked.injection_rules.iter().flatten().map(|old| {
            let transform = wire::Transform { headers: Some(old.headers.clone()) };
            let rule = wire::Rule { transform: Some(vec![transform]), ..wire::Rule::default() };
            (&old.domain, &old.when, rule)
        });
        self.add_old_rules(injections, &root.member("injectionRules"))?;
        let forwards = asked.forward_rules.iter().flatten().map(|old| {
            let forward_url = Some(old.forward_url.clone());
            (&old.domain, &old.when, wire::Rule { forward_url, ..wire::Rule::default() })
        });
        self.add_old_rules(forwards, &root.member("forwardRules"))?;
        let responses = asked.response_rules.iter().flatten().map(|old| {
            let response = wire::CannedResponse {
                status_code: old.status_code,
                headers: old.headers.clone(),
                body: old.body.clone(),
                content_type: old.content_type.clone(),
            };
            let rule = wire::Rule { response: Some(response), ..wire::Rule::default() };
            (&old.domain, &old.when, rule)
        });
        self.add_old_rules(responses, &root.member("responseRules"))
    }

    fn add_old_rules<'b>(
        &mut self,
        rules: impl Iterator<Item = (&'b String, &'b Option<wire::Match>, wire::Rule)>,
        list: &Field,
    ) -> Result<(), InvalidPolicy> {
        for (index, (name, when, rule)) in rules.enumerate() {
            let field = list.index(index);
            let place = self.place(name, &field.member("domain"))?;
            self.add_rule(place, &wire::Rule { when: when.clone(), ..rule }, &field)?;
        }
        Ok(())
    }

    /// Where the domain of this name is; at the end if it is new.
    fn place(&mut self, text: &str, field: &Field) -> Result<usize, InvalidPolicy> {
        let (pattern, port) = split_port(text, field)?;
        let pattern = HostPattern::parse(pattern).map_err(|error| no_pattern(&error, field))?;
        if matches!(&pattern, HostPattern::Exact(host) if host.as_str() == HOST_NAME) {
            return Err(field.fault("ports of the host are opened by `hostPorts`"));
        }
        let next = self.domains.len();
        let place = *self.places.entry((pattern.to_string(), port)).or_insert(next);
        if place == next {
            if next == bounds::DOMAINS_MAX {
                let max = bounds::DOMAINS_MAX;
                return Err(field.fault(format!("there are more than {max} domains")));
            }
            self.domains.push(Domain { pattern, port, rules: Vec::new(), preset: None });
        }
        Ok(place)
    }

    fn add_rule(
        &mut self,
        place: usize,
        asked: &wire::Rule,
        field: &Field,
    ) -> Result<(), InvalidPolicy> {
        let Some(domain) = self.domains.get_mut(place) else { return Ok(()) };
        let rule = rules::rule(asked, &domain.pattern, self.source, field)?;
        if domain.rules.len() == bounds::RULES_OF_DOMAIN_MAX {
            let max = bounds::RULES_OF_DOMAIN_MAX;
            return Err(field.fault(format!("the domain has more than {max} rules")));
        }
        self.rules += 1;
        self.regexes += regexes(&rule);
        if let Action::Forward(to) = &rule.then {
            self.forwards.insert(to.to_string());
        }
        domain.rules.push(rule);
        if bounds::RULES_MAX < self.rules {
            return Err(field.fault(format!("there are more than {} rules", bounds::RULES_MAX)));
        }
        if bounds::FORWARDS_MAX < self.forwards.len() {
            let max = bounds::FORWARDS_MAX;
            return Err(field.fault(format!("there are more than {max} URLs to forward to")));
        }
        if bounds::REGEXES_MAX < self.regexes {
            let max = bounds::REGEXES_MAX;
            return Err(field.fault(format!("there are more than {max} regular expressions")));
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Domain> {
        self.domains
    }
}

fn regexes(rule: &Rule) -> usize {
    let pairs = rule.when.query.iter().chain(&rule.when.headers);
    let texts = pairs.flat_map(|pair| pair.key.iter().chain(&pair.value)).chain(&rule.when.path);
    texts.filter(|text| matches!(text, TextMatch::Regex(_))).count()
}

/// `name` or `name:port`.
fn split_port<'t>(text: &'t str, field: &Field) -> Result<(&'t str, Option<u16>), InvalidPolicy> {
    if text.contains("://") {
        return Err(field.fault("a name alone is meant here, as in `example.com`, not a URL"));
    }
    match text.split_once(':') {
        // More than one colon is IPv6, about which the name's own error says more.
        Some((name, port)) if !port.contains(':') => {
            let plain = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| plain && *port != 0);
            let port =
                port.ok_or_else(|| field.fault("the port is not a number from 1 to 65535"))?;
            Ok((name, Some(port)))
        }
        Some(_) | None => Ok((text, None)),
    }
}

fn no_pattern(error: &InvalidPattern, field: &Field) -> InvalidPolicy {
    let hint = match error {
        InvalidPattern::Host(InvalidHost::Address) => "; addresses belong to `subnets.allow`",
        InvalidPattern::Host(_) | InvalidPattern::Star => "",
    };
    field.fault(format!("{}{hint}", causes(error)))
}
