//! The gateway process: the far end of one guest's network card, and the only way out.
//!
//! All of it runs on one thread. What is shared between connections is in an `Rc`; nothing waits
//! while it holds a borrow.

#![expect(dead_code, reason = "the process that runs all this is not in yet")]

mod active;
pub mod authority;
pub mod client_hello;
mod connection;
mod dial;
mod http;
mod opened;
mod recorder;
mod rewound;
mod sniff;
mod spliced;
#[doc(hidden)]
pub mod trial;

pub(crate) use recorder::Recorder;
