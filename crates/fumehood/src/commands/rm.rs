//! `fumehood rm`.

use api::Code;
use api::client::Resume;
use futures_util::future::join_all;

use super::stop::told;
use super::{Context, worst};
use crate::cli::Rm;
use crate::failure::{Exit, Failure};
use crate::server::Server;

pub(crate) async fn run(args: &Rm, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let each = args.names.iter().map(async |name| {
        let removed = if args.force {
            remove(&server, name).await
        } else {
            remove_ended(&server, name).await
        };
        told(name, removed)
    });
    Ok(worst(join_all(each).await))
}

/// Whatever it does; nothing to remove is as good as removed.
async fn remove(server: &Server, name: &str) -> Result<(), Failure> {
    match server.client().delete(name).await {
        Err(fault) if fault.code() != Some(Code::NotFound) => Err(fault.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn remove_ended(server: &Server, name: &str) -> Result<(), Failure> {
    let sandbox = server.client().sandbox(name, Resume::No).await?.sandbox;
    if !sandbox.status.is_ended() {
        let status = if sandbox.paused_at.is_some() { "paused" } else { sandbox.status.as_str() };
        let message = format!("it is {status}: stop it first, or remove it with -f");
        return Err(Failure::new(Exit::Refused, message));
    }
    server.client().delete(name).await?;
    Ok(())
}
