//! The guest agent: PID 1 of a machine. It speaks [`protocol`] with the host over a virtio-serial
//! port, or, for tests without a machine, over a Unix socket (`guest --serve SOCKET`).

mod accounts;
mod agent;
mod clock;
mod commands;
mod identity;
mod link;
mod outgoing;
mod poll;
mod refusal;
mod sys;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use agent::Agent;
use link::Link;

fn main() -> ExitCode {
    let served = match Arguments::parse(std::env::args_os().skip(1)) {
        Some(Arguments::Serve { socket, root }) => serve(&socket, root),
        None => {
            report("usage: guest --serve SOCKET [--root DIR]");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = served {
        report(&format!("guest: {error}"));
    }
    ExitCode::FAILURE
}

enum Arguments {
    Serve { socket: PathBuf, root: PathBuf },
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        if arguments.next()? != "--serve" {
            return None;
        }
        let socket = arguments.next()?.into();
        let root = match arguments.next() {
            None => "/".into(),
            Some(option) if option == "--root" => arguments.next()?.into(),
            Some(_) => return None,
        };
        arguments.next().is_none().then_some(Self::Serve { socket, root })
    }
}

/// Serves as an ordinary process; comes back only if it cannot go on.
fn serve(socket: &std::path::Path, root: PathBuf) -> std::io::Result<()> {
    Agent::new(Link::listen(socket)?, identity::Place::Process { root })?.run()
}

#[expect(clippy::print_stderr, reason = "the one place where the agent speaks to a person")]
fn report(line: &str) {
    eprintln!("{line}");
}
