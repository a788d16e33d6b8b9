//! Connections end to end: a client behind the gateway, real servers in front of it, over loopback.

mod by_address;
mod credentials;
mod endings;
mod origin;
mod plain;
mod raw;
mod refused;
mod streams;
mod versions;
mod watching;
mod world;
