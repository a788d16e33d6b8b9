//! Sessions by id: get, list, stop, extend, console.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use api::{Code, ExtendTimeout};
use axum::{Json, body::Body, extract::Path, response::Response};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

use super::{
    Reader, Server,
    error::{Failure, Reply},
    json::{Body400, Query400},
    paging::{Wanted, by_time, is_by_time},
    ports, wire,
};
use crate::{sandbox::Session, store::Phase};

/// How often a followed console is looked at again: the guest writes it seldom.
const CONSOLE_EVERY: Duration = Duration::from_millis(200);
const READ_BYTES: u64 = 64 * 1024;

pub(crate) fn find(server: &Server, id: &str) -> Reply<Arc<Session>> {
    server.session(id)
}

/// The routes of a session's sandbox.
pub(crate) fn routes(server: &Server, session: &Session) -> Vec<api::Route> {
    let sandbox = server.registry().find(&session.record.key());
    sandbox.map(|sandbox| ports::of(server, &sandbox)).unwrap_or_default()
}

pub(crate) async fn get(
    Reader(server): Reader,
    Path(id): Path<String>,
) -> Reply<Json<api::SessionReply>> {
    let sandbox = find(&server, &id)?;
    let session = wire::session(&sandbox, &sandbox.view());
    Ok(Json(api::SessionReply { session, routes: routes(&server, &sandbox) }))
}

/// Answers when it has stopped, also when it had before.
pub(crate) async fn stop(server: Server, Path(id): Path<String>) -> Reply<Json<api::StopReply>> {
    let session = find(&server, &id)?;
    let view = session.stop().await;
    let sandbox = server.registry().find(&session.record.key());
    let plan = view.session.plan.as_ref().filter(|_| view.session.snapshotted_at.is_some());
    let snapshot = plan.and_then(|plan| server.context().snapshots.find(&plan.id));
    Ok(Json(api::StopReply {
        session: wire::session(&session, &view),
        snapshot: snapshot.as_ref().map(wire::snapshot),
        sandbox: sandbox.map(|sandbox| wire::sandbox(&sandbox)),
    }))
}

/// The sessions of the request's project, or of one sandbox of it.
pub(crate) async fn list(
    Reader(server): Reader,
    Query400(query): Query400<api::PageQuery>,
) -> Reply<Json<api::SessionList>> {
    let wanted = Wanted::new(query.limit, query.sort_order, query.cursor.as_deref(), is_by_time)?;
    let mut sandboxes = server.sandboxes()?;
    let is_it = |name: &str| query.name.as_deref().is_none_or(|wanted| wanted == name);
    sandboxes.retain(|sandbox| is_it(sandbox.key.name.as_str()));
    let all = sandboxes.iter().flat_map(|sandbox| sandbox.sessions());
    let all = all.map(|session| wire::session(&session, &session.view())).collect();
    let (sessions, pagination) =
        wanted.page(all, |session: &api::Session| by_time(session.created_at, &session.id));
    Ok(Json(api::SessionList { sessions, pagination }))
}

/// Moves the end of a session that runs. Its sandbox's timeout, for sessions to come, stays as it is.
pub(crate) async fn extend_timeout(
    server: Server,
    Path(id): Path<String>,
    Body400(asked): Body400<ExtendTimeout>,
) -> Reply<Json<api::SessionReply>> {
    let session = find(&server, &id)?;
    let view = session.extend(asked.duration).await?;
    let routes = routes(&server, &session);
    Ok(Json(api::SessionReply { session: wire::session(&session, &view), routes }))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ConsoleQuery {
    follow: bool,
}

/// What the guest's kernel and agent wrote to the console: what is kept of it, and with `follow`
/// what comes.
pub(crate) async fn console(
    Reader(server): Reader,
    Path(id): Path<String>,
    Query400(query): Query400<ConsoleQuery>,
) -> Reply<Response> {
    let sandbox = find(&server, &id)?;
    sandbox.fetch_console().await;
    let file = open_one_of(sandbox.consoles()).await;
    let stream = futures_util::stream::try_unfold((file, sandbox), move |(file, sandbox)| {
        next_piece(file, sandbox, query.follow.into())
    });
    let body = Body::from_stream(stream);
    Response::builder()
        .header("content-type", "text/plain; charset=utf-8")
        .body(body)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Yes,
    No,
}

impl From<bool> for Follow {
    fn from(follow: bool) -> Self {
        if follow { Self::Yes } else { Self::No }
    }
}

type Console = (Option<File>, Arc<Session>);

async fn next_piece(
    mut file: Option<File>,
    sandbox: Arc<Session>,
    follow: Follow,
) -> io::Result<Option<(Bytes, Console)>> {
    loop {
        let ended = sandbox.view().session.phase == Phase::Stopped;
        if let Some(open) = &mut file {
            let piece = read_piece(open).await?;
            if !piece.is_empty() {
                return Ok(Some((piece, (file, sandbox))));
            }
        }
        if ended || follow == Follow::No {
            return Ok(None);
        }
        tokio::select! {
            _ = sandbox.ended() => {}
            () = tokio::time::sleep(CONSOLE_EVERY) => {}
        }
        sandbox.fetch_console().await;
    }
}

/// The console is kept in a file that starts anew when it is full.
async fn read_piece(file: &mut File) -> io::Result<Bytes> {
    if file.metadata().await?.len() < file.stream_position().await? {
        file.rewind().await?;
    }
    let mut piece = Vec::new();
    (&mut *file).take(READ_BYTES).read_to_end(&mut piece).await?;
    Ok(Bytes::from(piece))
}

async fn open_one_of(paths: [PathBuf; 2]) -> Option<File> {
    for path in paths {
        if let Ok(file) = File::open(&path).await {
            return Some(file);
        }
    }
    None
}
