//! Terminals for Vercel's command line: a WebSocket at the ingress, for who was given a ticket by the API.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use api::Code;
use axum::{
    Json, Router,
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{
    Server,
    commands::launch,
    error::{Failure, Reply},
    json::Query400,
};
use crate::{
    clock,
    command_log::{Follow, LogItem, Offsets},
    ids::{self, SessionId},
    platform::hex,
    registry::Registry,
    sandbox::{Command, Session},
};

/// From the ticket to the connection.
const TICKET_MS: u64 = 5 * 60 * 1000;
const TICKETS_MAX: usize = 1024;
/// What one message of a client may hold.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const SIZE: (u16, u16) = (24, 80);
const SIGHUP: u8 = 1;

/// What was given out and not used yet. Each is for one connection to one session.
#[derive(Default)]
pub(crate) struct Tickets(Mutex<HashMap<String, Ticket>>);

struct Ticket {
    session: SessionId,
    until_ms: u64,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

impl Tickets {
    fn give(&self, session: &SessionId) -> Option<String> {
        let now = clock::now_ms();
        let mut tickets = self.lock();
        tickets.retain(|_, ticket| now < ticket.until_ms);
        if TICKETS_MAX <= tickets.len() {
            return None;
        }
        let bytes: [u8; 32] = ids::random();
        let text = hex(&bytes);
        let ticket = Ticket { session: session.clone(), until_ms: now + TICKET_MS };
        tickets.insert(text.clone(), ticket);
        Some(text)
    }

    /// Takes a ticket, which is then used up.
    fn take(&self, text: &str) -> Option<SessionId> {
        let ticket = self.lock().remove(text)?;
        (clock::now_ms() < ticket.until_ms).then_some(ticket.session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives out a ticket.
pub(crate) async fn open(
    server: Server,
    Path(session): Path<String>,
) -> Reply<Json<api::Interactive>> {
    let session = server.session(&session)?;
    server.awake(&session).await?;
    let place = &server.context().ingress;
    let token = place.tickets.give(session.id()).ok_or_else(|| {
        Failure::new(Code::LimitReached, "Too many terminals are being opened; ask again.")
    })?;
    let url = format!("{}/interactive/{}", place.url.terminals(), session.id());
    Ok(Json(api::Interactive { url, token }))
}

#[derive(Clone, Debug)]
struct Terminals {
    registry: Arc<Registry>,
    handover: CancellationToken,
}

/// What the ingress answers under the name for terminals.
pub(crate) fn routes(registry: Arc<Registry>, handover: CancellationToken) -> Router {
    Router::new()
        .route("/health", get(async || "ok"))
        .route("/interactive/{sid}", get(connect))
        .with_state(Terminals { registry, handover })
}

#[derive(Debug, Deserialize)]
struct Entry {
    token: String,
}

async fn connect(
    State(terminals): State<Terminals>,
    Path(id): Path<String>,
    Query400(entry): Query400<Entry>,
    upgrade: WebSocketUpgrade,
) -> Reply<Response> {
    let tickets = &terminals.registry.context().ingress.tickets;
    let admitted = tickets.take(&entry.token).filter(|session| session.as_str() == id);
    let session = admitted.and_then(|id| terminals.registry.find_session(id.as_str()));
    let session = session.ok_or_else(|| {
        Failure::new(Code::Unauthorized, "The token is unknown, used already, or its time is over.")
    })?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        tokio::select! {
            () = serve(socket, &session, &terminals.registry) => {}
            () = terminals.handover.cancelled() => {}
        }
    }))
}

/// What a client says in text.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Start(Start),
    Resize { cols: u16, rows: u16 },
}

#[derive(Deserialize)]
struct Start {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(default)]
    env: Vec<String>,
    cwd: Option<String>,
    cols: Option<u16>,
    rows: Option<u16>,
}

impl fmt::Debug for Start {
    /// Without the environment and the arguments: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("command", &self.command).finish_non_exhaustive()
    }
}

async fn serve(socket: WebSocket, session: &Session, registry: &Registry) {
    let (mut sink, mut stream) = socket.split();
    let command = match begin(&mut stream, session, registry).await {
        Ok(Some(command)) => command,
        Ok(None) => return,
        Err(Failure(refusal)) => {
            // The clients show what they are sent, and take the code for the command's.
            let words = format!("{}\r\n", refusal.message);
            drop(sink.send(Message::Binary(words.into())).await);
            return farewell(sink, 127).await;
        }
    };
    let ended = tokio::select! {
        code = output(&mut sink, &command) => code,
        () = input(stream, &command, session, registry) => None,
    };
    match ended {
        Some(code) => farewell(sink, code).await,
        // As when a terminal is closed. It fails only where the command is over.
        None => drop(command.signal(SIGHUP).await),
    }
}

async fn begin(
    stream: &mut SplitStream<WebSocket>,
    session: &Session,
    registry: &Registry,
) -> Reply<Option<Arc<Command>>> {
    let start = loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(Said::Start(start)) => break start,
                Ok(Said::Resize { .. }) => {}
                Err(error) => {
                    return Err(Failure::bad_request(format!("Invalid request: {error}")));
                }
            },
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(None),
        }
    };
    let variable = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    let (rows, cols) = (start.rows.unwrap_or(SIZE.0), start.cols.unwrap_or(SIZE.1));
    let asked = api::StartCommand {
        command: start.command,
        args: start.args,
        env: start.env.iter().map(variable).collect(),
        cwd: start.cwd,
        pty: Some(api::PtySize { rows, cols }),
        attach_stdin: true,
        ..api::StartCommand::default()
    };
    let awake = registry.awake(session).await?;
    Ok(Some(session.commands.start(&awake.agent, launch(session, asked, None)?).await?))
}

/// Sends what the command prints, and gives its exit code; none if nobody reads it any more.
async fn output(sink: &mut SplitSink<WebSocket, Message>, command: &Command) -> Option<i32> {
    let log = command.log().await.ok()?;
    let mut reader = log.reader(Offsets::default(), Follow::ToTheEnd);
    while let Ok(Some(item)) = reader.next().await {
        match item {
            LogItem::Output { bytes, .. } => sink.send(Message::Binary(bytes)).await.ok()?,
            LogItem::Dropped { .. } => {}
            LogItem::Ended(_) => break,
        }
    }
    let record = command.ended().await.ok()?;
    record.exit.map(|exit| exit.code)
}

/// Takes what is typed, until the client is gone.
async fn input(
    mut stream: SplitStream<WebSocket>,
    command: &Command,
    session: &Session,
    registry: &Registry,
) {
    let stdin = command.stdin();
    while let Some(Ok(message)) = stream.next().await {
        registry.nudge(session).await;
        let done = match message {
            Message::Binary(bytes) => {
                if let Some(stdin) = &stdin {
                    // The command may have ended, which is told by its output's end.
                    let _closed = stdin.write(bytes).await.is_err();
                }
                Ok(())
            }
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(Said::Resize { cols, rows }) => command.resize(rows, cols).await,
                Ok(Said::Start(_)) | Err(_) => Ok(()),
            },
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => return,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "the guest did not resize a terminal");
        }
    }
}

async fn farewell(mut sink: SplitSink<WebSocket, Message>, code: i32) {
    let exit = serde_json::json!({ "type": "exit", "code": code }).to_string();
    // Nobody may be there to read it.
    drop(sink.send(Message::Text(exit.into())).await);
    drop(sink.close().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_one_connection() {
        let (tickets, session) = (Tickets::default(), SessionId::random());
        let ticket = tickets.give(&session).unwrap();
        assert_eq!(tickets.take("other"), None);
        assert_eq!(tickets.take(&ticket), Some(session.clone()));
        assert_eq!(tickets.take(&ticket), None);
        let given = std::iter::repeat_with(|| tickets.give(&session)).take_while(Option::is_some);
        assert_eq!(given.count(), TICKETS_MAX);
        tickets.lock().values_mut().for_each(|ticket| ticket.until_ms = 0);
        assert!(tickets.give(&session).is_some());
    }
}
