//! Commands: start, list, get, wait, logs, kill.

use std::sync::Arc;

use api::{Code, CommandReply, NDJSON};
use axum::{
    Json,
    body::Body,
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use protocol::{Io, Stdin, User};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Reader, Server,
    error::{Failure, Reply},
    json::{Body400, Query400},
    output::{LogLines, body, line},
    sessions, wire,
};
use crate::{
    command_log::{Follow, Offsets},
    ids::CommandName,
    limits,
    sandbox::{Command, Launch, Lost, Session},
};

const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct StartQuery {
    cmd_id: Option<String>,
}

pub(crate) async fn start(
    server: Server,
    Path(session): Path<String>,
    Query400(query): Query400<StartQuery>,
    Body400(asked): Body400<api::StartCommand>,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let awake = server.awake(&sandbox).await?;
    let (wait, logs) = (asked.wait, asked.logs);
    let launch = launch(&sandbox, asked, query.cmd_id.as_deref())?;
    let command = sandbox.commands.start(&awake.agent, launch).await?;
    if !wait {
        return Ok(Json(reply(&command)).into_response());
    }
    let first = stream::iter([line(&reply(&command))]);
    let last = stream::once(last_line(Arc::clone(&command), Arc::clone(&sandbox)));
    if !logs {
        return Ok(ndjson(body(first.chain(last))));
    }
    let output = log_stream(&command, Follow::ToTheEnd).await?;
    Ok(ndjson(body(first.chain(output).chain(last))))
}

/// Checks a request to run something and fills in what it leaves out.
pub(crate) fn launch(
    sandbox: &Session,
    asked: api::StartCommand,
    id: Option<&str>,
) -> Reply<Launch> {
    let fault = |text: String| Failure::bad_request(format!("Invalid request: {text}"));
    let id = id.map(|id| {
        let form = || fault("`cmdId` must be `cmd_` and 28 hexadecimal digits".to_owned());
        CommandName::parse(id).ok_or_else(form)
    });
    asked.env.check().map_err(fault)?;
    if asked.command.is_empty() {
        return Err(fault("`command` is empty".to_owned()));
    }
    if asked.args.iter().chain([&asked.command]).any(|word| word.contains('\0')) {
        return Err(fault("`command` and `args` may not have NUL bytes".to_owned()));
    }
    let bytes = asked.args.iter().map(String::len).sum::<usize>()
        + asked.env.0.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if limits::COMMAND_BYTES_MAX < bytes {
        let max = limits::COMMAND_BYTES_MAX;
        return Err(fault(format!("`args` and `env` have {bytes} bytes, over the limit of {max}")));
    }
    if asked.timeout.is_some_and(|timeout| timeout < limits::COMMAND_TIMEOUT_MS_MIN) {
        let min = limits::COMMAND_TIMEOUT_MS_MIN;
        return Err(fault(format!("`timeout` must be at least {min} ms")));
    }
    Ok(Launch {
        id: id.transpose()?,
        name: asked.command,
        args: asked.args,
        env: asked.env.0.into_iter().collect(),
        cwd: resolve(sandbox, asked.cwd.as_deref()),
        user: match asked.user {
            _ if asked.sudo => User::Sudo,
            Some(user) => User::Named(user),
            None => User::Default,
        },
        stdin: if asked.attach_stdin { Stdin::Stream } else { Stdin::Null },
        io: asked.pty.map_or(Io::Pipes, |size| Io::Pty { rows: size.rows, cols: size.cols }),
        timeout_ms: asked.timeout,
    })
}

/// A path as the guest is told it: what is relative starts from the sandbox's folder.
pub(crate) fn resolve(sandbox: &Session, path: Option<&str>) -> String {
    let base = &sandbox.record.cwd;
    match path {
        None | Some("") => base.clone(),
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(path) => format!("{}/{path}", base.trim_end_matches('/')),
    }
}

fn reply(command: &Command) -> CommandReply {
    CommandReply { command: wire::command(command.record()) }
}

fn ndjson(body: Body) -> Response {
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

/// The command once more, with its exit; or why there is none.
async fn last_line(command: Arc<Command>, sandbox: Arc<Session>) -> Bytes {
    match command.ended().await {
        Ok(record) => line(&CommandReply { command: wire::command(record) }),
        Err(lost) => line(&lost_line(&sandbox, lost).await),
    }
}

async fn lost_line(sandbox: &Session, lost: Lost) -> api::LogLine {
    let Failure(refusal) = lost_failure(sandbox, lost).await;
    api::LogLine::Error(refusal)
}

/// Why a command's end is not known: the session's end, as soon as that has a reason.
pub(crate) async fn lost_failure(sandbox: &Session, lost: Lost) -> Failure {
    let view = sandbox.ended().await;
    let message = wire::end_reason(&view).unwrap_or_else(|| lost.to_string());
    Failure::new(Code::SandboxStopped, message)
}

async fn log_stream(
    command: &Command,
    follow: Follow,
) -> Reply<impl Stream<Item = Bytes> + Send + 'static> {
    let reader = command.log().await?.reader(Offsets::default(), follow);
    Ok(stream::unfold(LogLines::new(reader), |mut lines| async {
        let line = lines.next().await?;
        Some((line, lines))
    }))
}

pub(crate) fn find(sandbox: &Session, id: &str) -> Reply<Arc<Command>> {
    sandbox.commands.find(id).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("There is no command '{id}' in this session."))
    })
}

pub(crate) async fn list(
    Reader(server): Reader,
    Path(session): Path<String>,
) -> Reply<Json<api::CommandList>> {
    let sandbox = sessions::find(&server, &session)?;
    let commands = sandbox.commands.list();
    let commands = commands.iter().map(|each| wire::command(each.record())).collect();
    Ok(Json(api::CommandList { commands }))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct GetQuery {
    wait: bool,
}

/// With `wait` the head of the reply is sent at once, since clients give up on a head that does not
/// come for minutes, and the body when the command has ended.
pub(crate) async fn get(
    Reader(server): Reader,
    Path((session, command)): Path<(String, String)>,
    Query400(query): Query400<GetQuery>,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let command = find(&sandbox, &command)?;
    if !query.wait || command.record().exit.is_some() {
        return Ok(Json(reply(&command)).into_response());
    }
    server.awake(&sandbox).await?;
    let space = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b" "))]);
    let end = stream::once(async move {
        let ended = command.ended().await.map_err(std::io::Error::other)?;
        Ok(line(&CommandReply { command: wire::command(ended) }))
    });
    let body = Body::from_stream(space.chain(end));
    Ok(([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct LogsQuery {
    follow: bool,
}

impl Default for LogsQuery {
    fn default() -> Self {
        Self { follow: true }
    }
}

/// From the start, as often and by as many as like.
pub(crate) async fn logs(
    Reader(server): Reader,
    Path((session, command)): Path<(String, String)>,
    Query400(query): Query400<LogsQuery>,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let command = find(&sandbox, &command)?;
    let follow = if query.follow { Follow::ToTheEnd } else { Follow::No };
    let output = log_stream(&command, follow).await?;
    if follow == Follow::No {
        return Ok(ndjson(body(output)));
    }
    let lost = stream::once(async move {
        match command.ended().await {
            Ok(_) => Bytes::new(),
            Err(lost) => line(&lost_line(&sandbox, lost).await),
        }
    });
    Ok(ndjson(body(output.chain(lost).filter(|line| std::future::ready(!line.is_empty())))))
}

pub(crate) async fn kill(
    server: Server,
    Path((session, command)): Path<(String, String)>,
    Body400(asked): Body400<api::Kill>,
) -> Reply<Json<CommandReply>> {
    let sandbox = sessions::find(&server, &session)?;
    let _awake = server.awake(&sandbox).await?;
    let command = find(&sandbox, &command)?;
    command.signal(signal(asked.signal)?).await?;
    Ok(Json(reply(&command)))
}

pub(crate) fn signal(number: i32) -> Reply<u8> {
    let checked = u8::try_from(number).ok().filter(|_| SIGNALS.contains(&number));
    checked.ok_or_else(|| Failure::bad_request("Invalid request: `signal` must be 1 to 64"))
}
