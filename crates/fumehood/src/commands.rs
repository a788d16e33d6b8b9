//! One file per command.

mod audit;
mod build;
mod completions;
mod connect;
mod context;
mod cp;
mod create;
mod doctor;
mod drive;
mod env;
mod exec;
mod fork;
mod forward;
mod image;
mod logs;
mod ls;
mod man;
mod pause;
mod policy;
mod pool;
mod ports;
mod resume;
mod rm;
mod run;
mod secret;
mod serve;
mod setup;
mod snapshot;
mod stop;
mod token;
mod version;

pub(crate) use create::is_giving_way;

use api::client::Resume;
use api::{Code, SandboxReply, Status};

use crate::cli::{Command, ServerOptions};
use crate::failure::{Exit, Failure};
use crate::say::Verbosity;
use crate::server::Server;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) server: ServerOptions,
    pub(crate) verbosity: Verbosity,
}

pub(crate) async fn run(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(args, context).await,
        Command::Create(args) => create::run(args, context).await,
        Command::Exec(args) => exec::run(args, context).await,
        Command::Connect(args) => connect::run(args, context).await,
        Command::Cp(args) => cp::run(args, context).await,
        Command::Ls(args) => ls::run(&args, context).await,
        Command::Logs(args) => logs::run(args, context).await,
        Command::Stop(args) => stop::run(&args, context).await,
        Command::Pause(args) => pause::run(&args, context).await,
        Command::Resume(args) => resume::run(&args, context).await,
        Command::Fork(args) => fork::run(&args, context).await,
        Command::Snapshot(args) => snapshot::run(args, context).await,
        Command::Rm(args) => rm::run(&args, context).await,
        Command::Commit(args) => image::commit(args, context).await,
        Command::Policy(args) => policy::run(args, context).await,
        Command::Ports(args) => ports::run(&args, context).await,
        Command::Url(args) => ports::url(&args, context).await,
        Command::Forward(args) => forward::run(args, context).await,
        Command::Audit(args) => audit::run(args, context).await,
        Command::Secret(args) => secret::run(args, context).await,
        Command::Token(args) => token::run(args, context).await,
        Command::Contexts(args) => context::run(args, context),
        Command::Drive(args) => drive::run(args, context).await,
        Command::Image(args) => image::run(args, context).await,
        Command::Env(args) => env::run(&args, context).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Setup => setup::run(context).await,
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Pool(args) => pool::run(&args, context).await,
        Command::Version(args) => version::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// The sandbox of this name, which runs: one that has stopped is resumed if its disk was kept.
async fn running(server: &Server, name: &str) -> Result<SandboxReply, Failure> {
    let reply = server.client().sandbox(name, Resume::No).await?;
    let session = &reply.session;
    let is_ending = matches!(session.status, Status::Stopping | Status::Snapshotting);
    let is_kept = reply.sandbox.persistent || reply.sandbox.current_snapshot_id.is_some();
    if is_kept && (is_ending || session.status.is_ended()) {
        match server.client().sandbox(name, Resume::Yes).await {
            // Nothing of it was kept after all.
            Err(fault) if fault.code() == Some(Code::SnapshotNotFound) => {}
            resumed => return Ok(resumed?),
        }
    }
    if session.status.is_ended() {
        let reason = session.end_reason.as_deref().unwrap_or(session.status.as_str());
        let message = format!("sandbox {name} has ended: {reason}");
        return Err(Failure::new(Exit::SandboxEnded, message));
    }
    Ok(reply)
}

/// The worst of several failures decides the exit code; all were told.
fn worst(exits: impl IntoIterator<Item = Exit>) -> Exit {
    exits.into_iter().max_by_key(|exit| exit.code()).unwrap_or(Exit::Command(0))
}
