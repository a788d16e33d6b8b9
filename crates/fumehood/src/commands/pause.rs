//! `fumehood pause`.

use futures_util::future::join_all;

use super::stop::told;
use super::{Context, worst};
use crate::cli::Pause;
use crate::failure::{Exit, Failure};
use crate::server::Server;

pub(crate) async fn run(args: &Pause, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let each = args.names.iter().map(async |name| {
        let paused = server.client().pause(name).await;
        told(name, paused.map(drop).map_err(Failure::from))
    });
    Ok(worst(join_all(each).await))
}
