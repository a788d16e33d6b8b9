//! Snapshots: take, list, get, delete, tree.

use std::sync::Arc;

use api::{Code, CreateSnapshot, PageQuery, SortOrder, TreeQuery};
use axum::{Json, extract::Path, http::StatusCode};

use super::{
    Reader, Server,
    error::{Failure, Reply},
    json::{MaybeBody400, Query400},
    keeping,
    paging::{Wanted, by_time, is_by_time},
    sessions, wire,
};
use crate::{
    ids::{Project, SnapshotId, SnapshotName},
    limits,
    registry::MemoryWanted,
    snapshots::{Node, Walk, walk},
    store::SnapshotRecord,
};

/// Of the others of one parent, which may be very many.
const SIBLINGS_SHOWN: usize = 10;

/// Answers when the snapshot is there; the session ends with it, unless its memory is kept too.
pub(crate) async fn create(
    server: Server,
    Path(id): Path<String>,
    // The clients send no body where they have nothing to say.
    MaybeBody400(asked): MaybeBody400<CreateSnapshot>,
) -> Reply<(StatusCode, Json<api::CreateSnapshotReply>)> {
    let session = sessions::find(&server, &id)?;
    let expiration =
        asked.expiration.map(|ms| keeping::expiration("expiration", ms)).transpose()?;
    if server.context().snapshots.is_full() {
        let text = format!("{} snapshots are kept already; delete some", limits::SNAPSHOTS_MAX);
        return Err(Failure::new(Code::LimitReached, text));
    }
    let name = asked.name.as_deref().map(SnapshotName::parse).transpose();
    let name = name.map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))?;
    let hold = |name| server.context().snapshots.hold_name(&session.record.project, name);
    let name = name.map(hold).transpose();
    let name = name.map_err(|taken| Failure::new(Code::Conflict, taken.to_string()))?;
    let snapshot = if asked.memory == Some(true) {
        let wanted = MemoryWanted { name, expiration_ms: expiration };
        server.registry().keep_memory(Arc::clone(&session), wanted).await?
    } else {
        session.snapshot(name, expiration).await?
    };
    let reply = api::CreateSnapshotReply {
        snapshot: wire::snapshot(&snapshot),
        session: wire::session(&session, &session.view()),
    };
    Ok((StatusCode::CREATED, Json(reply)))
}

/// A snapshot of the request's project, by its id, also one that is deleted, or by its name.
pub(crate) fn find(server: &Server, id: &str) -> Reply<SnapshotRecord> {
    let snapshots = &server.context().snapshots;
    let found = snapshots.find(&SnapshotId::of(id));
    let found = found.filter(|snapshot| server.covers(&snapshot.project));
    let found = found.or_else(|| snapshots.named(&server.project(None).ok()?, id));
    found.ok_or_else(|| {
        Failure::new(Code::NotFound, format!("There is no snapshot '{id}' in this project."))
    })
}

/// One that a sandbox of this project can start from.
pub(crate) fn usable(server: &Server, project: &Project, id: &str) -> Reply<SnapshotRecord> {
    let snapshot = find(server, id)?;
    if snapshot.project != *project {
        let text = format!("There is no snapshot '{id}' in this project.");
        return Err(Failure::new(Code::NotFound, text));
    }
    if !snapshot.is_there() {
        let text = format!("Snapshot '{id}' has been deleted or has expired.");
        return Err(Failure::new(Code::SnapshotNotFound, text));
    }
    Ok(snapshot)
}

pub(crate) async fn get(
    Reader(server): Reader,
    Path(id): Path<String>,
) -> Reply<Json<api::SnapshotReply>> {
    Ok(Json(api::SnapshotReply { snapshot: wire::snapshot(&find(&server, &id)?) }))
}

/// Sandboxes that run on it run on; what would start from it next cannot.
pub(crate) async fn remove(
    server: Server,
    Path(id): Path<String>,
) -> Reply<Json<api::SnapshotReply>> {
    let found = find(&server, &id)?;
    let deleted = server.context().snapshots.delete(&found.id).await?.unwrap_or(found);
    Ok(Json(api::SnapshotReply { snapshot: wire::snapshot(&deleted) }))
}

/// Those of the request's project, with those that are deleted and remembered.
pub(crate) fn all(server: &Server) -> Reply<Vec<SnapshotRecord>> {
    let project = server.project(None)?;
    let mut all = server.context().snapshots.list();
    all.retain(|snapshot| snapshot.project == project);
    Ok(all)
}

pub(crate) async fn list(
    Reader(server): Reader,
    Query400(query): Query400<PageQuery>,
) -> Reply<Json<api::SnapshotList>> {
    let wanted = Wanted::new(query.limit, query.sort_order, query.cursor.as_deref(), is_by_time)?;
    let mut all = all(&server)?;
    all.retain(|snapshot| {
        query.name.as_deref().is_none_or(|name| snapshot.sandbox.as_str() == name)
    });
    let (page, pagination) =
        wanted.page(all, |snapshot| by_time(snapshot.created_at, snapshot.id.as_str()));
    let snapshots = page.iter().map(wire::snapshot).collect();
    Ok(Json(api::SnapshotList { snapshots, pagination }))
}

/// What a snapshot came of, or what came of it, itself first.
pub(crate) async fn tree(
    Reader(server): Reader,
    Query400(query): Query400<TreeQuery>,
) -> Reply<Json<api::SnapshotTree>> {
    let wanted = Wanted::new(query.limit, query.sort_order, None, is_by_time)?;
    if query.snapshot_id.is_empty() {
        return Err(Failure::bad_request("Invalid request: `snapshotId` must name a snapshot"));
    }
    let anchor = find(&server, &query.snapshot_id)?;
    let mut all = server.context().snapshots.list();
    all.retain(|snapshot| snapshot.project == anchor.project);
    let way = match query.sort_order.unwrap_or(SortOrder::Desc) {
        SortOrder::Asc => Walk::ToDescendants,
        SortOrder::Desc => Walk::ToAncestors,
    };
    let nodes = walk(&all, &anchor.id, way);
    let (page, pagination) = wanted.first(nodes, |node| node.snapshot.id.to_string());
    let snapshots: Vec<_> = page.iter().map(shown).collect();
    Ok(Json(api::SnapshotTree { anchor: snapshots.first().cloned(), snapshots, pagination }))
}

fn shown(node: &Node) -> api::TreeNode {
    api::TreeNode {
        snapshot: wire::snapshot(&node.snapshot),
        siblings: node.siblings.iter().take(SIBLINGS_SHOWN).map(wire::snapshot).collect(),
        count: (node.siblings.len() + 1).to_string(),
    }
}
