//! `fumehood`: the command line, and the server behind it.

mod agent_program;
mod archive;
mod arrival;
mod attached;
mod cli;
mod commands;
mod contexts;
mod decision;
mod dockerignore;
mod duration;
mod failure;
mod folders;
mod gateway;
mod ids;
mod mount;
mod network;
mod own;
mod place;
mod refusals;
mod request;
mod rolling_log;
mod say;
mod server;
mod signals;
mod size;
mod sys;
mod table;
mod terminal;
mod utc;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime;

use cli::{Cli, Command};
use commands::Context;
use failure::{Exit, Failure};
use say::Verbosity;

fn main() -> ExitCode {
    let parsed = match gateway::asked_for() {
        Some(parsed) => parsed.map(|arguments| gateway::run(&arguments)),
        None => Cli::try_parse().map(run),
    };
    let exit = match parsed {
        Ok(result) => result.unwrap_or_else(|failure| {
            failure.message().iter().for_each(|message| say::note(message));
            failure.exit()
        }),
        // Help and version come this way too, and are no faults.
        Err(fault) => {
            drop(fault.print());
            if fault.use_stderr() { Exit::Usage } else { Exit::Command(0) }
        }
    };
    ExitCode::from(exit.code())
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    terminal::restore_on_panic();
    let mut builder = if let Command::Serve(serve) = &cli.command {
        if serve.detached {
            sys::detach().map_err(|fault| Failure::host("detaching", fault))?;
        }
        runtime::Builder::new_multi_thread()
    } else {
        runtime::Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|fault| Failure::host("starting the runtime", fault))?;
    let verbosity = if cli.verbose { Verbosity::Verbose } else { Verbosity::Normal };
    let context = Context { server: cli.server, verbosity };
    let result = runtime.block_on(commands::run(cli.command, &context));
    // What still waits on stdin or for a reader of stdout must not hold us.
    runtime.shutdown_background();
    result
}
