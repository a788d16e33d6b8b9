//! What the flags say together, and where they contradict each other.

use std::collections::BTreeSet;

use egress::policy::Cidr;
use egress::secret::SecretName;

use super::destination::{Destination, Name};
use crate::cli::PolicyOptions;

/// What the flags say, each thing once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) reach: Reach,
    /// Those with secrets first.
    pub(crate) names: Vec<Listed>,
    pub(crate) presets: Vec<String>,
    pub(crate) allow: Vec<Cidr>,
    pub(crate) deny: Vec<Cidr>,
    pub(crate) host_ports: BTreeSet<u16>,
    pub(crate) tls: Tls,
}

/// What is reached beside what is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As the default, or the file, has it.
    Unsaid,
    /// Nothing.
    Listed,
    /// Every public address.
    Public,
}

/// Which TLS connections are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Those that a rule has to look into.
    WhereNeeded,
    All,
}

/// A name that may be reached, and the secrets that are put into requests to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: Name,
    pub(crate) secrets: Vec<SecretName>,
    pub(crate) listed_by: ListedBy,
}

/// Which flag a name is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListedBy {
    /// `--allow`, by itself or beside a secret: every request is allowed.
    Allow,
    /// `--secret` alone: the rules of a preset hold for it.
    Secret,
}

/// Flags that cannot be meant together. Each says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    #[error("--allow denies everything else already: leave out --deny-all")]
    AllowAndDenyAll,
    #[error(
        "--secret allows its host and --deny-all nothing: for that host and no other, give it to \
         --allow too and leave out --deny-all"
    )]
    SecretAndDenyAll,
    #[error("the file of --policy says what is denied: leave out --deny-all, or the file")]
    FileAndDenyAll,
    #[error("the file of --policy says what is allowed: leave out --allow-all, or the file")]
    FileAndAllowAll,
    #[error("--allow-all and --deny-all cannot both be meant: leave out one of the two")]
    AllowAllAndDenyAll,
    #[error("{0} is both allowed and denied: leave out one of the two")]
    AllowedAndDenied(Cidr),
}

impl Flags {
    /// None when no flag was given, and the file, if there is one, stands by itself.
    pub(crate) fn new(options: &PolicyOptions) -> Result<Option<Self>, Contradiction> {
        let mut flags = Self {
            reach: reach(options)?,
            names: Vec::new(),
            presets: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            host_ports: options.allow_host_port.iter().copied().collect(),
            tls: if options.strict { Tls::All } else { Tls::WhereNeeded },
        };
        for used in &options.secret {
            for name in &used.hosts {
                add(&mut flags.listed(name).secrets, used.secret.clone());
            }
        }
        for destination in &options.allow {
            match destination {
                Destination::Name(name) => flags.listed(name).listed_by = ListedBy::Allow,
                Destination::Subnet(subnet) => add(&mut flags.allow, *subnet),
                Destination::Preset(preset) => add(&mut flags.presets, preset.clone()),
            }
        }
        for subnet in &options.deny {
            if flags.allow.contains(subnet) {
                return Err(Contradiction::AllowedAndDenied(*subnet));
            }
            add(&mut flags.deny, *subnet);
        }
        Ok((!flags.says_nothing()).then_some(flags))
    }

    fn listed(&mut self, name: &Name) -> &mut Listed {
        let found = self.names.iter().position(|listed| listed.name == *name);
        let at = found.unwrap_or_else(|| {
            let listed_by = ListedBy::Secret;
            self.names.push(Listed { name: name.clone(), secrets: Vec::new(), listed_by });
            self.names.len() - 1
        });
        &mut self.names[at]
    }

    fn says_nothing(&self) -> bool {
        let Self { reach, names, presets, allow, deny, host_ports, tls } = self;
        *reach == Reach::Unsaid
            && *tls == Tls::WhereNeeded
            && names.is_empty()
            && presets.is_empty()
            && allow.is_empty()
            && deny.is_empty()
            && host_ports.is_empty()
    }
}

fn reach(options: &PolicyOptions) -> Result<Reach, Contradiction> {
    match (options.allow_all, options.deny_all) {
        (true, true) => Err(Contradiction::AllowAllAndDenyAll),
        (true, false) if options.policy.is_some() => Err(Contradiction::FileAndAllowAll),
        (true, false) => Ok(Reach::Public),
        (false, true) if !options.allow.is_empty() => Err(Contradiction::AllowAndDenyAll),
        (false, true) if !options.secret.is_empty() => Err(Contradiction::SecretAndDenyAll),
        (false, true) if options.policy.is_some() => Err(Contradiction::FileAndDenyAll),
        (false, true) => Ok(Reach::Listed),
        (false, false) if options.allow.is_empty() => Ok(Reach::Unsaid),
        (false, false) => Ok(Reach::Listed),
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}
