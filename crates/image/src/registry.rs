//! Images from registries: the distribution specification, from a name to blobs on this computer.

mod challenge;
pub mod credentials;
mod error;
mod secret;
mod session;
pub mod settings;
mod transport;
mod url;

pub use error::{Anonymous, RegistryError};
pub use secret::Secret;
pub use settings::{Proxy, Registries, Settings};
