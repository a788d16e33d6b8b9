//! `fumehood exec`.

use api::StartCommand;
use api::attach::Start;
use rustix::process::Signal;

use super::run::{enter_raw_mode, explain};
use super::{Context, running};
use crate::attached::{Attached, Ending, OnSignal, Output, Target};
use crate::cli::Exec;
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::request::Tty;
use crate::say;
use crate::server::Server;
use crate::signals::Signals;

pub(crate) async fn run(args: Exec, context: &Context) -> Result<Exit, Failure> {
    let tty = if args.tty { Tty::Yes } else { Tty::No };
    let mut start = args.command.request(args.argv, tty)?;
    start.sudo = args.sudo;
    start.timeout = args.timeout.map(duration::millis);
    let server = Server::reach(&context.server).await?;
    let session = running(&server, &args.name).await?.session.id;
    if args.detach {
        let command = server.client().start(&session, &detached(start)).await?;
        say::out(&format!("{}\n", command.id))?;
        return Ok(Exit::Command(0));
    }
    attach(&server, &session, start).await
}

fn detached(start: Start) -> StartCommand {
    StartCommand {
        command: start.command,
        args: start.args,
        cwd: start.cwd,
        env: start.env,
        sudo: start.sudo,
        timeout: start.timeout,
        user: start.user,
        ..StartCommand::default()
    }
}

/// Runs the command with its streams tied to ours.
pub(crate) async fn attach(server: &Server, session: &str, start: Start) -> Result<Exit, Failure> {
    let mut signals =
        Signals::listen().map_err(|fault| Failure::host("listening for signals", fault))?;
    let cmd_id = start.cmd_id.clone().unwrap_or_default();
    let mut attached =
        Attached::new(server, session, Target::New(Box::new(start)), Output::passed());
    let raw_mode = enter_raw_mode(&attached)?;
    let result = attached.run(&mut signals, OnSignal::ForwardOnce).await;
    drop(raw_mode);
    match result {
        Ok(Ending::Exited(ended)) => Ok(explain(&ended)),
        Ok(Ending::Left(signal)) if signal == Signal::HUP.as_raw() => {
            tell(server, session, &cmd_id, Signal::HUP).await;
            Ok(Exit::Signal(signal))
        }
        Ok(Ending::Left(signal)) => {
            say::note(&format!("command {cmd_id} is left running"));
            Ok(Exit::Signal(signal))
        }
        Err(failure) => {
            if failure.message().is_none() {
                // A command that writes to a pipe nobody reads is told so too.
                tell(server, session, &cmd_id, Signal::PIPE).await;
            }
            Err(failure)
        }
    }
}

/// Passes on what befell us. The command may have ended by itself, and nobody is left to hear that
/// it could not be told.
async fn tell(server: &Server, session: &str, cmd_id: &str, signal: Signal) {
    drop(server.client().kill(session, cmd_id, signal.as_raw()).await);
}
