//! Files: tar streams in, files and tar streams out.

use std::io::{self, Write};

use aide::axum::routing::{ApiMethodRouter, post};
use api::{Code, FileKind, FileStat, FsMkdir, FsPath};
use axum::{
    Json,
    body::{Body, BodyDataStream},
    extract::{DefaultBodyLimit, Path},
    http::{HeaderMap, header},
    response::Response,
};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::{Stream, StreamExt, stream};
use protocol::{
    EntryKind, Owner, Parents, Refusal, RefusalCode, Request, Response as Answer, Stat,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

use super::{
    Reader, Server, Shared,
    commands::resolve,
    error::{Failure, Reply},
    json::{Body400, Query400},
    sessions,
};
use crate::{
    agent::{AgentError, Download},
    registry::Awake,
    sandbox::{Session, Use},
};

const DEADLINE: Duration = Duration::from_secs(60);
/// A compressed piece this long unpacks to at most some four megabytes.
const GZIP_PIECE: usize = 4096;

/// A tar stream may be of any length.
pub(crate) fn write_route() -> ApiMethodRouter<Shared> {
    post(write).layer(DefaultBodyLimit::disable())
}

/// Unpacks a tar stream, gzipped or not, below the folder that a header names.
async fn write(
    server: Server,
    Path(session): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply<Json<serde_json::Value>> {
    let sandbox = sessions::find(&server, &session)?;
    let Awake { agent, in_use: _in_use } = server.awake(&sandbox).await?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let base = resolve(&sandbox, text(api::CWD_HEADER));
    let owner = match text(api::OWNER_HEADER) {
        Some(api::OWNER_KEEP) => Owner::Keep,
        None => Owner::DefaultUser,
        Some(_) => return Err(Failure::bad_request("x-fumehood-owner can only be `keep`")),
    };
    let data = body.into_data_stream();
    let written = match text(header::CONTENT_TYPE.as_str()) {
        Some(api::TAR) => {
            agent.write_tar(base, owner, data.map(|part| part.map_err(io::Error::other))).await
        }
        Some(api::GZIP) | None => agent.write_tar(base, owner, gunzip(data)).await,
        Some(other) => {
            let text =
                format!("the content type must be {} or {}, not {other:?}", api::GZIP, api::TAR);
            return Err(Failure::bad_request(text));
        }
    };
    written?;
    Ok(Json(json!({})))
}

/// Unpacks as it comes; damage is an error of the body's.
fn gunzip(body: BodyDataStream) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let pieces = body.flat_map(|part| {
        let part = part.map_err(io::Error::other);
        let pieces = match part {
            Ok(part) => cut(part).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    });
    let decoder = Some(MultiGzDecoder::new(Vec::new()));
    let pieces = Box::pin(pieces);
    stream::try_unfold((pieces, decoder), |(mut pieces, mut decoder)| async move {
        let Some(open) = &mut decoder else { return Ok(None) };
        while let Some(piece) = pieces.next().await.transpose()? {
            open.write_all(&piece)?;
            if !open.get_ref().is_empty() {
                let bytes = Bytes::from(std::mem::take(open.get_mut()));
                return Ok(Some((bytes, (pieces, decoder))));
            }
        }
        let rest = decoder.take().map(MultiGzDecoder::finish).transpose()?.unwrap_or_default();
        Ok(Some((Bytes::from(rest), (pieces, None))))
    })
}

fn cut(mut part: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(part.len() / GZIP_PIECE + 1);
    while GZIP_PIECE < part.len() {
        pieces.push(part.split_to(GZIP_PIECE));
    }
    pieces.push(part);
    pieces
}

/// A file's content.
pub(crate) async fn read(
    Reader(server): Reader,
    Path(session): Path<String>,
    Body400(asked): Body400<FsPath>,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let path = path_of(&sandbox, &asked.path, asked.cwd.as_deref())?;
    let Awake { agent, in_use } = server.awake(&sandbox).await?;
    let (_, content) = agent.read(path, DEADLINE).await.map_err(not_found)?;
    stream_reply("application/octet-stream", content, in_use)
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TarQuery {
    path: String,
}

/// A file or folder as a tar stream.
pub(crate) async fn tar(
    Reader(server): Reader,
    Path(session): Path<String>,
    Query400(query): Query400<TarQuery>,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let path = path_of(&sandbox, &query.path, None)?;
    let Awake { agent, in_use } = server.awake(&sandbox).await?;
    let (_, content) = agent.read_tar(path, DEADLINE).await.map_err(not_found)?;
    stream_reply(api::TAR, content, in_use)
}

fn stream_reply(kind: &'static str, content: Download, in_use: Use) -> Reply<Response> {
    let body = Body::from_stream(content.inspect(move |_| in_use.go_on()));
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_DISPOSITION, "attachment")
        .body(body)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

pub(crate) async fn mkdir(
    server: Server,
    Path(session): Path<String>,
    Body400(asked): Body400<FsMkdir>,
) -> Reply<Json<serde_json::Value>> {
    let sandbox = sessions::find(&server, &session)?;
    let path = path_of(&sandbox, &asked.path, asked.cwd.as_deref())?;
    let parents = if asked.recursive { Parents::Create } else { Parents::MustExist };
    let awake = server.awake(&sandbox).await?;
    let made = awake.agent.request(Request::Mkdir { path, parents }, DEADLINE).await;
    if let Err(AgentError::Refused(refusal)) = made {
        let message = format!("error creating directory: {}", refusal.message);
        return Err(Failure::new(Code::FileError, message));
    }
    made?;
    Ok(Json(json!({})))
}

pub(crate) async fn stat(
    Reader(server): Reader,
    Path(session): Path<String>,
    Body400(asked): Body400<FsPath>,
) -> Reply<Json<FileStat>> {
    let sandbox = sessions::find(&server, &session)?;
    let path = path_of(&sandbox, &asked.path, asked.cwd.as_deref())?;
    let awake = server.awake(&sandbox).await?;
    let answer = awake.agent.request(Request::Stat { path }, DEADLINE).await.map_err(not_found)?;
    let Answer::Stat(stat) = answer else { return Err(AgentError::Confused.into()) };
    Ok(Json(file_stat(stat)))
}

fn file_stat(stat: Stat) -> FileStat {
    let kind = match stat.kind {
        EntryKind::File => FileKind::File,
        EntryKind::Folder => FileKind::Directory,
        EntryKind::Link => FileKind::Symlink,
        EntryKind::Other => FileKind::Other,
    };
    FileStat { kind, size: stat.size, mode: stat.mode, uid: stat.uid, gid: stat.gid }
}

/// Relative to `cwd`, which is itself relative to the sandbox's folder.
fn path_of(sandbox: &Session, path: &str, cwd: Option<&str>) -> Reply<String> {
    if path.is_empty() || path.contains('\0') {
        return Err(Failure::bad_request("Invalid request: `path` is empty or has a NUL byte"));
    }
    if path.starts_with('/') {
        return Ok(path.to_owned());
    }
    let base = resolve(sandbox, cwd);
    Ok(format!("{}/{path}", base.trim_end_matches('/')))
}

/// The clients take a 404 for "no such file".
fn not_found(error: AgentError) -> Failure {
    if let AgentError::Refused(Refusal { code: RefusalCode::NotFound, .. }) = error {
        return Failure::new(Code::NotFound, "File not found.");
    }
    error.into()
}
