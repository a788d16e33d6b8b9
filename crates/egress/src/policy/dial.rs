//! The second question: whether a packet may go to an address.

use std::net::IpAddr;

use super::{Denial, Grant, Policy, Reach, Treatment, Why, resolve::default_rule};
use crate::{
    address::{GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, HOST_NAME, reserved, stand_in},
    host::Host,
};

impl Policy {
    /// Whether a packet may go to this address. With a `name` it was given out for that name;
    /// without one the guest uses the address by itself.
    ///
    /// The name is asked about again, so that the answer holds after the policy changed. This does
    /// not know the host's own addresses: the gateway asks the host about those.
    pub fn dial(&self, address: IpAddr, port: u16, name: Option<&Host>) -> Result<Grant, Denial> {
        if let Some(name) = name
            && self.stands_in(address, name)
        {
            return self.connect(name, port).map(Treatment::into_grant);
        }
        if let Some(net) = self.subnets.denying(address) {
            return Err(Denial { rule: format!("subnets.deny {net}"), why: Why::SubnetDenied });
        }
        match (is_of_the_link(address), name) {
            (true, Some(name)) if name.as_str() == HOST_NAME => return self.dial_host(port),
            (true, Some(_) | None) => {
                return Err(Denial { rule: default_rule(), why: Why::HostItself });
            }
            // The host's name leads nowhere else.
            (false, Some(name)) if name.as_str() == HOST_NAME => return Err(self.unlisted(name)),
            (false, Some(_) | None) => {}
        }
        if let Some(net) = self.subnets.allowing(address) {
            return Ok(Grant { rule: format!("subnets.allow {net}") });
        }
        if let Some(class) = reserved(address) {
            return Err(Denial { rule: default_rule(), why: Why::Reserved(class) });
        }
        match (name, self.reach) {
            (Some(name), _) => self.connect(name, port).map(Treatment::into_grant),
            (None, Reach::Public) => Ok(Grant { rule: default_rule() }),
            (None, Reach::Listed) => Err(Denial { rule: default_rule(), why: Why::NoName }),
        }
    }

    /// Whether the guest was told this address because rules answer for the name, wherever that leads. The
    /// gateway sends nothing there.
    pub(crate) fn stands_in(&self, address: IpAddr, name: &Host) -> bool {
        address == stand_in(name) && self.answers(name)
    }

    /// A port of the host, at the gateway's own address.
    pub(super) fn dial_host(&self, port: u16) -> Result<Grant, Denial> {
        if self.host_ports.contains(&port) {
            Ok(Grant { rule: format!("hostPorts {port}") })
        } else {
            Err(Denial { rule: default_rule(), why: Why::Port(port) })
        }
    }
}

/// Whether the address is one of the two ends of the guest's link, in any form.
fn is_of_the_link(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => [GATEWAY_V4, GUEST_V4].contains(&address),
        IpAddr::V6(address) => [GATEWAY_V6, GUEST_V6].contains(&address),
    }
}
