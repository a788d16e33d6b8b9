//! The gateway process: the far end of one guest's network card, and the only way out.
//!
//! All of it runs on one thread. What is shared between connections is in an `Rc`; nothing waits
//! while it holds a borrow.

pub mod authority;
mod recorder;

pub(crate) use recorder::Recorder;
pub use recorder::append;
