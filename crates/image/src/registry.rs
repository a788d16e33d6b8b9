//! Images from registries and to them: the distribution specification, between a name and blobs on
//! this computer.

mod challenge;
pub mod credentials;
mod download;
mod error;
mod manifest;
mod payload;
mod pull;
mod push;
mod secret;
mod session;
pub mod settings;
mod transport;
mod turns;
mod upload;
mod url;

pub use error::{Anonymous, RegistryError};
pub use pull::{Pull, pull};
pub use push::{Push, Pushed, push};
pub use secret::Secret;
pub use settings::{Proxy, Registries, Settings};

#[cfg(test)]
mod tests;
