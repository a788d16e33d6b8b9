//! `fumehood fork`.

use super::{Context, ls::json, running};
use crate::cli::Fork;
use crate::failure::{Exit, Failure};
use crate::say;
use crate::server::Server;

pub(crate) async fn run(args: &Fork, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    running(&server, &args.name).await?;
    let made = server.client().fork_live(&args.name, args.count).await?;
    if args.json {
        say::out(&format!("{}\n", json(&made)?))?;
        return Ok(Exit::Command(0));
    }
    for one in &made.sandboxes {
        if let Some(flaw) = one.session.forked.as_ref().and_then(|forked| forked.flaw.as_ref()) {
            say::note(&format!("{}: {flaw}", one.sandbox.name));
        }
        say::out(&format!("{}\n", one.sandbox.name))?;
    }
    Ok(Exit::Command(0))
}
