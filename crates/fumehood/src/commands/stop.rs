//! `fumehood stop`.

use api::client::Resume;
use futures_util::future::join_all;

use super::{Context, worst};
use crate::cli::Stop;
use crate::failure::{Exit, Failure};
use crate::say;
use crate::server::Server;

pub(crate) async fn run(args: &Stop, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let each = args.names.iter().map(async |name| told(name, stop(&server, name).await));
    Ok(worst(join_all(each).await))
}

async fn stop(server: &Server, name: &str) -> Result<(), Failure> {
    let session = server.client().sandbox(name, Resume::No).await?.session.id;
    server.client().stop(&session).await?;
    Ok(())
}

/// Tells a failure at once, so that the others still get their turn.
pub(crate) fn told(name: &str, result: Result<(), Failure>) -> Exit {
    match result {
        Ok(()) => Exit::Command(0),
        Err(failure) => {
            let failure = failure.about(name);
            failure.message().iter().for_each(|message| say::note(message));
            failure.exit()
        }
    }
}
