//! Sandboxes by name: create, get, list, delete.

use std::sync::Arc;

use api::{CreateSandbox, SandboxQuery, SortBy, SortOrder};
use axum::{Json, extract::Path};
use machine::Shape;

use super::{
    Reader, Server,
    access::Caller,
    drives,
    error::{Failure, Reply},
    images,
    json::{Body400, Query400},
    network, ports, runtimes, sources, wire,
};
use crate::{
    clock,
    ids::{SandboxKey, SandboxName, SessionId},
    limits, platform,
    registry::NewSandbox,
    route::Route,
    sandbox::Sandbox,
    store::SandboxRecord,
    templates::BaseImage,
};

const LIST_LIMIT: u32 = 20;
const LIST_LIMIT_MAX: u32 = 50;

pub(crate) async fn create(
    server: Server,
    Body400(mut body): Body400<CreateSandbox>,
) -> Reply<Json<api::SandboxReply>> {
    check(&body)?;
    let caller = server.visitor.caller;
    // Who is on this machine sits behind the same company's proxies as the guest will.
    body.trust_host_ca.get_or_insert(caller == Caller::Local);
    let name = body.name.as_deref().map(SandboxName::parse).transpose();
    let name = name.map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))?;
    let shape = shape(body.resources.unwrap_or_default())?;
    let wanted = images::reference(body.image.as_deref(), caller)?;
    let context = server.context();
    let image = context.images.get(&wanted, body.pull.unwrap_or_default()).await?;
    context.images.note_use(image.digest()).await;
    let mut image = BaseImage { name: images::shown(&wanted), ..platform::base_image(&image) };
    runtimes::choose(&mut body, &mut image);
    let project = server.project(body.project_id.as_deref())?;
    let routes = ports::asked(&[], &body.ports, &body.private_ports)?;
    let network = network::new(&server, &project, body.network_policy.as_ref())?;
    let source = body.source.as_ref().map(sources::parse).transpose()?.flatten();
    let record = record(body, shape, image, routes);
    let new = NewSandbox { project, name, record, shape, network, source };
    let sandbox = server.registry().create(new).await?;
    Ok(Json(wire::reply(&server, &sandbox)))
}

/// What no field's type says.
fn check(body: &CreateSandbox) -> Reply<()> {
    let fault = |text: String| Err(Failure::bad_request(format!("Invalid request: {text}")));
    runtimes::check(body)?;
    let timeout = body.timeout.unwrap_or(limits::TIMEOUT_MS);
    if !(limits::TIMEOUT_MS_MIN..=limits::TIMEOUT_MS_MAX).contains(&timeout) {
        let (min, max) = (limits::TIMEOUT_MS_MIN, limits::TIMEOUT_MS_MAX);
        return fault(format!("`timeout` must be {min} to {max} ms"));
    }
    if matches!(body.source, Some(api::Source::Snapshot { .. })) {
        return fault("`source` cannot be a snapshot yet".to_owned());
    }
    if body.tags.as_ref().is_some_and(|tags| limits::TAGS_MAX < tags.len()) {
        return fault(format!("`tags` may be {} at most", limits::TAGS_MAX));
    }
    let long = |text: &String| limits::TAG_BYTES_MAX < text.len();
    if body.tags.iter().flatten().any(|(key, value)| key.is_empty() || long(key) || long(value)) {
        let max = limits::TAG_BYTES_MAX;
        return fault(format!("`tags` have keys and values of {max} bytes at most"));
    }
    drives::check(&body.mounts)?;
    body.env.check().or_else(fault)
}

pub(crate) fn shape(asked: api::Resources) -> Reply<Shape> {
    let vcpus = asked.vcpus.unwrap_or(1);
    if !(1..=limits::VCPUS_MAX).contains(&vcpus) {
        let max = limits::VCPUS_MAX;
        let text = format!("Invalid request: `resources.vcpus` must be 1 to {max}");
        return Err(Failure::bad_request(text));
    }
    let memory = asked.memory.unwrap_or(u64::from(vcpus * limits::MEMORY_MIB_PER_VCPU));
    let allowed = u64::from(limits::MEMORY_MIB_MIN)..=u64::from(limits::MEMORY_MIB_MAX);
    match u32::try_from(memory) {
        Ok(memory_mib) if allowed.contains(&memory) => Ok(Shape { vcpus, memory_mib }),
        Ok(_) | Err(_) => Err(Failure::bad_request(format!(
            "Invalid request: `resources.memory` must be {} to {} MiB",
            allowed.start(),
            allowed.end()
        ))),
    }
}

type MakeRecord = Box<dyn FnOnce(SandboxKey, SessionId) -> SandboxRecord + Send>;

fn record(body: CreateSandbox, shape: Shape, image: BaseImage, routes: Vec<Route>) -> MakeRecord {
    Box::new(move |SandboxKey { project, name }, session| SandboxRecord {
        name,
        project,
        image: image.name,
        image_digest: Some(image.digest),
        runtime: body.runtime,
        shape,
        timeout_ms: body.timeout.unwrap_or(limits::TIMEOUT_MS),
        env: body.env.0,
        user: body.user.unwrap_or(image.user),
        cwd: image.cwd,
        routes,
        tags: body.tags,
        mounts: body.mounts.into_iter().filter_map(drives::recorded).collect(),
        trust_host_ca: body.trust_host_ca.unwrap_or(false),
        // It may hold secrets, and nothing holds to it here.
        created_at: clock::now_ms(),
        session,
    })
}

pub(crate) fn find(server: &Server, name: &str) -> Reply<Arc<Sandbox>> {
    server.sandbox(name)
}

pub(crate) async fn get(
    Reader(server): Reader,
    Path(name): Path<String>,
) -> Reply<Json<api::SandboxReply>> {
    Ok(Json(wire::reply(&server, &*find(&server, &name)?)))
}

pub(crate) async fn remove(
    server: Server,
    Path(name): Path<String>,
) -> Reply<Json<api::DeleteReply>> {
    let sandbox = find(&server, &name)?;
    server.registry().remove(&sandbox).await?;
    Ok(Json(api::DeleteReply { sandbox: wire::sandbox(&sandbox) }))
}

pub(crate) async fn list(
    Reader(server): Reader,
    Query400(query): Query400<SandboxQuery>,
) -> Reply<Json<api::SandboxList>> {
    let limit = query.limit.unwrap_or(LIST_LIMIT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        let text = format!("Invalid request: `limit` must be 1 to {LIST_LIMIT_MAX}");
        return Err(Failure::bad_request(text));
    }
    let sort_by = query.sort_by.unwrap_or(SortBy::CreatedAt);
    if query.name_prefix.is_some() && sort_by != SortBy::Name {
        let text = "Invalid request: `namePrefix` is only valid when `sortBy` is `name`";
        return Err(Failure::bad_request(text));
    }
    let all = server.sandboxes()?.into_iter();
    let mut all: Vec<api::Sandbox> =
        all.map(|each| wire::sandbox(&each)).filter(|each| fits(each, &query)).collect();
    all.sort_by_cached_key(|each| place(each, sort_by));
    if query.sort_order.unwrap_or(SortOrder::Desc) == SortOrder::Desc {
        all.reverse();
    }
    Ok(Json(page(all, limit, query.cursor.as_deref())))
}

fn fits(sandbox: &api::Sandbox, query: &SandboxQuery) -> bool {
    let tagged = |tag: &str| {
        let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
        sandbox.tags.as_ref().and_then(|tags| tags.get(key)).is_some_and(|has| has == value)
    };
    query.name_prefix.as_ref().is_none_or(|prefix| sandbox.name.starts_with(prefix))
        && query.status.is_none_or(|status| sandbox.status == status)
        && query.tags.as_deref().is_none_or(tagged)
}

/// Sorted by what was asked, and by name where that is the same.
fn place(sandbox: &api::Sandbox, sort_by: SortBy) -> (u64, String) {
    let first = match sort_by {
        SortBy::CreatedAt => sandbox.created_at,
        SortBy::StatusUpdatedAt => sandbox.status_updated_at.unwrap_or(0),
        SortBy::Name | SortBy::CurrentSnapshotId => 0,
    };
    (first, sandbox.name.clone())
}

/// A cursor is the name of the last sandbox of the page before.
fn page(all: Vec<api::Sandbox>, limit: u32, cursor: Option<&str>) -> api::SandboxList {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = cursor.and_then(|name| all.iter().position(|each| each.name == name));
    let from = after.map_or(0, |at| at + 1);
    let more = from + limit < all.len();
    let sandboxes: Vec<_> = all.into_iter().skip(from).take(limit).collect();
    let next = sandboxes.last().filter(|_| more).map(|last| last.name.clone());
    api::SandboxList { pagination: api::Pagination { count: sandboxes.len(), next }, sandboxes }
}
