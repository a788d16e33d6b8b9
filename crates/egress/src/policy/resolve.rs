//! The first question: whether a name may be looked up.

use super::{
    Denial, Domain, Grant, HostPattern, Policy, Reach, Why,
    deciding::{Port, WEB_PORTS, first_covering},
};
use crate::{address::HOST_NAME, host::Host};

/// Longest label and name that a pattern lets through.
const LABEL_BYTES_MAX: usize = 52;
const NAME_BYTES_MAX: usize = 160;

impl Policy {
    /// Whether the name may be looked up, on any port.
    ///
    /// A subnet that is allowed opens no name: names leak what is asked for, wherever they lead.
    pub fn resolve(&self, host: &Host) -> Result<Grant, Denial> {
        if host.as_str() == HOST_NAME {
            return self.resolve_host_itself(host);
        }
        let matching = self.matching(host);
        let open = |port| {
            let decided = first_covering(&matching, port);
            let public = decided.is_none() && self.reach == Reach::Public;
            public || decided.is_some_and(|domain| !domain.denies_all())
        };
        let named = matching.iter().filter_map(|domain| domain.port);
        let mut ports =
            named.chain(WEB_PORTS).map(Port::Number).chain(std::iter::once(Port::Other));
        let rule = matching.first().map_or_else(default_rule, |domain| domain.label(None));
        if ports.any(open) {
            Ok(Grant { rule })
        } else if let Some(domain) = matching.iter().find(|domain| domain.denies_all()) {
            Err(Denial { rule: domain.label(Some(0)), why: Why::Rule })
        } else {
            Err(self.unlisted(host))
        }
    }

    /// Whether the name is held back for its length: of names that are not spelled out, the guest chooses
    /// what they say to whoever answers for them. Names of machines are shorter; what is encoded in names
    /// uses them up to 63 and 253.
    pub(crate) fn is_too_long(&self, host: &Host) -> bool {
        let text = host.as_str();
        let is_long = NAME_BYTES_MAX < text.len()
            || text.split('.').any(|label| LABEL_BYTES_MAX < label.len());
        is_long && !self.spells_out(host)
    }

    /// Whether the name is not only one that a pattern, or nothing, stands for.
    pub(crate) fn spells_out(&self, host: &Host) -> bool {
        let is_it =
            |domain: &Domain| matches!(&domain.pattern, HostPattern::Exact(exact) if exact == host);
        host.as_str() == HOST_NAME || self.domains.iter().any(is_it)
    }

    fn resolve_host_itself(&self, host: &Host) -> Result<Grant, Denial> {
        if self.host_ports.is_empty() {
            Err(self.unlisted(host))
        } else {
            Ok(Grant { rule: "hostPorts".to_owned() })
        }
    }

    pub(super) fn unlisted(&self, host: &Host) -> Denial {
        Denial { rule: default_rule(), why: Why::NotListed(host.to_string()) }
    }

    /// Why a port of a name is closed that no domain covers.
    pub(super) fn uncovered(&self, host: &Host, port: u16) -> Denial {
        match self.matching(host).first() {
            Some(domain) => Denial { rule: Domain::label(domain, None), why: Why::Port(port) },
            None => self.unlisted(host),
        }
    }
}

/// What decided where the policy says nothing of its own.
pub(super) fn default_rule() -> String {
    "default".to_owned()
}
