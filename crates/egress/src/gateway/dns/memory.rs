//! Which names every address was given out for, so that a connection can be held to the name that
//! was asked.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use crate::host::Host;

/// As many addresses are remembered; of one more the one that was given out longest ago is forgotten.
const ADDRESSES_MAX: usize = 4096;
/// As many names of one address, the newest.
const NAMES_MAX: usize = 16;

/// What was answered.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    names: HashMap<IpAddr, VecDeque<Host>>,
    /// In the order in which they were last given out.
    order: VecDeque<IpAddr>,
}

impl Memory {
    pub(crate) fn remember(&mut self, address: IpAddr, host: &Host) {
        let address = address.to_canonical();
        if self.names.contains_key(&address) {
            self.order.retain(|known| *known != address);
        } else if self.order.len() == ADDRESSES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        self.order.push_back(address);
        let names = self.names.entry(address).or_default();
        if let Some(at) = names.iter().position(|known| known == host) {
            names.remove(at);
        }
        names.push_front(host.clone());
        names.truncate(NAMES_MAX);
    }

    pub(crate) fn knows(&self, address: IpAddr) -> bool {
        self.names.contains_key(&address.to_canonical())
    }

    /// The newest first; none if it was never given out.
    pub(crate) fn names_of(&self, address: IpAddr) -> Vec<Host> {
        let names = self.names.get(&address.to_canonical());
        names.map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn an_address_has_the_names_that_it_was_given_out_for() {
        let mut memory = Memory::default();
        memory.remember(address(1), &host("a.test"));
        memory.remember(address(1), &host("b.test"));
        memory.remember(address(1), &host("a.test"));
        memory.remember(address(2), &host("c.test"));
        assert_eq!(memory.names_of(address(1)), [host("a.test"), host("b.test")]);
        let mapped = Ipv4Addr::from_bits(2).to_ipv6_mapped().into();
        assert_eq!(memory.names_of(mapped), [host("c.test")]);
        assert_eq!(memory.names_of(address(3)), []);
    }

    #[test]
    fn it_is_bounded() {
        let mut memory = Memory::default();
        let many = u32::try_from(ADDRESSES_MAX).unwrap() + 10;
        memory.remember(address(many - 1), &host("a.test"));
        for number in 0..many - 1 {
            memory.remember(address(number), &host("a.test"));
            memory.remember(address(many - 1), &host(&format!("n{number}.test")));
        }
        assert_eq!(memory.names.len(), ADDRESSES_MAX);
        assert_eq!(memory.order.len(), ADDRESSES_MAX);
        assert_eq!(memory.names_of(address(many - 1)).len(), NAMES_MAX);
        assert_eq!(memory.names_of(address(0)), []);
    }
}
