//! Which domain of a policy decides about a name and port.

use std::fmt;

use super::{
    Action, Domain, Match, Pin, Place, Policy, is_identity_header, is_identity_query_key,
    with_dashes,
};
use crate::{address::HOST_NAME, host::Host};

/// The ports of HTTP and HTTPS, which a domain covers that names none.
pub(super) const WEB_PORTS: [u16; 2] = [80, 443];

/// A pin that takes nothing out.
pub(super) static NO_PIN: Pin = Pin::Off;

/// A port, or one that no domain names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Number(u16),
    Other,
}

impl Policy {
    /// The domains that match the name, the most specific first, then the one for a port before the
    /// one for the web's ports, then the one written first. The host's own name is in none.
    pub(super) fn matching(&self, host: &Host) -> Vec<&Domain> {
        if host.as_str() == HOST_NAME {
            return Vec::new();
        }
        let mut found: Vec<&Domain> =
            self.domains.iter().filter(|domain| domain.pattern.matches(host)).collect();
        found.sort_by_key(|domain| {
            std::cmp::Reverse((domain.pattern.specificity(), domain.port.is_some()))
        });
        found
    }

    /// Whether rules answer requests to the name or send them elsewhere, so that it is of use where it
    /// leads nowhere.
    pub(crate) fn answers(&self, host: &Host) -> bool {
        self.matching(host).iter().any(|domain| domain.answers())
    }

    /// The domain that decides about this name and port.
    pub(super) fn deciding(&self, host: &Host, port: u16) -> Option<&Domain> {
        first_covering(&self.matching(host), Port::Number(port))
    }
}

/// Of these domains, in their order, the first that says something about the port.
pub(super) fn first_covering<'a>(domains: &[&'a Domain], port: Port) -> Option<&'a Domain> {
    domains.iter().copied().find(|domain| domain.covers(port))
}

impl Domain {
    /// A domain that names no port and denies everything does so on every port: who denies a name
    /// does not mean its web pages alone.
    fn covers(&self, port: Port) -> bool {
        match self.port {
            Some(own) => port == Port::Number(own),
            None => self.denies_all() || WEB_PORTS.into_iter().any(|web| port == Port::Number(web)),
        }
    }

    /// Whether the first rule denies every request, so that a connection is of no use.
    pub(super) fn denies_all(&self) -> bool {
        self.rules
            .first()
            .is_some_and(|rule| matches!(rule.then, Action::Deny) && rule.when == Match::default())
    }

    /// Whether some of its requests need no way to the host.
    pub(super) fn answers(&self) -> bool {
        let stays = |rule: &super::Rule| match rule.then {
            Action::Respond(_) | Action::Forward(_) => true,
            Action::Deny | Action::Send(_) => false,
        };
        self.rules.iter().any(stays)
    }

    /// What holds for every request to the domain. All its rules that pin have the same pin
    /// ([`Policy::spread_pins`]).
    pub(super) fn pin(&self) -> &Pin {
        self.pins().next().unwrap_or(&NO_PIN)
    }

    fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.rules.iter().filter_map(|rule| match &rule.then {
            Action::Send(edits) if edits.pin != Pin::Off => Some(&edits.pin),
            Action::Send(_) | Action::Deny | Action::Forward(_) | Action::Respond(_) => None,
        })
    }

    /// As a user finds the domain, or one of its rules, again in the policy.
    pub(super) fn label(&self, rule: Option<usize>) -> String {
        let rule = rule.map(|index| format!("[{index}]")).unwrap_or_default();
        format!("{self}{rule}")
    }
}

/// `api.example.com`, `db.example.com:5432`, `registries-read/pypi.org`.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(preset) = &self.preset {
            write!(f, "{preset}/")?;
        }
        self.pattern.fmt(f)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Policy {
    /// Gives every rule of a domain that pins the pins of all of them, and the places of its credentials.
    /// Whoever makes a policy calls this.
    pub fn spread_pins(&mut self) {
        for domain in &mut self.domains {
            let mut union = Pin::Off;
            domain.pins().for_each(|pin| union.add(pin));
            domain.places().for_each(|place| union.name(place));
            for rule in &mut domain.rules {
                if let Action::Send(edits) = &mut rule.then
                    && edits.pin != Pin::Off
                {
                    edits.pin.clone_from(&union);
                }
            }
        }
    }
}

impl Domain {
    /// Where rules that pin put secrets.
    fn places(&self) -> impl Iterator<Item = &Place> {
        let edits = self.rules.iter().filter_map(|rule| match &rule.then {
            Action::Send(edits) if edits.pin != Pin::Off => Some(edits),
            Action::Send(_) | Action::Deny | Action::Forward(_) | Action::Respond(_) => None,
        });
        edits.flat_map(|edits| edits.credentials.iter().map(|credential| &credential.place))
    }
}

impl Pin {
    /// Nobody else's is to be where a secret of ours is put. Usual names go without saying.
    fn name(&mut self, place: &Place) {
        let Self::On { headers, query } = self else { return };
        match place {
            Place::Header { name, .. } if !is_identity_header(name) => {
                headers.insert(with_dashes(name).into_owned());
            }
            Place::Query { name } if !is_identity_query_key(name) => {
                query.insert(name.to_ascii_lowercase());
            }
            Place::Header { .. }
            | Place::Query { .. }
            | Place::Basic { .. }
            | Place::Placeholder(_) => {}
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::On { headers, query }, Self::On { headers: more, query: keys }) => {
                headers.extend(more.iter().cloned());
                query.extend(keys.iter().cloned());
            }
            (this @ Self::Off, Self::On { .. }) => *this = other.clone(),
            (_, Self::Off) => {}
        }
    }
}
