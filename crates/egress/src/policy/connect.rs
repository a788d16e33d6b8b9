//! The third question: how a connection is treated.

use std::net::IpAddr;

use super::{
    Denial, Domain, Grant, Policy, Reach, Treatment, Why, deciding::WEB_PORTS,
    resolve::default_rule,
};
use crate::{address::HOST_NAME, host::Host};

impl Policy {
    /// How a connection to this name and port is treated.
    ///
    /// On 80 and 443 it is always inspected. On another port its bytes pass untouched, also where
    /// the policy is strict, unless its domain has rules.
    pub fn connect(&self, host: &Host, port: u16) -> Result<Treatment, Denial> {
        if host.as_str() == HOST_NAME {
            self.resolve(host)?;
            return self.dial_host(port).map(Treatment::Raw);
        }
        match (self.deciding(host, port), self.reach) {
            (Some(domain), _) if domain.denies_all() => {
                Err(Denial { rule: domain.label(Some(0)), why: Why::Rule })
            }
            (Some(domain), _) => Ok(self.treat_by(domain, port)),
            (None, Reach::Public) => Ok(self.treat_web(Grant { rule: default_rule() }, port)),
            (None, Reach::Listed) => Err(self.uncovered(host, port)),
        }
    }

    /// How a connection to an address that no name stands for is treated.
    ///
    /// Where it is inspected and says a name, that name is asked about with [`Self::connect`]: it
    /// may have rules of its own. An address that a subnet allows is let through whatever name is
    /// said.
    pub fn connect_address(&self, address: IpAddr, port: u16) -> Result<Treatment, Denial> {
        let grant = self.dial(address, port, None)?;
        let by_subnet = self.subnets.allowing(address).is_some();
        Ok(if by_subnet && !self.strict {
            Treatment::Raw(grant)
        } else {
            self.treat_web(grant, port)
        })
    }

    /// How a connection is treated that does not say whom it is for, to an address that was given out
    /// for these names.
    ///
    /// The address alone decides, but for one thing: where rules of such a name look inside, whom it is
    /// for has to be seen.
    pub fn connect_unnamed(
        &self,
        address: IpAddr,
        port: u16,
        names: &[Host],
    ) -> Result<Treatment, Denial> {
        let treatment = self.connect_address(address, port)?;
        let has_rules = |host: &Host| {
            let domain = self.deciding(host, port);
            domain.is_some_and(|domain| !domain.rules.is_empty())
        };
        Ok(if names.iter().any(has_rules) {
            Treatment::Inspect { grant: treatment.into_grant(), opened: true }
        } else {
            treatment
        })
    }

    fn treat_by(&self, domain: &Domain, port: u16) -> Treatment {
        let grant = Grant { rule: domain.label(None) };
        if domain.rules.is_empty() {
            self.treat_web(grant, port)
        } else {
            Treatment::Inspect { grant, opened: true }
        }
    }

    /// The web's ports are inspected, all others not.
    fn treat_web(&self, grant: Grant, port: u16) -> Treatment {
        if WEB_PORTS.contains(&port) {
            Treatment::Inspect { grant, opened: self.strict }
        } else {
            Treatment::Raw(grant)
        }
    }
}

impl Treatment {
    /// The rule that let the connection through.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        match self {
            Self::Raw(grant) | Self::Inspect { grant, .. } => grant,
        }
    }

    pub(super) fn into_grant(self) -> Grant {
        match self {
            Self::Raw(grant) | Self::Inspect { grant, .. } => grant,
        }
    }
}
