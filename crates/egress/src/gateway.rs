//! The gateway process: the far end of one guest's network card, and the only way out.
//!
//! All of it runs on one thread. What is shared between connections is in an `Rc`; nothing waits
//! while it holds a borrow.

mod active;
pub mod authority;
pub mod client_hello;
mod bucket;
mod confine;
mod connection;
mod control_server;
mod dial;
mod http;
mod opened;
pub mod craft;
pub mod frames;
pub mod link;
pub mod packet;
pub mod peer;
mod process;
mod recorder;
mod rewound;
mod sniff;
mod spliced;
mod traffic;

pub use confine::ConfineError;
pub use process::{GatewayError, Inherited, run};
