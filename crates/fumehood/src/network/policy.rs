//! The policy that flags and a file make together.

use api::network_policy::{
    Allow, CredentialUse, Mode, NetworkPolicy, Ordered, Rule, RuleAction, Subnets,
};
use egress::policy::HostPattern;

use super::destination::Name;
use super::flags::{Flags, Listed, ListedBy, Reach, Tls};
use super::preset;

/// Flags that say nothing beside the file they came with. Each says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unaddable {
    #[error(
        "the file of --policy allows everything already: leave out --allow, or the file's `mode`"
    )]
    FileAllowsAll,
    #[error(
        "the file of --policy is in the old form, to which flags cannot add: write `allow` and \
         `subnets`"
    )]
    OldForm,
    #[error("the file of --policy has rules for {0}: name the secret in one of them")]
    HasRules(String),
    #[error(
        "{first} and {second} both go to {host}, and a flag gives a host one secret: write rules for \
         both into a file for --policy"
    )]
    TwoSecrets { host: String, first: String, second: String },
}

/// What the flags say, in a policy that began as `base`; without one it is theirs alone.
pub(crate) fn with_flags(
    base: Option<NetworkPolicy>,
    flags: &Flags,
) -> Result<NetworkPolicy, Unaddable> {
    let has_base = base.is_some();
    let mut policy = base.unwrap_or_default();
    if is_old_form(&policy) {
        return Err(Unaddable::OldForm);
    }
    let is_allowed = |listed: &Listed| listed.listed_by == ListedBy::Allow;
    let names_something = flags.names.iter().any(is_allowed) || !flags.presets.is_empty();
    match (has_base, flags.reach) {
        (false, Reach::Listed) => policy.allow = Some(Allow::Names(Vec::new())),
        (false, Reach::Unsaid | Reach::Public) => policy.mode = Some(Mode::AllowAll),
        (true, Reach::Listed) if policy.mode == Some(Mode::AllowAll) && names_something => {
            return Err(Unaddable::FileAllowsAll);
        }
        // What is added to nothing is all there is.
        (true, _) if policy.mode == Some(Mode::DenyAll) => {
            policy.mode = None;
            policy.allow = Some(Allow::Names(Vec::new()));
        }
        (true, Reach::Unsaid | Reach::Listed | Reach::Public) => {}
    }
    for listed in &flags.names {
        add_name(&mut policy, listed, &flags.presets)?;
    }
    add(&mut policy.presets, flags.presets.iter().cloned());
    add(&mut policy.host_ports, flags.host_ports.iter().copied());
    if !flags.allow.is_empty() || !flags.deny.is_empty() {
        let subnets = policy.subnets.get_or_insert_with(Subnets::default);
        add(&mut subnets.allow, flags.allow.iter().map(ToString::to_string));
        add(&mut subnets.deny, flags.deny.iter().map(ToString::to_string));
    }
    if flags.tls == Tls::All {
        policy.strict = Some(true);
    }
    Ok(policy)
}

fn is_old_form(policy: &NetworkPolicy) -> bool {
    let is_old_mode =
        matches!(policy.mode, Some(Mode::Custom | Mode::DefaultAllow | Mode::DefaultDeny));
    is_old_mode
        || policy.allowed_domains.is_some()
        || policy.allowed_cidrs.is_some()
        || policy.denied_cidrs.is_some()
        || policy.injection_rules.is_some()
        || policy.forward_rules.is_some()
        || policy.response_rules.is_some()
}

/// Appends what is not there yet; an empty list stays absent.
fn add<T: PartialEq>(list: &mut Option<Vec<T>>, items: impl Iterator<Item = T>) {
    for item in items {
        let list = list.get_or_insert_default();
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn add_name(
    policy: &mut NetworkPolicy,
    listed: &Listed,
    presets: &[String],
) -> Result<(), Unaddable> {
    let key = listed.name.to_string();
    let rules = rules(listed, presets)?;
    let allow = policy.allow.get_or_insert_with(|| Allow::Names(Vec::new()));
    if rules.is_empty() {
        match allow {
            Allow::Names(names) if !names.contains(&key) => names.push(key),
            Allow::Rules(Ordered(domains)) if domains.iter().all(|(name, _)| *name != key) => {
                domains.push((key, Vec::new()));
            }
            Allow::Names(_) | Allow::Rules(_) => {}
        }
        return Ok(());
    }
    let domains = with_rules(allow);
    match domains.iter_mut().find(|(name, _)| *name == key) {
        Some((_, there)) if there.is_empty() => *there = rules,
        Some(_) => return Err(Unaddable::HasRules(key)),
        None => domains.push((key, rules)),
    }
    Ok(())
}

/// The same domains in the form that has rules.
fn with_rules(allow: &mut Allow) -> &mut Vec<(String, Vec<Rule>)> {
    if let Allow::Names(names) = allow {
        let domains = std::mem::take(names).into_iter().map(|name| (name, Vec::new())).collect();
        *allow = Allow::Rules(Ordered(domains));
    }
    match allow {
        Allow::Rules(Ordered(domains)) => domains,
        Allow::Names(_) => unreachable!("it has been made the other"),
    }
}

/// What holds for requests to the name: its secret is put in. Where a preset says more about the
/// name, and no flag allows the name by itself, that holds too.
fn rules(listed: &Listed, presets: &[String]) -> Result<Vec<Rule>, Unaddable> {
    let secret = match listed.secrets.as_slice() {
        [] => return Ok(Vec::new()),
        [secret] => secret,
        [first, second, ..] => {
            return Err(Unaddable::TwoSecrets {
                host: listed.name.to_string(),
                first: first.to_string(),
                second: second.to_string(),
            });
        }
    };
    let credential = CredentialUse {
        secret: secret.to_string(),
        placeholder: Some(true),
        ..CredentialUse::default()
    };
    let of_preset = match &listed.name {
        Name { pattern: HostPattern::Exact(host), port: None }
            if listed.listed_by == ListedBy::Secret =>
        {
            presets.iter().find_map(|preset| preset::rules(preset, host))
        }
        Name { .. } => None,
    };
    let mut rules = of_preset.unwrap_or_else(|| vec![Rule::default()]);
    for rule in &mut rules {
        if rule.action != Some(RuleAction::Deny) {
            rule.action = None;
            rule.credential = Some(credential.clone());
        }
    }
    Ok(rules)
}
