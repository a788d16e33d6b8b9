//! The gateway process: the far end of one guest's network card, and the only way out.
//!
//! All of it runs on one thread. What is shared between connections is in an `Rc`; nothing waits
//! while it holds a borrow.

mod confine;
mod control_server;
mod process;
mod recorder;
mod traffic;

pub use confine::ConfineError;
pub use process::{GatewayError, Inherited, run};
pub use recorder::append;
