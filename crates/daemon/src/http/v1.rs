//! Version 1 of the API, as clients up to `@vercel/sandbox` 1 and Python's `vercel` 0.5 have it: a
//! view on the same sandboxes in other words. What it calls a sandbox is a session, by whose id it
//! is known; it never persists and does not wake, and a snapshot of it is its end.

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
    network, sandboxes, sessions, snapshots, wire,
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
        .route("/{sid}/snapshot", post(snapshots::create))
        .route("/snapshots", get(list_snapshots))
        .route("/snapshots/{id}", get(snapshots::get).delete(snapshots::remove))
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

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SnapshotList {
    snapshots: Vec<api::Snapshot>,
    pagination: Pagination,
}

/// A page goes on, with `until`, from the time that `next` is.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Pagination {
    count: usize,
    next: Option<u64>,
    prev: Option<u64>,
}

impl ListQuery {
    /// The newest first.
    fn page<T>(&self, mut all: Vec<T>, made_at: fn(&T) -> u64) -> Reply<(Vec<T>, Pagination)> {
        let limit = self.limit.unwrap_or(LIST_LIMIT);
        if !(1..=LIST_LIMIT_MAX).contains(&limit) {
            let text = format!("Invalid request: `limit` must be 1 to {LIST_LIMIT_MAX}");
            return Err(Failure::bad_request(text));
        }
        let (since, until) = (self.since.unwrap_or(0), self.until.unwrap_or(u64::MAX));
        all.retain(|one| (since..until).contains(&made_at(one)));
        all.sort_by_key(|one| Reverse(made_at(one)));
        let more = limit < all.len();
        all.truncate(limit);
        let next = all.last().filter(|_| more).map(made_at);
        let prev = all.first().filter(|_| self.until.is_some()).map(made_at);
        let pagination = Pagination { count: all.len(), next, prev };
        Ok((all, pagination))
    }
}

async fn list(Reader(server): Reader, Query400(query): Query400<ListQuery>) -> Reply<Json<List>> {
    let all = server.sandboxes()?.into_iter().map(|sandbox| sandbox.current());
    let all = all.map(|each| wire::session(&each, &each.view())).collect();
    let (sandboxes, pagination) = query.page(all, |each: &api::Session| each.created_at)?;
    Ok(Json(List { sandboxes, pagination }))
}

async fn list_snapshots(
    Reader(server): Reader,
    Query400(query): Query400<ListQuery>,
) -> Reply<Json<SnapshotList>> {
    let all = snapshots::all(&server)?.iter().map(wire::snapshot).collect();
    let (snapshots, pagination) = query.page(all, |each: &api::Snapshot| each.created_at)?;
    Ok(Json(SnapshotList { snapshots, pagination }))
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
    let listed = said.get_mut("snapshots").and_then(Value::as_array_mut);
    listed.into_iter().flatten().for_each(name_source);
    said.get_mut("snapshot").into_iter().for_each(name_source);
    said
}

fn name_source(snapshot: &mut Value) {
    if let Some(members) = snapshot.as_object_mut()
        && let Some(session) = members.remove("sourceSessionId")
    {
        members.insert("sourceSandboxId".to_owned(), session);
    }
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
            (
                json!({"snapshot": {"sourceSessionId": "sbx_1"}, "session": {"id": "sbx_1"}}),
                json!({"snapshot": {"sourceSandboxId": "sbx_1"}, "sandbox": {"id": "sbx_1"}}),
            ),
            (
                json!({"snapshots": [{"id": "snap_1", "sourceSessionId": "sbx_1"}, 1]}),
                json!({"snapshots": [{"id": "snap_1", "sourceSandboxId": "sbx_1"}, 1]}),
            ),
        ];
        for (said, expected) in table {
            assert_eq!(translated(said), expected);
        }
    }

    #[test]
    fn pages_go_on_from_a_time() {
        let page = |limit, since, until| {
            let query = ListQuery { limit, since, until };
            query.page(vec![30, 10, 50, 20, 40], |ms| *ms).unwrap()
        };
        let pagination = |count, next, prev| Pagination { count, next, prev };
        assert_eq!(page(Some(2), None, None), (vec![50, 40], pagination(2, Some(40), None)));
        let next = page(Some(2), None, Some(40));
        assert_eq!(next, (vec![30, 20], pagination(2, Some(20), Some(30))));
        assert_eq!(page(None, Some(20), Some(40)), (vec![30, 20], pagination(2, None, Some(30))));
        let none = ListQuery { limit: Some(0), ..ListQuery::default() };
        assert!(none.page(vec![1], |ms| *ms).is_err());
    }
}
