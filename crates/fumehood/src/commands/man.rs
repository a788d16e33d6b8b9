//! `fumehood man`.

use std::fs;

use clap::CommandFactory;

use crate::cli::{Cli, Man};
use crate::failure::{Exit, Failure};

pub(crate) fn run(args: &Man) -> Result<Exit, Failure> {
    let folder = &args.folder;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|fault| Failure::host(format!("writing to {}", folder.display()), fault))?;
    Ok(Exit::Command(0))
}
