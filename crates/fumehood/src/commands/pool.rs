//! `fumehood pool`.

use super::{Context, ls::json};
use crate::{
    cli::Pool,
    failure::{Exit, Failure},
    say,
    server::Server,
    table::Table,
};

pub(crate) async fn run(args: &Pool, context: &Context) -> Result<Exit, Failure> {
    let pool = Server::reach(&context.server).await?.client().pool().await?;
    if args.json {
        say::out(&format!("{}\n", json(&pool)?))?;
        return Ok(Exit::Command(0));
    }
    let mut table = Table::new(["IMAGE", "VCPUS", "MIB", "READY", "WANTED"]);
    for kind in &pool.parked {
        let shape = [kind.vcpus.to_string(), kind.memory_mib.to_string()];
        let counts = [kind.machines, kind.wanted].map(|count| count.to_string());
        let [vcpus, memory] = shape;
        let [ready, wanted] = counts;
        table.row([kind.image.clone(), vcpus, memory, ready, wanted]);
    }
    say::out(&table.text())?;
    Ok(Exit::Command(0))
}
