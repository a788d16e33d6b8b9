//! `fumehood cp`.

use super::Context;
use crate::cli::Cp;
use crate::failure::{Exit, Failure};

pub(crate) async fn run(_args: Cp, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Internal, "not built yet"))
}
