//! Images from registries: the distribution specification, from a name to blobs on this computer.

mod challenge;
pub mod credentials;
mod download;
mod error;
mod manifest;
mod pull;
mod secret;
mod session;
pub mod settings;
mod transport;
mod url;

pub use error::{Anonymous, RegistryError};
pub use pull::{Pull, pull};
pub use secret::Secret;
pub use settings::{Proxy, Registries, Settings};

#[cfg(test)]
mod tests;
