//! `fumehood drive …`.

use api::{CreateDrive, Drive as Here, DriveQuery, DriveSort, SortOrder};

use super::{Context, ls, worst};
use crate::cli::{Drive, DriveCreate, DriveRm};
use crate::failure::{Exit, Failure};
use crate::server::Server;
use crate::table::Table;
use crate::{say, size};

pub(crate) async fn run(args: Drive, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    match args {
        Drive::Create(args) => create(&server, &args).await,
        Drive::Ls { json: true } => {
            say::out(&format!("{}\n", ls::json(&all(&server).await?)?))?;
            Ok(Exit::Command(0))
        }
        Drive::Ls { json: false } => {
            say::out(&table(&all(&server).await?))?;
            Ok(Exit::Command(0))
        }
        Drive::Fork(args) => {
            let made = server.client().fork_drive(&args.name, &args.fork).await?;
            say::out(&format!("{}\n", made.drive.name))?;
            Ok(Exit::Command(0))
        }
        Drive::Rm(args) => remove(&server, &args).await,
    }
}

async fn create(server: &Server, args: &DriveCreate) -> Result<Exit, Failure> {
    let spec = CreateDrive { max_size_bytes: args.size, ..CreateDrive::default() };
    let made = server.client().create_drive(&args.name, &spec).await?.drive;
    if args.json {
        say::out(&format!("{}\n", ls::json(&made)?))?;
    } else {
        say::out(&format!("{}\n", made.name))?;
    }
    Ok(Exit::Command(0))
}

async fn all(server: &Server) -> Result<Vec<Here>, Failure> {
    let mut drives = Vec::new();
    let mut query = DriveQuery {
        limit: Some(50),
        sort_by: Some(DriveSort::Name),
        sort_order: Some(SortOrder::Asc),
        ..DriveQuery::default()
    };
    loop {
        let page = server.client().drives(&query).await?;
        drives.extend(page.drives);
        match page.pagination.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(drives),
        }
    }
}

fn table(drives: &[Here]) -> String {
    let mut table = Table::new(["NAME", "SIZE", "USED", "WRITER"]);
    for drive in drives {
        table.row([
            drive.name.clone(),
            size::short(drive.max_size_bytes),
            size::short(drive.used_bytes),
            drive.current_sandbox_name.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

async fn remove(server: &Server, args: &DriveRm) -> Result<Exit, Failure> {
    let mut exits = Vec::new();
    for name in &args.names {
        let removed = server.client().delete_drive(name).await;
        exits.push(match removed {
            Ok(_) => Exit::Command(0),
            Err(fault) => super::stop::told(name, Err(fault.into())),
        });
    }
    Ok(worst(exits))
}
