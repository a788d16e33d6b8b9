//! `fumehood gateway`: the process that holds one guest's network. The server starts it; it is no
//! command for people.

use std::env;
use std::io;

use clap::Parser;
use egress::gateway::Inherited;

use crate::failure::{Exit, Failure};
use crate::sys;

/// Be the gateway of one sandbox, on descriptors that the server hands over.
#[derive(Debug, Parser)]
#[command(name = "fumehood gateway")]
pub(crate) struct Arguments {
    /// Connected to the network card of the guest
    #[arg(long)]
    network_fd: i32,

    /// Listens for the server
    #[arg(long)]
    control_fd: i32,

    /// The two files of the audit log
    #[arg(long, value_delimiter = ',', num_args = 1)]
    log_fds: Vec<i32>,

    /// Whose gateway it is: for the server, which finds it again by this
    #[arg(long)]
    folder: Option<std::path::PathBuf>,
}

/// The arguments, if this process is to be a gateway.
pub(crate) fn asked_for() -> Option<Result<Arguments, clap::Error>> {
    let is_gateway = env::args_os().nth(1).is_some_and(|word| word == "gateway");
    is_gateway.then(|| Arguments::try_parse_from(env::args_os().skip(1)))
}

/// Runs until the guest is gone.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let inherited = take(arguments).map_err(|fault| Failure::host("starting a gateway", fault))?;
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(io::stderr)
        // As the server's own.
        .log_internal_errors(false)
        .init();
    match egress::gateway::run(inherited) {
        Ok(()) => Ok(Exit::Command(0)),
        Err(fault) => Err(Failure::host("running a gateway", io::Error::other(fault))),
    }
}

fn take(arguments: &Arguments) -> io::Result<Inherited> {
    let [first, second] = arguments.log_fds[..] else {
        return Err(io::Error::other("a gateway has two log files"));
    };
    Ok(Inherited {
        network: sys::inherited(arguments.network_fd)?,
        control: sys::inherited(arguments.control_fd)?,
        logs: [sys::inherited(first)?, sys::inherited(second)?],
    })
}
