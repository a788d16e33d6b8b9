//! Network policy between the wire and the inside: a request becomes a policy, or an error that
//! names the field; a policy becomes what is shown.

mod answer;
mod bounds;
mod credential;
mod domains;
mod explained;
mod field;
mod matching;
mod rules;
mod shown;

use std::collections::BTreeSet;

use api::network_policy::{Allow, Mode, NetworkPolicy};
use egress::{
    policy::{Cidr, Policy, Preset, Reach, Subnets},
    secret::SecretName,
};

use domains::Domains;
pub use explained::explanation;
pub use field::InvalidPolicy;
use field::{Field, bounded};
pub use shown::reply;

use crate::causes;

/// What a rule needs to know beside its own text.
#[derive(Clone, Copy)]
struct Source<'a> {
    /// The text that this sandbox's guest is given for a secret.
    placeholder: &'a dyn Fn(&SecretName) -> String,
}

/// The policy that a client asks for. `placeholder` gives the text that stands for a secret in this
/// sandbox's guest.
pub fn policy(
    asked: &NetworkPolicy,
    placeholder: &dyn Fn(&SecretName) -> String,
) -> Result<Policy, InvalidPolicy> {
    let root = Field::root();
    check_form(asked, &root)?;
    let mut domains = Domains::new(Source { placeholder });
    match &asked.allow {
        Some(Allow::Names(names)) => domains.add_names(names, &root.member("allow"))?,
        Some(Allow::Rules(rules)) => domains.add_rules(&rules.0, &root.member("allow"))?,
        None => {}
    }
    domains.add_old_form(asked, &root)?;
    let mut policy = Policy {
        reach: reach(asked.mode),
        domains: domains.finish(),
        subnets: subnets(asked, &root)?,
        host_ports: host_ports(asked, &root)?,
        strict: asked.strict.unwrap_or(false),
    };
    add_presets(&mut policy, asked, &root)?;
    policy.spread_pins();
    Ok(policy)
}

fn reach(mode: Option<Mode>) -> Reach {
    match mode {
        Some(Mode::AllowAll | Mode::DefaultAllow) => Reach::Public,
        Some(Mode::DenyAll | Mode::Custom | Mode::DefaultDeny) | None => Reach::Listed,
    }
}

/// Members that contradict the mode are refused: none is left out in silence.
fn check_form(asked: &NetworkPolicy, root: &Field) -> Result<(), InvalidPolicy> {
    let modern = [("allow", asked.allow.is_some()), ("subnets", asked.subnets.is_some())];
    let old = [
        ("allowedDomains", asked.allowed_domains.is_some()),
        ("allowedCIDRs", asked.allowed_cidrs.is_some()),
        ("deniedCIDRs", asked.denied_cidrs.is_some()),
        ("injectionRules", asked.injection_rules.is_some()),
        ("forwardRules", asked.forward_rules.is_some()),
        ("responseRules", asked.response_rules.is_some()),
    ];
    let ours = [("presets", asked.presets.is_some()), ("hostPorts", asked.host_ports.is_some())];
    let refused: Vec<&[(&str, bool)]> = match asked.mode {
        Some(Mode::DenyAll) => vec![&modern, &old, &ours],
        Some(Mode::AllowAll) | None => vec![&old],
        Some(Mode::Custom | Mode::DefaultAllow | Mode::DefaultDeny) => vec![&modern],
    };
    match refused.into_iter().flatten().find(|(_, present)| *present) {
        Some((name, _)) => Err(root.member(name).fault("does not go with this `mode`")),
        None => Ok(()),
    }
}

fn subnets(asked: &NetworkPolicy, root: &Field) -> Result<Subnets, InvalidPolicy> {
    let (modern, field) = (asked.subnets.clone().unwrap_or_default(), root.member("subnets"));
    let allow = cidrs(modern.allow.as_deref(), &field.member("allow"))?;
    let deny = cidrs(modern.deny.as_deref(), &field.member("deny"))?;
    let old_allow = cidrs(asked.allowed_cidrs.as_deref(), &root.member("allowedCIDRs"))?;
    let old_deny = cidrs(asked.denied_cidrs.as_deref(), &root.member("deniedCIDRs"))?;
    Ok(Subnets { allow: [allow, old_allow].concat(), deny: [deny, old_deny].concat() })
}

fn cidrs(texts: Option<&[String]>, field: &Field) -> Result<Vec<Cidr>, InvalidPolicy> {
    let texts = bounded(texts.unwrap_or_default(), bounds::SUBNETS_MAX, field)?;
    let parse = |(index, text): (usize, &String)| {
        Cidr::parse(text).map_err(|error| field.index(index).fault(causes(&error)))
    };
    texts.iter().enumerate().map(parse).collect()
}

fn host_ports(asked: &NetworkPolicy, root: &Field) -> Result<BTreeSet<u16>, InvalidPolicy> {
    let field = root.member("hostPorts");
    let ports = asked.host_ports.as_deref().unwrap_or_default();
    let ports = bounded(ports, bounds::HOST_PORTS_MAX, &field)?;
    match ports.iter().position(|port| *port == 0) {
        Some(index) => Err(field.index(index).fault("0 is no port")),
        None => Ok(ports.iter().copied().collect()),
    }
}

/// Those of presets come last, so that the user's own entry for a name takes the place of theirs.
fn add_presets(
    policy: &mut Policy,
    asked: &NetworkPolicy,
    root: &Field,
) -> Result<(), InvalidPolicy> {
    let field = root.member("presets");
    let names = asked.presets.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (index, name) in bounded(names, bounds::PRESETS_MAX, &field)?.iter().enumerate() {
        let Some(preset) = Preset::find(name) else {
            let known = Preset::names().collect::<Vec<_>>().join(", ");
            return Err(field
                .index(index)
                .fault(format!("there is none of this name, but {known}")));
        };
        if seen.insert(preset.name) {
            policy.domains.extend(preset.domains);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
