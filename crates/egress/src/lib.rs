//! What a sandbox may reach: network policy as data, and the gateway that holds traffic to it.
//!
//! The gateway is a process of its own for each sandbox. It holds the far end of the guest's network
//! card and is the guest's only way out: it speaks Ethernet, IP and TCP with the guest in user
//! space ([`gateway`]), decides by the sandbox's [`policy`], and speaks with the world over ordinary
//! sockets. Everything a guest sends is hostile until it has been parsed into one of the types here.

pub mod address;
mod clock;
pub mod control;
pub mod event;
pub mod gateway;
pub mod hops;
pub mod host;
pub mod policy;
pub mod secret;
