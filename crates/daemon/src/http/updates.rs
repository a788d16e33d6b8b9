//! Sandboxes that change, and those that are made from another.

use std::sync::Arc;

use api::{Code, ForkLive, ForkSandbox, UpdateSandbox};
use axum::{Json, extract::Path};

use super::{
    Server, drives,
    error::{Failure, Reply},
    images,
    json::{Body400, MaybeBody400, Query400},
    keeping::Asked,
    network, placement, ports, sandboxes,
    snapshots::usable,
    wire,
};
use crate::{
    clock,
    ids::{SandboxKey, SandboxName, SessionId},
    limits,
    registry::{NewSandbox, WithMemory},
    route::{Admission, Route},
    sandbox::Sandbox,
    store::{Change, Phase, SandboxRecord, SnapshotRecord, Usage},
};

/// Changes what is named; nothing if any of it is wrong.
pub(crate) async fn update(
    server: Server,
    Path(name): Path<String>,
    Query400(query): Query400<sandboxes::GetQuery>,
    Body400(body): Body400<UpdateSandbox>,
) -> Reply<Json<api::SandboxReply>> {
    let sandbox = sandboxes::find(&server, &name)?;
    let snapshot = body.current_snapshot_id.as_deref();
    let snapshot = snapshot.map(|id| usable(&server, &sandbox.key.project, id)).transpose()?;
    let policy = body.network_policy.as_ref();
    let policy = policy.map(|asked| network::policy_of(&server, &sandbox, asked)).transpose()?;
    changed(sandbox.durable.record(), &body, snapshot.as_ref())?;
    drives::find_all(&server, &sandbox.key.project, body.mounts.iter().flatten())?;
    if let Some(policy) = policy {
        network::change(&server, &sandbox, policy).await?;
    }
    let turn = sandbox.durable.turn().await?;
    let next = changed(turn.record(), &body, snapshot.as_ref())?;
    server.context().store.commit(vec![Change::Sandbox(next.clone())]).await?;
    server.context().snapshots.point(sandbox.key.clone(), next.current_snapshot.clone());
    turn.set(next);
    drop(turn);
    sandboxes::reply(&server, &sandbox, query).await
}

/// The record with what the request says.
fn changed(
    mut record: SandboxRecord,
    body: &UpdateSandbox,
    snapshot: Option<&SnapshotRecord>,
) -> Reply<SandboxRecord> {
    sandboxes::check_fields(&sandboxes::Fields {
        timeout: body.timeout,
        tags: body.tags.as_ref(),
        env: body.env.as_ref(),
    })?;
    let asked = Asked {
        persistent: body.persistent,
        expiration: body.snapshot_expiration,
        last: body.keep_last_snapshots,
    };
    record.keeping = asked.over(record.keeping)?;
    if let Some(resources) = body.resources {
        record.shape = sandboxes::shape(resources)?;
    }
    record.timeout_ms = body.timeout.unwrap_or(record.timeout_ms);
    if let Some(mounts) = &body.mounts {
        record.mounts = drives::asked(mounts)?;
    }
    let placed = placement::Asked {
        region: body.region.as_deref(),
        failover_regions: body.failover_regions.as_deref(),
        network_id: body.network_id.as_ref().map(Option::as_deref),
    };
    record.placement = placed.over(record.placement)?;
    record.idle_timeout_ms = body.idle_timeout.unwrap_or(record.idle_timeout_ms);
    sandboxes::check_idle_timeout(record.idle_timeout_ms, &record.mounts)?;
    if let Some(env) = &body.env {
        record.env.clone_from(&env.0);
    }
    if let Some(tags) = &body.tags {
        record.tags = Some(tags.clone());
    }
    if let Some(listed) = &body.ports {
        record.routes = routes(&record.routes, &record.routes, listed)?;
    }
    if let Some(snapshot) = snapshot {
        // Of its image once a session starts from it: until then the sandbox is what runs.
        record.current_snapshot = Some(snapshot.id.clone());
    }
    Ok(record)
}

/// Routes for the ports that are listed. One that is private stays so.
fn routes(kept: &[Route], before: &[Route], listed: &[u16]) -> Reply<Vec<Route>> {
    let is_private = |route: &&Route| route.admission == Admission::Private;
    let private = before.iter().filter(is_private).map(|route| route.port);
    let private: Vec<u16> = private.filter(|port| listed.contains(port)).collect();
    ports::asked(kept, listed, &private)
}

/// Makes a sandbox that starts from the current snapshot of another, or from its image if that has
/// none.
pub(crate) async fn fork(
    server: Server,
    Path(name): Path<String>,
    Body400(body): Body400<ForkSandbox>,
) -> Reply<Json<api::SandboxReply>> {
    let project = server.project(body.project_id.as_deref())?;
    let source = sandboxes::find(&server, &name)?;
    if source.key.project != project {
        let text = format!("Named sandbox '{name}' not found for this project.");
        return Err(Failure::new(Code::NotFound, text));
    }
    settled(&source).await;
    let name = body.name.as_deref().map(SandboxName::parse).transpose();
    let name = name.map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))?;
    let mut record = fork_of(source.durable.record(), &body)?;
    let before = source.durable.record().routes;
    let listed: Vec<u16> = before.iter().map(|route| route.port).collect();
    record.routes = routes(&[], &before, body.ports.as_ref().unwrap_or(&listed))?;
    let snapshot = match &record.current_snapshot {
        Some(id) => Some(usable(&server, &project, id.as_str())?),
        None => None,
    };
    if let Some(snapshot) = &snapshot {
        record.start_from(snapshot);
    }
    check_image(&server, &record, body.image.as_deref())?;
    let network = network::fork(&server, &source, body.network_policy.as_ref())?;
    let shape = record.shape;
    let made = move |SandboxKey { project, name }, session: SessionId| SandboxRecord {
        project,
        name,
        session,
        created_at: clock::now_ms(),
        used_before: Usage::default(),
        ..record
    };
    let snapshot = snapshot.map(|snapshot| snapshot.id);
    let new = NewSandbox {
        project,
        name,
        record: Box::new(made),
        shape,
        snapshot,
        memory: WithMemory::No,
        network,
        source: None,
    };
    let sandbox = server.registry().create(new).await?;
    Ok(Json(wire::reply(&server, &sandbox)))
}

/// Makes sandboxes with the memory, the processes and the disk that this one has now. It goes on.
pub(crate) async fn fork_live(
    server: Server,
    Path(name): Path<String>,
    MaybeBody400(body): MaybeBody400<ForkLive>,
) -> Reply<Json<api::ForkLiveReply>> {
    let count = body.count.unwrap_or(1);
    if !(1..=limits::FORKS_MAX).contains(&count) {
        let text = format!("Invalid request: `count` must be 1 to {}", limits::FORKS_MAX);
        return Err(Failure::bad_request(text));
    }
    let source = sandboxes::find(&server, &name)?;
    let before = source.durable.record();
    let listed: Vec<u16> = before.routes.iter().map(|route| route.port).collect();
    let child = |_| {
        let routes = routes(&[], &before.routes, &listed)?;
        let shape = source.current().record.shape;
        Ok(SandboxRecord { routes, shape, ..before.child() })
    };
    let children = (0..count).map(child).collect::<Reply<Vec<_>>>()?;
    let network = network::fork(&server, &source, None)?;
    let forks = server.registry().fork(&source, children, network).await?;
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    Ok(Json(api::ForkLiveReply {
        sandboxes: forks.children.iter().map(|child| wire::reply(&server, child)).collect(),
        paused_ms: millis(forks.paused),
        held_ms: millis(forks.held),
    }))
}

/// Pauses a sandbox: its memory is kept on the disk, and its machine is gone.
pub(crate) async fn pause(
    server: Server,
    Path(name): Path<String>,
) -> Reply<Json<api::PauseReply>> {
    let sandbox = sandboxes::find(&server, &name)?;
    let paused = sandbox.current().pause().await?;
    let api::SandboxReply { sandbox, session, .. } = wire::reply(&server, &sandbox);
    Ok(Json(api::PauseReply {
        sandbox,
        session,
        written_bytes: paused.map(|paused| paused.written_bytes),
        stored_bytes: paused.map(|paused| paused.stored_bytes),
        took_ms: paused.map(|paused| paused.took.as_secs_f64() * 1000.0),
    }))
}

/// What its session is about to become is what it is forked from.
async fn settled(source: &Arc<Sandbox>) {
    let current = source.current();
    if matches!(current.phase(), Phase::Snapshotting | Phase::Stopping) {
        current.ended().await;
    }
}

/// A fork's disk is of the image that it has.
fn check_image(server: &Server, record: &SandboxRecord, asked: Option<&str>) -> Reply<()> {
    let wanted = images::reference(asked, server.visitor.caller)?;
    if asked.is_none() || images::shown(&wanted) == record.image {
        return Ok(());
    }
    let text = format!(
        "Invalid request: `image` can be no other than the source's, which is {:?}; leave it out",
        record.image
    );
    Err(Failure::bad_request(text))
}

fn fork_of(source: SandboxRecord, body: &ForkSandbox) -> Reply<SandboxRecord> {
    let update = UpdateSandbox {
        persistent: body.persistent,
        resources: body.resources,
        timeout: body.timeout,
        tags: body.tags.clone(),
        env: body.env.clone(),
        mounts: Some(body.mounts.clone()),
        region: body.region.clone(),
        failover_regions: body.failover_regions.clone(),
        network_id: body.network_id.clone().map(Some),
        snapshot_expiration: body.snapshot_expiration,
        keep_last_snapshots: body.keep_last_snapshots,
        ..UpdateSandbox::default()
    };
    changed(source, &update, None)
}
