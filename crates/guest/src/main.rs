//! The guest agent: PID 1 of a machine. It speaks [`protocol`] with the host over a virtio-serial
//! port, or, for tests without a machine, over a Unix socket (`guest --serve SOCKET`).

mod accounts;
mod agent;
mod answers;
mod aside;
mod boot;
mod clock;
mod commands;
mod drive;
mod files;
mod freezer;
mod guest_file;
mod identity;
mod input;
mod lending;
mod link;
mod network;
mod outgoing;
mod output;
mod outside;
mod pace;
mod place;
mod poll;
mod refusal;
mod root;
mod sys;
mod tree;
mod trust;
mod tunnels;

use std::{
    convert::Infallible,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use agent::Agent;
use link::Link;
use place::Place;
use root::Root;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if std::process::id() == 1 && arguments.peek().is_none_or(|first| first != "--serve") {
        // Comes back only if it cannot go on; the kernel panics then and shows what was said.
        boot::say(&serve_machine());
        return ExitCode::FAILURE;
    }
    let Some(Arguments::Serve { socket, root }) = Arguments::parse(arguments) else {
        report("usage: guest --serve SOCKET [--root DIR]");
        return ExitCode::from(2);
    };
    match serve_process(&socket, root) {
        Ok(never) => match never {},
        Err(error) => report(&format!("guest: {error}")),
    }
    ExitCode::FAILURE
}

/// Serves as PID 1 of a machine. Gives what went wrong.
fn serve_machine() -> String {
    let link = match boot::boot() {
        Ok(link) => link,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            return format!("{error}: {}", cause.unwrap_or_default());
        }
    };
    match Agent::new(link, Place::Machine(Root::prepare())).and_then(Agent::run) {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    }
}

/// Serves as an ordinary process.
fn serve_process(socket: &Path, root: PathBuf) -> io::Result<Infallible> {
    Agent::new(Link::listen(socket)?, Place::Process { root })?.run()
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

#[expect(clippy::print_stderr, reason = "the one place where the agent speaks to a person")]
fn report(line: &str) {
    eprintln!("{line}");
}
