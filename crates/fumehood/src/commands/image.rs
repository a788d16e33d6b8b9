//! `fumehood image`.

use super::{Context, ls};
use crate::cli::Image;
use crate::failure::{Exit, Failure};
use crate::say;
use crate::server::Server;
use crate::table::Table;

pub(crate) async fn run(args: &Image, context: &Context) -> Result<Exit, Failure> {
    let Image::Ls { json } = args;
    let server = Server::reach(&context.server).await?;
    let images = server.client().images().await?.images;
    if *json {
        say::out(&format!("{}\n", ls::json(&images)?))?;
        return Ok(Exit::Command(0));
    }
    let mut table = Table::new(["NAME", "MIB", "DIGEST"]);
    for image in images {
        table.row([image.name, (image.size_bytes >> 20).to_string(), image.digest]);
    }
    say::out(&table.text())?;
    Ok(Exit::Command(0))
}
