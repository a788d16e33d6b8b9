//! `fumehood setup`.

use super::Context;
use crate::failure::{Exit, Failure};

pub(crate) async fn run(_context: &Context) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Internal, "not built yet"))
}
