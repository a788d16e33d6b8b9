//! `fumehood serve`.

use crate::cli::Serve;
use crate::failure::{Exit, Failure};

pub(crate) async fn run(_args: Serve) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Internal, "not built yet"))
}
