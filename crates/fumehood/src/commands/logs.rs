//! `fumehood logs`.

use api::client::{FollowMode, Resume};
use api::{LogLine, Stream};

use super::Context;
use crate::attached::{Attached, Ending, OnSignal, Output, Target};
use crate::cli::Logs;
use crate::failure::{Exit, Failure, exit_of};
use crate::server::Server;
use crate::signals::Signals;

pub(crate) async fn run(args: Logs, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let session = server.client().sandbox(&args.name, Resume::No).await?.session.id;
    if args.console {
        let mode = if args.follow { FollowMode::ToTheEnd } else { FollowMode::UntilNow };
        return console(&server, &session, mode).await;
    }
    let cmd_id = match args.command {
        Some(cmd_id) => cmd_id,
        None => last(&server, &session, &args.name).await?,
    };
    if args.follow {
        follow(&server, &session, cmd_id).await
    } else {
        until_now(&server, &session, &cmd_id).await
    }
}

async fn last(server: &Server, session: &str, name: &str) -> Result<String, Failure> {
    let commands = server.client().commands(session).await?;
    let last = commands.into_iter().max_by_key(|command| command.started_at);
    let message = format!("sandbox {name} has run no command");
    last.map(|command| command.id).ok_or_else(|| Failure::new(Exit::NotFound, message))
}

async fn until_now(server: &Server, session: &str, cmd_id: &str) -> Result<Exit, Failure> {
    let mut lines = server.client().logs(session, cmd_id, FollowMode::UntilNow).await?;
    let mut output = Output::passed();
    while let Some(line) = lines.next().await? {
        match line {
            LogLine::Stdout(data) => output.write(Stream::Stdout, data.as_bytes()).await?,
            LogLine::Stderr(data) => output.write(Stream::Stderr, data.as_bytes()).await?,
            LogLine::Error(fault) => return Err(Failure::new(exit_of(fault.code), fault.message)),
        }
    }
    Ok(Exit::Command(0))
}

/// Over an attach connection, which goes on where it was when the server is replaced meanwhile.
async fn follow(server: &Server, session: &str, cmd_id: String) -> Result<Exit, Failure> {
    let mut signals =
        Signals::listen().map_err(|fault| Failure::host("listening for signals", fault))?;
    let target = Target::Existing { cmd_id };
    let mut attached = Attached::new(server, session, target, Output::passed());
    match attached.run(&mut signals, OnSignal::Leave).await? {
        Ending::Exited(_) => Ok(Exit::Command(0)),
        Ending::Left(signal) => Ok(Exit::Signal(signal)),
    }
}

async fn console(server: &Server, session: &str, mode: FollowMode) -> Result<Exit, Failure> {
    let mut console = server.client().console(session, mode).await?;
    let mut output = Output::passed();
    while let Some(data) = console.chunk().await? {
        output.write(Stream::Stdout, &data).await?;
    }
    Ok(Exit::Command(0))
}
