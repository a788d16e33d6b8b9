//! `fumehood snapshot …`.

use std::time::Duration;

use api::{CreateSnapshot, PageQuery, Snapshot as Taken, SnapshotStatus};
use futures_util::future::join_all;

use super::ls::{json, now_ms};
use super::stop::told;
use super::{Context, running, worst};
use crate::cli::{Snapshot, SnapshotCommand, SnapshotTake};
use crate::failure::{Exit, Failure};
use crate::server::Server;
use crate::table::Table;
use crate::{duration, say, size};

const COLUMNS: [&str; 8] = ["ID", "NAME", "SANDBOX", "MADE", "DISK", "MEMORY", "AGE", "EXPIRES IN"];
/// The most a reply may hold.
const PAGE: u32 = 50;

pub(crate) async fn run(args: Snapshot, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    match args.command {
        None => take(&server, &args.take).await,
        Some(SnapshotCommand::Ls { json: wants_json, all, name }) => {
            let mut found = list(&server, name).await?;
            found.retain(|snapshot| all || snapshot.status == SnapshotStatus::Created);
            let text = if wants_json { json(&found)? + "\n" } else { table(&found, now_ms()) };
            say::out(&text)?;
            Ok(Exit::Command(0))
        }
        Some(SnapshotCommand::Inspect { id }) => {
            let snapshot = server.client().snapshot(&id).await?.snapshot;
            say::out(&format!("{}\n", json(&snapshot)?))?;
            Ok(Exit::Command(0))
        }
        Some(SnapshotCommand::Rm { ids }) => {
            let each = ids.iter().map(async |id| {
                let removed = server.client().delete_snapshot(id).await;
                told(id, removed.map(drop).map_err(Failure::from))
            });
            Ok(worst(join_all(each).await))
        }
    }
}

async fn take(server: &Server, args: &SnapshotTake) -> Result<Exit, Failure> {
    let name = args.sandbox.as_deref().unwrap_or_default();
    let session = running(server, name).await?.session.id;
    // What somebody asked for is not taken away by itself.
    let asked = CreateSnapshot {
        name: args.called.clone(),
        memory: args.memory.then_some(true),
        expiration: Some(args.expires.map_or(0, duration::millis)),
    };
    let taken = server.client().take_snapshot(&session, &asked).await?.snapshot;
    if args.json {
        say::out(&format!("{}\n", json(&taken)?))?;
    } else {
        say::out(&format!("{}\n", taken.id))?;
    }
    Ok(Exit::Command(0))
}

async fn list(server: &Server, name: Option<String>) -> Result<Vec<Taken>, Failure> {
    let mut snapshots = Vec::new();
    let mut query = PageQuery { name, limit: Some(PAGE), ..PageQuery::default() };
    loop {
        let page = server.client().snapshots(&query).await?;
        snapshots.extend(page.snapshots);
        query.cursor = page.pagination.next;
        if query.cursor.is_none() {
            return Ok(snapshots);
        }
    }
}

fn table(snapshots: &[Taken], now_ms: u64) -> String {
    let mut table = Table::new(COLUMNS);
    let span = |ms: u64| duration::short(Duration::from_millis(ms));
    for snapshot in snapshots {
        let made = match (snapshot.status, snapshot.creation_method) {
            (SnapshotStatus::Deleted, _) => "deleted",
            (SnapshotStatus::Failed, _) => "failed",
            (SnapshotStatus::Created, Some(api::CreationMethod::Automatic)) => "automatic",
            (SnapshotStatus::Created, _) => "manual",
        };
        let expires = snapshot.expires_at.map(|at| span(at.saturating_sub(now_ms)));
        table.row([
            snapshot.id.clone(),
            snapshot.name.clone().unwrap_or_default(),
            snapshot.source_sandbox_name.clone().unwrap_or_default(),
            made.to_owned(),
            size::short(snapshot.size_bytes),
            snapshot.memory.map_or_else(String::new, |memory| size::short(memory.size_bytes)),
            span(now_ms.saturating_sub(snapshot.created_at)),
            expires.unwrap_or_default(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_whose_it_is_and_when_it_goes() {
        let manual = Taken {
            id: "snap_1".into(),
            name: Some("warm".into()),
            source_session_id: "sbx_1".into(),
            region: "local".into(),
            regions: Vec::new(),
            status: SnapshotStatus::Created,
            size_bytes: 3 << 20,
            expires_at: None,
            created_at: 100_000,
            updated_at: 100_000,
            last_used_at: None,
            creation_method: Some(api::CreationMethod::Manual),
            parent_id: None,
            source_sandbox_name: Some("box".into()),
            memory: Some(api::SnapshotMemory {
                vcpus: 1,
                memory: 512,
                size_bytes: 5 << 20,
                written_bytes: 30 << 20,
            }),
        };
        let automatic = Taken {
            id: "snap_2".into(),
            name: None,
            memory: None,
            creation_method: Some(api::CreationMethod::Automatic),
            expires_at: Some(190_000),
            ..manual.clone()
        };
        assert_eq!(
            table(&[manual, automatic], 130_000),
            "ID      NAME  SANDBOX  MADE       DISK     MEMORY   AGE  EXPIRES IN\n\
             snap_1  warm  box      manual     3.0 MiB  5.0 MiB  30s\n\
             snap_2        box      automatic  3.0 MiB           30s  1m00s\n"
        );
    }
}
