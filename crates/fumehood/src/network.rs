//! What a sandbox may reach: from what was typed to the policy that is asked of the server.

mod destination;
mod flags;
mod secret_use;

pub(crate) use destination::{Destination, subnet};
pub(crate) use secret_use::SecretUse;
