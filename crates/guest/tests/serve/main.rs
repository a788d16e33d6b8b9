//! The agent as an ordinary process, driven over its socket by a client made of `protocol`.

mod channel;
mod client;
mod commands;
mod files;
mod guest;
