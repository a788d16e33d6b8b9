//! `fumehood policy …`.

mod explain;

use super::Context;
use crate::cli::Policy;
use crate::failure::{Exit, Failure};

pub(crate) async fn run(args: Policy, context: &Context) -> Result<Exit, Failure> {
    match args {
        Policy::Explain(args) => explain::run(&args, context).await,
        Policy::Get(_) | Policy::Set(_) | Policy::Presets(_) => Err(Failure::silent(Exit::Usage)),
    }
}
