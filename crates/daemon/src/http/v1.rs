//! Version 1 of the API, as clients up to `@vercel/sandbox` 1 and Python's `vercel` 0.5 have it: a
//! view on the same sandboxes in other words. What it calls a sandbox is a session, by whose id it
//! is known; it never persists and does not wake.

use std::cmp::Reverse;

use aide::axum::routing::{get, post};
use api::{Code, CreateSandbox};
use axum::{
    Json,
    body::{Body, to_bytes},
    http::header,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Reader, Server, commands,
    description::Routes,
    error::{Failure, Reply},
    files,
    json::{Body400, Query400},
    network, sandboxes, sessions, wire,
};
use crate::limits;

/// What its clients get that name no runtime.
const RUNTIME: &str = "node24";
const LIST_LIMIT: usize = 20;
const LIST_LIMIT_MAX: usize = 100;

pub(crate) fn routes() -> Routes {
    let translated = Routes::new()
        .route("/", get(list).post(create))
        .route("/{sid}", get(sessions::get))
        .route("/{sid}/stop", post(sessions::stop))
        .route("/{sid}/extend-timeout", post(sessions::extend_timeout))
        .route("/{sid}/network-policy", post(network::set_policy))
        .map_replies(in_old_words);
    Routes::new()
        .merge(translated)
        .route("/{sid}/cmd", get(commands::list).post(commands::start))
        .route("/{sid}/cmd/{cid}", get(commands::get))
        .route("/{sid}/cmd/{cid}/logs", get(commands::logs))
        .route("/{sid}/cmd/{cid}/kill", post(commands::kill))
        // JavaScript's client asks here.
        .route("/{sid}/{cid}/kill", post(commands::kill))
        .route("/{sid}/fs/write", files::write_route())
        .route("/{sid}/fs/read", post(files::read))
        .route("/{sid}/fs/mkdir", post(files::mkdir))
}

async fn create(
    server: Server,
    Body400(mut body): Body400<CreateSandbox>,
) -> Reply<Json<api::SandboxReply>> {
    body.runtime.get_or_insert_with(|| RUNTIME.to_owned());
    body.persistent = Some(false);
    sandboxes::create(server, Body400(body)).await
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    /// Milliseconds since 1970; made after it.
    since: Option<u64>,
    /// Made before it.
    until: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct List {
    sandboxes: Vec<api::Session>,
    pagination: Pagination,
}

/// A page goes on, with `until`, from the time that `next` is.
#[derive(Debug, Serialize, JsonSchema)]
struct Pagination {
    count: usize,
    next: Option<u64>,
    prev: Option<u64>,
}

/// The newest first.
async fn list(Reader(server): Reader, Query400(query): Query400<ListQuery>) -> Reply<Json<List>> {
    let limit = query.limit.unwrap_or(LIST_LIMIT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        let text = format!("Invalid request: `limit` must be 1 to {LIST_LIMIT_MAX}");
        return Err(Failure::bad_request(text));
    }
    let (since, until) = (query.since.unwrap_or(0), query.until.unwrap_or(u64::MAX));
    let all = server.sandboxes()?.into_iter().map(|sandbox| sandbox.current());
    let mut all: Vec<_> = all
        .map(|each| wire::session(&each, &each.view()))
        .filter(|each| since <= each.created_at && each.created_at < until)
        .collect();
    all.sort_by_key(|each| Reverse(each.created_at));
    let more = limit < all.len();
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(|last| last.created_at);
    let prev = all.first().filter(|_| query.until.is_some()).map(|first| first.created_at);
    Ok(Json(List { pagination: Pagination { count: all.len(), next, prev }, sandboxes: all }))
}

/// What is answered with a session is answered with a sandbox.
async fn in_old_words(reply: Response) -> Response {
    let kind = reply.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        return reply;
    }
    let (mut head, body) = reply.into_parts();
    match to_bytes(body, limits::BODY_BYTES_MAX).await.map(|bytes| serde_json::from_slice(&bytes)) {
        Ok(Ok(said)) => {
            head.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(head, Body::from(translated(said).to_string()))
        }
        Ok(Err(_)) | Err(_) => Failure::new(Code::Internal, "The reply broke.").into_response(),
    }
}

fn translated(mut said: Value) -> Value {
    if let Some(session) = said.get_mut("session").map(Value::take) {
        said["sandbox"] = session;
    }
    if let Some(members) = said.as_object_mut() {
        members.remove("session");
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_is_called_a_sandbox() {
        let table = [
            (
                json!({"sandbox": {"name": "a"}, "session": {"id": "sbx_1"}, "routes": []}),
                json!({"sandbox": {"id": "sbx_1"}, "routes": []}),
            ),
            (json!({"session": {"id": "sbx_1"}}), json!({"sandbox": {"id": "sbx_1"}})),
            (json!({"error": {"code": "x"}}), json!({"error": {"code": "x"}})),
            (json!({"sandboxes": [1]}), json!({"sandboxes": [1]})),
        ];
        for (said, expected) in table {
            assert_eq!(translated(said), expected);
        }
    }
}
