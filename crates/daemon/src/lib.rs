//! Owns the sandboxes: lifecycle, store, templates, limits, and the HTTP server in front of them.
//!
//! Nothing but a sandbox's one owner task changes that sandbox, and only [`http`] knows HTTP. The server is
//! crash-only: machines outlive it, and every start goes through [`reconcile`].

pub mod agent;
mod audit;
mod clock;
pub mod command_log;
mod config;
mod context;
mod doctor;
mod drives;
mod failpoint;
mod gateway;
mod http;
mod identity;
mod ids;
mod images;
mod jws;
mod key_file;
mod limits;
mod network;
pub mod pass;
mod platform;
mod pool;
mod reconcile;
mod registry;
pub mod route;
mod sandbox;
mod seal;
mod secrets;
mod server;
mod setup;
mod single_flight;
mod snapshots;
mod store;
mod tasks;
mod templates;
mod tls;
mod tokens;
mod turns;
mod uplink;

pub use config::{AgentProgram, Paths};
pub use doctor::{Finding, Health, doctor};
pub use http::{HostReach, network_policy};
pub use images::{image_name, is_image_tag};
pub use key_file::KeyFileError;
pub use server::{Encryption, IngressConfig, Listen, Listening, ServeError, ServerConfig, serve};
pub use setup::{SetupError, SetupEvent, explain, setup};
pub use tls::{TlsError, TlsFiles};

/// An error and all its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
