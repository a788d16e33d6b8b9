//! `fumehood doctor`.

use crate::cli::Doctor;
use crate::failure::{Exit, Failure};

pub(crate) async fn run(_args: &Doctor) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Internal, "not built yet"))
}
