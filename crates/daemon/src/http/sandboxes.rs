//! Sandboxes by name: create, get, list, delete.

use std::{collections::BTreeMap, sync::Arc};

use api::{CreateSandbox, SandboxQuery, SortBy, Source};
use axum::{Json, extract::Path};
use machine::Shape;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Reader, Server,
    access::Caller,
    drives,
    error::{Failure, Reply},
    images,
    json::{Body400, Query400},
    keeping::Asked,
    network,
    paging::{Wanted, by_time, is_by_time},
    placement, ports, runtimes,
    snapshots::usable,
    sources, wire,
};
use crate::{
    clock,
    ids::{Project, SandboxKey, SandboxName, SessionId},
    limits, platform,
    registry::{Came, CreateError, Mark, NewSandbox, Orphans, ResumeError, Resumed, WithMemory},
    route::Route,
    sandbox::Sandbox,
    store::{Keeping, MountRecord, Placement, SandboxRecord, SnapshotRecord, Usage},
    templates::BaseImage,
};

pub(crate) async fn create(
    server: Server,
    Body400(mut body): Body400<CreateSandbox>,
) -> Reply<Json<api::SandboxReply>> {
    let (mounts, placement) = check(&body)?;
    let mark = Mark::of(&body);
    // Who is on this machine sits behind the same company's proxies as the guest will.
    let trusts = server.visitor.caller == Caller::Local || server.shared.trust_host_ca;
    body.trust_host_ca.get_or_insert(trusts);
    let name = body.name.as_deref().map(SandboxName::parse).transpose();
    let name = name.map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))?;
    let asked = Asked {
        persistent: body.persistent,
        expiration: body.snapshot_expiration,
        last: body.keep_last_snapshots,
    };
    let keeping = asked.with(server.defaults)?;
    let project = server.project(body.project_id.as_deref())?;
    let ground = ground(&server, &mut body, &project).await?;
    let routes = ports::asked(&[], &body.ports, &body.private_ports)?;
    let remembered = ground.snapshot.as_ref().and_then(|one| Some((one, one.memory.as_ref()?)));
    let (policy, resources) = (body.network_policy.as_ref(), body.resources);
    let (shape, network, memory) = match remembered.filter(|_| ground.memory == WithMemory::Yes) {
        Some((snapshot, memory)) => {
            check_shape(memory.shape, resources)?;
            let network = network::of_snapshot(&server, snapshot, &memory.network, policy)?;
            (memory.shape, network, WithMemory::Yes)
        }
        None => {
            let network = network::new(&server, &project, policy)?;
            (shape(resources.unwrap_or_default())?, network, WithMemory::No)
        }
    };
    let source = body.source.as_ref().map(sources::parse).transpose()?.flatten();
    let snapshot = ground.snapshot.as_ref().map(|snapshot| snapshot.id.clone());
    let settings = Settings { keeping, routes, mounts, placement };
    let record = record(body, shape, settings, ground);
    let registry = server.registry();
    // Of who is on this machine no answer is lost.
    let retried = name.clone().filter(|_| server.visitor.caller == Caller::Remote);
    let retried = retried.map(|name| SandboxKey { project: project.clone(), name });
    let turn = match &retried {
        Some(key) => Some(registry.turn(key, mark).await),
        None => None,
    };
    let came = turn.as_ref().map_or(Came::First, |turn| turn.came);
    let new = NewSandbox { project, name, record, shape, snapshot, memory, network, source };
    let sandbox = match (registry.create(new).await, retried) {
        (Ok(sandbox), Some(_)) => {
            registry.note_create(&sandbox, mark);
            sandbox
        }
        (Err(error @ CreateError::Exists(_)), Some(key)) => {
            registry.made_just_now(&key, mark, came).ok_or(error)?
        }
        (made, _) => made?,
    };
    Ok(Json(wire::reply(&server, &sandbox)))
}

/// What no field's type says. Gives what is to be stored of that.
fn check(body: &CreateSandbox) -> Reply<(BTreeMap<String, MountRecord>, Placement)> {
    runtimes::check(body)?;
    if body.image.is_some() && matches!(body.source, Some(Source::Snapshot { .. })) {
        let text = "Invalid request: `image` and a snapshot as `source` cannot be used together";
        return Err(Failure::bad_request(text));
    }
    let stored = (drives::asked(&body.mounts)?, placed(body)?);
    check_idle_timeout(body.idle_timeout, &body.mounts)?;
    let env = Some(&body.env);
    check_fields(&Fields { timeout: body.timeout, tags: body.tags.as_ref(), env })?;
    Ok(stored)
}

fn placed(body: &CreateSandbox) -> Reply<Placement> {
    let asked = placement::Asked {
        region: body.region.as_deref(),
        failover_regions: body.failover_regions.as_deref(),
        network_id: body.network_id.as_deref().map(Some),
    };
    asked.over(Placement::default())
}

/// What has drives cannot be paused.
pub(crate) fn check_idle_timeout<T>(asked: Option<u64>, mounts: &BTreeMap<String, T>) -> Reply<()> {
    let fault = |text: &str| Err(Failure::bad_request(format!("Invalid request: {text}")));
    let (min, max) = (limits::TIMEOUT_MS_MIN, limits::TIMEOUT_MS_MAX);
    match asked {
        None => Ok(()),
        Some(_) if !mounts.is_empty() => {
            fault("`idleTimeout` and `mounts` cannot be used together: drives keep from pausing")
        }
        Some(ms) if (min..=max).contains(&ms) => Ok(()),
        Some(_) => fault(&format!("`idleTimeout` must be {min} to {max} ms")),
    }
}

/// What a create and a change have in common.
pub(crate) struct Fields<'a> {
    pub(crate) timeout: Option<u64>,
    pub(crate) tags: Option<&'a BTreeMap<String, String>>,
    pub(crate) env: Option<&'a api::Env>,
}

pub(crate) fn check_fields(fields: &Fields<'_>) -> Reply<()> {
    let fault = |text: String| Err(Failure::bad_request(format!("Invalid request: {text}")));
    let timeout = fields.timeout.unwrap_or(limits::TIMEOUT_MS);
    if !(limits::TIMEOUT_MS_MIN..=limits::TIMEOUT_MS_MAX).contains(&timeout) {
        let (min, max) = (limits::TIMEOUT_MS_MIN, limits::TIMEOUT_MS_MAX);
        return fault(format!("`timeout` must be {min} to {max} ms"));
    }
    if fields.tags.is_some_and(|tags| limits::TAGS_MAX < tags.len()) {
        return fault(format!("`tags` may be {} at most", limits::TAGS_MAX));
    }
    let long = |text: &String| limits::TAG_BYTES_MAX < text.len();
    let mut tags = fields.tags.into_iter().flatten();
    if tags.any(|(key, value)| key.is_empty() || long(key) || long(value)) {
        let max = limits::TAG_BYTES_MAX;
        return fault(format!("`tags` have keys and values of {max} bytes at most"));
    }
    fields.env.map_or(Ok(()), |env| env.check()).or_else(fault)
}

/// What a new sandbox's disk starts as.
struct Ground {
    image: String,
    digest: Option<String>,
    origin: Option<String>,
    user: String,
    cwd: String,
    snapshot: Option<SnapshotRecord>,
    memory: WithMemory,
}

async fn ground(server: &Server, body: &mut CreateSandbox, project: &Project) -> Reply<Ground> {
    let images = &server.context().images;
    if let Some(Source::Snapshot { snapshot_id, memory }) = &body.source {
        let snapshot = usable(server, project, snapshot_id)?;
        let memory = with_memory(*memory, &snapshot, &body.mounts)?;
        if let Some(digest) = &snapshot.image_digest {
            images.note_use(digest).await;
        }
        if body.runtime.is_some() && snapshot.image != image::recipe::NAME {
            let text = "`runtime` is for the default image, and the snapshot is of another";
            return Err(Failure::invalid(text));
        }
        if body.runtime.is_none() {
            body.runtime.clone_from(&snapshot.runtime);
        }
        if body.runtime.is_some() {
            let image = images.recall((&snapshot).into()).await?;
            runtimes::put_first(body, &image.config().env);
        }
        return Ok(Ground {
            image: snapshot.image.clone(),
            digest: snapshot.image_digest.clone(),
            origin: snapshot.image_origin.clone(),
            user: snapshot.user.clone(),
            cwd: snapshot.cwd.clone(),
            snapshot: Some(snapshot),
            memory,
        });
    }
    let wanted = images::reference(body.image.as_deref(), server.visitor.caller)?;
    let found = images::find(server, &wanted, body.pull.unwrap_or_default()).await?;
    let image = found.arrived().await?;
    images.note_use(image.digest()).await;
    let (origin, runtime_user) = (image.origin(), image.config().runtime_user.clone());
    let mut image = BaseImage { name: images::shown(&wanted), ..platform::base_image(&image) };
    runtimes::choose(body, &mut image, runtime_user.as_deref());
    Ok(Ground {
        image: image.name,
        digest: Some(image.digest),
        origin: Some(origin),
        user: image.user,
        cwd: image.cwd,
        snapshot: None,
        memory: WithMemory::No,
    })
}

fn with_memory<T>(
    asked: Option<bool>,
    snapshot: &SnapshotRecord,
    mounts: &BTreeMap<String, T>,
) -> Reply<WithMemory> {
    let fault = |text: &str| Err(Failure::bad_request(format!("Invalid request: {text}")));
    match (asked, &snapshot.memory) {
        (Some(false), _) | (None, None) => Ok(WithMemory::No),
        (Some(true), None) => {
            fault("`source.memory` is true, and the snapshot has none, only a disk")
        }
        (_, Some(_)) if !mounts.is_empty() => fault(
            "`mounts` cannot be used with the memory of a snapshot; `source.memory` false starts from its disk alone",
        ),
        (_, Some(_)) => Ok(WithMemory::Yes),
    }
}

/// A memory is of a machine of one form.
fn check_shape(shape: Shape, asked: Option<api::Resources>) -> Reply<()> {
    let api::Resources { vcpus, memory } = asked.unwrap_or_default();
    let Shape { vcpus: has, memory_mib } = shape;
    let fits = vcpus.is_none_or(|vcpus| vcpus == has)
        && memory.is_none_or(|memory| memory == u64::from(memory_mib));
    let text = format!(
        "Invalid request: the snapshot's memory is of a machine with {has} vCPUs and {memory_mib} MiB; leave `resources` out, or start from its disk alone (`source.memory` false)"
    );
    if fits { Ok(()) } else { Err(Failure::bad_request(text)) }
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

/// What a body says, as it is stored.
struct Settings {
    keeping: Keeping,
    routes: Vec<Route>,
    mounts: BTreeMap<String, MountRecord>,
    placement: Placement,
}

type MakeRecord = Box<dyn FnOnce(SandboxKey, SessionId) -> SandboxRecord + Send>;

fn record(body: CreateSandbox, shape: Shape, settings: Settings, ground: Ground) -> MakeRecord {
    Box::new(move |SandboxKey { project, name }, session| SandboxRecord {
        name,
        project,
        image: ground.image,
        image_digest: ground.digest,
        image_origin: ground.origin,
        runtime: body.runtime,
        shape,
        timeout_ms: body.timeout.unwrap_or(limits::TIMEOUT_MS),
        idle_timeout_ms: body.idle_timeout,
        env: body.env.0,
        user: body.user.unwrap_or(ground.user),
        cwd: ground.cwd,
        routes: settings.routes,
        tags: body.tags,
        mounts: settings.mounts,
        placement: settings.placement,
        trust_host_ca: body.trust_host_ca.unwrap_or(false),
        created_at: clock::now_ms(),
        keeping: settings.keeping,
        // What is not kept does not go on, not even from where it began.
        current_snapshot: ground.snapshot.map(|one| one.id).filter(|_| settings.keeping.persistent),
        session,
        used_before: Usage::default(),
    })
}

pub(crate) fn find(server: &Server, name: &str) -> Reply<Arc<Sandbox>> {
    server.sandbox(name)
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct GetQuery {
    /// Whether a session is started if none runs. A GET that does not say starts none, and is refused (410,
    /// `snapshot_not_found`) if the sandbox has stopped and cannot go on.
    resume: Option<bool>,
}

/// With `resume`, answers once a session runs: one that is ending is waited for, and a new one started.
pub(crate) async fn get(
    Reader(server): Reader,
    Path(name): Path<String>,
    Query400(query): Query400<GetQuery>,
) -> Reply<Json<api::SandboxReply>> {
    if query.resume == Some(true) {
        server.may_change()?;
    }
    let sandbox = find(&server, &name)?;
    if query.resume.is_none() {
        // By this answer Vercel's clients know to make it anew.
        server.registry().can_go_on(&sandbox).map_err(ResumeError::from)?;
    }
    reply(&server, &sandbox, query).await
}

pub(crate) async fn reply(
    server: &Server,
    sandbox: &Arc<Sandbox>,
    query: GetQuery,
) -> Reply<Json<api::SandboxReply>> {
    let resumed = match query.resume {
        Some(true) => server.registry().resume(sandbox).await? == Resumed::Yes,
        Some(false) | None => false,
    };
    Ok(Json(api::SandboxReply { resumed: Some(resumed), ..wire::reply(server, sandbox) }))
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RemoveQuery {
    /// `true`, `false`, or ours: `automatic`.
    delete_orphan_snapshots: Option<String>,
}

/// Its snapshots stay, unless the request says otherwise; those that other sandboxes start from stay in
/// any case.
pub(crate) async fn remove(
    server: Server,
    Path(name): Path<String>,
    Query400(query): Query400<RemoveQuery>,
) -> Reply<Json<api::DeleteReply>> {
    let sandbox = find(&server, &name)?;
    let orphans = match query.delete_orphan_snapshots.as_deref() {
        None | Some("false") => Orphans::Keep,
        Some("true") => Orphans::DeleteAll,
        Some("automatic") => Orphans::DeleteAutomatic,
        Some(_) => {
            let text = "`deleteOrphanSnapshots` must be true, false or automatic";
            return Err(Failure::bad_request(format!("Invalid request: {text}")));
        }
    };
    server.registry().remove(&sandbox, orphans).await?;
    Ok(Json(api::DeleteReply { sandbox: wire::sandbox(&sandbox) }))
}

pub(crate) async fn list(
    Reader(server): Reader,
    Query400(query): Query400<SandboxQuery>,
) -> Reply<Json<api::SandboxList>> {
    let sort_by = query.sort_by.unwrap_or(SortBy::CreatedAt);
    let is_place = |text: &str| is_place(text, sort_by);
    let wanted = Wanted::new(query.limit, query.sort_order, query.cursor.as_deref(), is_place)?;
    if query.name_prefix.is_some() && sort_by != SortBy::Name {
        let text = "Invalid request: `namePrefix` is only valid when `sortBy` is `name`";
        return Err(Failure::bad_request(text));
    }
    let tag = query.tags.as_deref().map(|text| text.split_once(':').ok_or_else(no_tag));
    let tag = tag.transpose()?;
    let all = server.sandboxes()?.into_iter().map(|each| wire::sandbox(&each));
    let all = all.filter(|each| fits(each, &query, tag)).collect();
    let (sandboxes, pagination) = wanted.page(all, |each| place(each, sort_by));
    Ok(Json(api::SandboxList { sandboxes, pagination }))
}

fn no_tag() -> Failure {
    Failure::bad_request("Invalid request: `tags` must be `key:value`")
}

fn fits(sandbox: &api::Sandbox, query: &SandboxQuery, tag: Option<(&str, &str)>) -> bool {
    let tagged = |(key, value): (&str, &str)| {
        sandbox.tags.as_ref().and_then(|tags| tags.get(key)).is_some_and(|has| has == value)
    };
    query.name_prefix.as_ref().is_none_or(|prefix| sandbox.name.starts_with(prefix))
        && query.status.is_none_or(|status| sandbox.status == status)
        && tag.is_none_or(tagged)
}

/// Sorted by what was asked, and by name where that is the same.
fn place(sandbox: &api::Sandbox, sort_by: SortBy) -> String {
    let name = &sandbox.name;
    match sort_by {
        SortBy::CreatedAt => by_time(sandbox.created_at, name),
        SortBy::StatusUpdatedAt => by_time(sandbox.status_updated_at.unwrap_or(0), name),
        SortBy::Name => name.clone(),
        SortBy::CurrentSnapshotId => {
            format!("{}.{name}", sandbox.current_snapshot_id.as_deref().unwrap_or_default())
        }
    }
}

/// Whether it has the form of such a place.
fn is_place(text: &str, sort_by: SortBy) -> bool {
    let is_name = |text: &str| SandboxName::parse(text).is_ok();
    match sort_by {
        SortBy::CreatedAt | SortBy::StatusUpdatedAt => is_by_time(text),
        SortBy::Name => is_name(text),
        SortBy::CurrentSnapshotId => text.split_once('.').is_some_and(|(_, name)| is_name(name)),
    }
}
