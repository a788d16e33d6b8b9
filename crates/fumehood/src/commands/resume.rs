//! `fumehood resume`.

use futures_util::future::join_all;

use super::stop::told;
use super::{Context, running, worst};
use crate::cli::Resume;
use crate::failure::{Exit, Failure};
use crate::server::Server;

pub(crate) async fn run(args: &Resume, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let each = args.names.iter().map(async |name| {
        let resumed = running(&server, name).await;
        told(name, resumed.map(drop))
    });
    Ok(worst(join_all(each).await))
}
