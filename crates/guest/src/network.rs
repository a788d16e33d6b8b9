//! The machine's network: set up once, while booting, as it is the same in every machine. What is
//! at its other end is none of the guest's business.

use std::{fs, io, net::IpAddr, os::fd::IntoRawFd};

use protocol::network::{
    GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, PREFIX_V4, PREFIX_V6,
};

mod netlink;

use netlink::{Netlink, Setting};

use crate::{boot::say, sys};

const CARD: &str = "eth0";

/// Nobody on the link tells the guest its addresses, and nobody else has them. Set before the card
/// is up.
const SETTINGS: [(&str, &str); 4] = [
    ("ipv6/conf/eth0/accept_ra", "0"),
    ("ipv6/conf/eth0/autoconf", "0"),
    ("ipv6/conf/eth0/use_tempaddr", "0"),
    ("ipv6/conf/eth0/accept_dad", "0"),
];

/// Sets the card up. A machine without a network is one all the same.
pub(crate) fn set_up() {
    for (name, value) in SETTINGS {
        if let Err(error) = fs::write(format!("/proc/sys/net/{name}"), value) {
            say(&format!("network: {name}: {error}"));
        }
    }
    if let Err(error) = set_up_card() {
        say(&format!("network: {error}"));
    }
}

fn set_up_card() -> io::Result<()> {
    let interface = number("ifindex")?;
    // The card's own, which the host has given it.
    let mtu = number("mtu")?;
    let netlink = Netlink::open()?;
    let both = [
        (IpAddr::V4(GUEST_V4), PREFIX_V4, IpAddr::V4(GATEWAY_V4)),
        (IpAddr::V6(GUEST_V6), PREFIX_V6, IpAddr::V6(GATEWAY_V6)),
    ];
    netlink.set(interface, &Setting::Up { mtu })?;
    for (address, prefix, gateway) in both {
        netlink.set(interface, &Setting::Address { address, prefix })?;
        netlink.set(interface, &Setting::Neighbour { address: gateway, mac: GATEWAY_MAC })?;
        netlink.set(interface, &Setting::DefaultRoute { gateway })?;
    }
    match sys::interface::take_as_checked(CARD, interface) {
        // Open for as long as the machine runs.
        Ok(link) => drop(link.into_raw_fd()),
        Err(error) => say(&format!("network: checksums are looked at: {error}")),
    }
    Ok(())
}

fn number(name: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{CARD}/{name}"))?;
    text.trim().parse().map_err(io::Error::other)
}
