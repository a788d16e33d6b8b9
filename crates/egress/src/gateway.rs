//! The gateway process: the far end of one guest's network card, and the only way out.
//!
//! All of it runs on one thread. What is shared between connections is in an `Rc`; nothing waits
//! while it holds a borrow.

mod active;
pub mod authority;
mod bucket;
mod card;
mod ciphers;
pub mod client_hello;
mod confine;
mod connection;
mod control_server;
pub mod craft;
mod dial;
pub mod dns;
pub mod frames;
mod http;
mod in_place;
pub mod link;
pub mod lone;
mod opened;
pub mod packet;
pub mod peer;
mod process;
mod recorder;
mod resolver;
mod rewound;
mod serving;
mod sniff;
mod spliced;
mod traffic;
#[doc(hidden)]
pub mod trial;

pub use confine::ConfineError;
pub use process::{GatewayError, Inherited, run};
pub(crate) use recorder::Recorder;
pub use recorder::append;
pub use resolver::InvalidSettings;
