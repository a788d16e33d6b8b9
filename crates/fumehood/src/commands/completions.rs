//! `fumehood completions`.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::failure::{Exit, Failure};
use crate::say;

pub(crate) fn run(args: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fumehood", &mut script);
    say::out(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Command(0))
}
