//! The HTTP server: Vercel's routes and ours, translated to and from what is inside.

mod access;
mod attach;
mod commands;
mod connections;
mod description;
mod doors;
mod drives;
mod error;
mod files;
mod host_reach;
mod identity;
mod images;
mod ingress;
mod interactive;
mod json;
mod keeping;
mod network;
pub mod network_policy;
mod output;
mod paging;
mod placement;
mod ports;
mod runtimes;
mod sandboxes;
mod secrets;
mod server_routes;
mod sessions;
mod snapshots;
mod sources;
mod stdin;
mod tokens;
mod tunnel;
mod updates;
mod v1;
mod visit;
mod whole;
mod wire;

use std::sync::Arc;

use aide::axum::routing::{delete, get, post, put};
use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, header::HeaderName},
    middleware::{self, Next},
    response::Response,
};
use tracing::Instrument;

pub(crate) use access::{Access, Token};
pub(crate) use connections::{Door, serve};
use description::Routes;
pub(crate) use doors::{Later, Loopback, Opened, serve_all};
pub use host_reach::HostReach;
pub(crate) use ingress::Ingress;
pub(crate) use interactive::Tickets;
use keeping::Defaults;
pub(crate) use server_routes::reopen_loopback;
use visit::{Administrator, Reader, Server};

use crate::{clock, ids, limits, registry::Registry, tokens::Tokens};

/// What all routes share; each is given a [`Server`], which is this as the request sees it.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) version: api::Version,
    pub(crate) loopback: Arc<Loopback>,
    /// Whether all guests trust the authorities that this host was given, where nobody says.
    pub(crate) trust_host_ca: bool,
    pub(crate) host_reach: HostReach,
    /// Told once a newer server wants to take over.
    pub(crate) handover: tokio_util::sync::CancellationToken,
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All routes, for callers that `access` lets in.
pub(crate) fn router(shared: Shared, access: Access) -> Router {
    let (api, description) = described();
    let api = api.route(identity::PATH, axum::routing::get(identity::keys));
    Router::new()
        .nest("/api", api.clone())
        .merge(api)
        .merge(description::routes(&description))
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
        .layer(middleware::from_fn(whole::take_in))
        .layer(middleware::from_fn(error::in_one_form))
        .layer(middleware::from_fn_with_state(Arc::new(access), access::check))
        .layer(middleware::from_fn(log))
        .with_state(shared)
}

/// The routes of the API, and what they say of themselves.
fn described() -> (Router<Shared>, serde_json::Value) {
    let sandboxes = sandbox_routes();
    let once = Routes::new()
        .nest("/v2/sandboxes", sandboxes.clone())
        .nest("/v1/sandboxes", v1::routes())
        .nest("/v1/fumehood", server_routes());
    let (router, description) = once.described();
    let router = router
        .nest("/v3/sandboxes", sandboxes.clone().again())
        .nest("/v4/sandboxes", sandboxes.again().layer(Extension(Defaults::KeepOne)));
    (router, description)
}

fn sandbox_routes() -> Routes {
    Routes::new()
        .route("/", get(sandboxes::list).post(sandboxes::create))
        .route("/drives", get(drives::list))
        .route("/drives/{name}", get(drives::get).post(drives::create).delete(drives::remove))
        .route("/drives/{name}/fork", post(drives::fork))
        .route("/{name}", get(sandboxes::get).patch(updates::update).delete(sandboxes::remove))
        .route("/{name}/pass", post(ports::make_pass))
        .route("/{name}/fork", post(updates::fork))
        .route("/snapshots", get(snapshots::list))
        .route("/snapshots/tree", get(snapshots::tree))
        .route("/snapshots/{id}", get(snapshots::get).delete(snapshots::remove))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{sid}", get(sessions::get))
        .route("/sessions/{sid}/stop", post(sessions::stop))
        .route("/sessions/{sid}/extend-timeout", post(sessions::extend_timeout))
        .route("/sessions/{sid}/snapshot", post(snapshots::create))
        .route("/sessions/{sid}/console", get(sessions::console))
        .route("/sessions/{sid}/audit", get(network::audit))
        .route("/sessions/{sid}/network-policy", post(network::set_policy))
        .route("/sessions/{sid}/network-policy/explain", post(network::explain))
        .route("/sessions/{sid}/attach", get(attach::attach))
        .route("/sessions/{sid}/tunnel", get(tunnel::open))
        .route("/sessions/{sid}/interactive", post(interactive::open))
        .route("/sessions/{sid}/cmd", get(commands::list).post(commands::start))
        .route("/sessions/{sid}/cmd/{cid}", get(commands::get))
        .route("/sessions/{sid}/cmd/{cid}/logs", get(commands::logs))
        .route("/sessions/{sid}/cmd/{cid}/kill", post(commands::kill))
        .route("/sessions/{sid}/cmd/{cid}/stdin", post(stdin::write))
        .route("/sessions/{sid}/fs/write", files::write_route())
        .route("/sessions/{sid}/fs/read", post(files::read))
        .route("/sessions/{sid}/fs/mkdir", post(files::mkdir))
        .route("/sessions/{sid}/fs/stat", post(files::stat))
        .route("/sessions/{sid}/fs/tar", get(files::tar))
}

fn server_routes() -> Routes {
    Routes::new()
        .route("/version", get(server_routes::version))
        .route("/listen", post(server_routes::listen))
        .route("/handover", post(server_routes::handover))
        .route("/pool", get(server_routes::pool))
        .route("/sandboxes/{name}/fork", post(updates::fork_live))
        .route("/sandboxes/{name}/pause", post(updates::pause))
        .route("/images", get(images::list).delete(images::remove))
        .route("/images/inspect", get(images::inspect))
        .route("/images/pull", post(images::pull))
        .route("/images/commit", post(images::commit))
        .route("/images/push", post(images::push))
        .route("/images/save", get(images::save))
        .route("/images/prune", post(images::prune))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/rotate-key", post(tokens::rotate_key))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/secrets", get(secrets::list))
        .route("/secrets/{name}", put(secrets::put).delete(secrets::remove))
}

/// Every request has an id, in the log and in the reply.
async fn log(request: Request, next: Next) -> Response {
    let id = format!("{:016x}", u64::from_le_bytes(ids::random()));
    let span = tracing::info_span!("request", %id);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = clock::now_ms();
    let mut response = next.run(request).instrument(span.clone()).await;
    let took_ms = clock::now_ms().saturating_sub(began);
    span.in_scope(|| {
        tracing::info!(%method, path, status = response.status().as_u16(), took_ms);
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), id);
    }
    response
}
