//! `fumehood resume`.

use api::client::Resume as Asked;
use futures_util::future::join_all;

use super::stop::told;
use super::{Context, running, worst};
use crate::cli::Resume;
use crate::failure::{Exit, Failure};
use crate::server::Server;

pub(crate) async fn run(args: &Resume, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let each = args.names.iter().map(async |name| told(name, resumed(&server, name).await));
    Ok(worst(join_all(each).await))
}

async fn resumed(server: &Server, name: &str) -> Result<(), Failure> {
    let found = running(server, name).await?;
    if found.sandbox.paused_at.is_some() {
        server.client().sandbox(name, Asked::Yes).await?;
    }
    Ok(())
}
