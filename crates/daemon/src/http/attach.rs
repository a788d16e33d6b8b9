//! A command over one WebSocket, for the command line: see [`api::attach`].

use std::sync::Arc;

use api::{
    Code,
    attach::{
        ClientMessage, Exit, Failure as Farewell, Follow as Again, MESSAGE_BYTES_MAX,
        ServerMessage, Start, output_message, read_stdin_message,
    },
};
use axum::{
    extract::{
        Path,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::sync::mpsc;

use super::{
    Server,
    commands::{launch, lost_failure, signal},
    error::{Failure, Reply},
    sessions, wire,
};
use crate::{
    command_log::{Follow, LogItem, Offsets, Output},
    sandbox::{Command, Session},
    store::ExitRecord,
};

/// Messages waiting for a client that reads slowly; more wait in the log.
const QUEUE: usize = 16;
/// So much of stdin is taken before the client is told of it.
const ACK_EVERY: u64 = 64 * 1024;

/// Upgrades to the WebSocket. The session is looked up before, so that a wrong one gets a 404.
pub(crate) async fn attach(
    server: Server,
    Path(session): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        tokio::select! {
            () = serve(socket, &server, sandbox) => {}
            // The client finds the connection closed and goes on with the next server.
            () = server.shared.handover.cancelled() => {}
        }
    }))
}

/// Where a client goes on reading and writing.
struct Place {
    output: Offsets,
    /// None for a client that only reads.
    stdin: Option<u64>,
}

async fn serve(socket: WebSocket, server: &Server, sandbox: Arc<Session>) {
    let (mut sink, mut stream) = socket.split();
    match begin(&mut stream, server, &sandbox).await {
        Ok(Some((command, place))) => {
            converse((sink, stream), server, sandbox, command, place).await;
        }
        Ok(None) => {}
        Err(failure) => {
            let message = farewell(&sandbox, failure);
            // Nobody may be there to read it.
            drop(sink.send(text(&message)).await);
            drop(sink.close().await);
        }
    }
}

/// The client's first word: start a command, or go on with one.
async fn begin(
    stream: &mut SplitStream<WebSocket>,
    server: &Server,
    sandbox: &Arc<Session>,
) -> Reply<Option<(Arc<Command>, Place)>> {
    let first = loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => break text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                return Err(Failure::bad_request("the first message must be `start` or `follow`"));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(None),
        }
    };
    let first: ClientMessage = serde_json::from_str(&first)
        .map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))?;
    match first {
        ClientMessage::Start(asked) => start(*asked, server, sandbox).await.map(Some),
        ClientMessage::Follow(again) => follow(&again, sandbox).map(Some),
        ClientMessage::StdinClose | ClientMessage::Resize(_) | ClientMessage::Signal { .. } => {
            Err(Failure::bad_request("the first message must be `start` or `follow`"))
        }
    }
}

async fn start(
    asked: Start,
    server: &Server,
    sandbox: &Arc<Session>,
) -> Reply<(Arc<Command>, Place)> {
    let awake = server.awake(sandbox).await?;
    let stdin = asked.stdin.then_some(0);
    let id = asked.cmd_id;
    let asked = api::StartCommand {
        command: asked.command,
        args: asked.args,
        cwd: asked.cwd,
        env: asked.env,
        sudo: asked.sudo,
        timeout: asked.timeout,
        user: asked.user,
        pty: asked.pty,
        attach_stdin: asked.stdin,
        ..api::StartCommand::default()
    };
    let launch = launch(sandbox, asked, id.as_deref())?;
    let command = sandbox.commands.start(&awake.agent, launch).await?;
    Ok((command, Place { output: Offsets::default(), stdin }))
}

fn follow(again: &Again, sandbox: &Arc<Session>) -> Reply<(Arc<Command>, Place)> {
    let command = sandbox.commands.find(&again.cmd_id).ok_or_else(|| {
        let message = format!("There is no command '{}' in this session.", again.cmd_id);
        Failure::new(Code::NotFound, message)
    })?;
    let output = Offsets { stdout: again.stdout_offset, stderr: again.stderr_offset };
    Ok((command, Place { output, stdin: again.stdin_offset }))
}

async fn converse(
    (sink, stream): (SplitSink<WebSocket, Message>, SplitStream<WebSocket>),
    server: &Server,
    sandbox: Arc<Session>,
    command: Arc<Command>,
    place: Place,
) {
    let (out, queue) = mpsc::channel(QUEUE);
    let forward = tokio::spawn(forward(queue, sink));
    let started = ServerMessage::Started { command: wire::command(command.record()) };
    if out.send(text(&started)).await.is_ok() {
        tokio::select! {
            () = send_output(&out, &command, &sandbox, place.output) => {}
            // The client is gone; the command runs on.
            () = take_input(&out, stream, (server, &sandbox, &command), place.stdin) => {}
        }
    }
    drop(out);
    drop(forward.await);
}

async fn forward(mut queue: mpsc::Receiver<Message>, mut sink: SplitSink<WebSocket, Message>) {
    while let Some(message) = queue.recv().await {
        let sent = match queue.is_empty() {
            true => sink.send(message).await,
            false => sink.feed(message).await,
        };
        if sent.is_err() {
            return;
        }
    }
    drop(sink.close().await);
}

async fn send_output(
    out: &mpsc::Sender<Message>,
    command: &Command,
    sandbox: &Session,
    from: Offsets,
) {
    let last = match read_out(out, command, from).await {
        Ok(true) => match command.ended().await {
            Ok(record) => ServerMessage::Exit(record.exit.map_or(UNKNOWN, exit)),
            Err(lost) => farewell(sandbox, lost_failure(sandbox, lost).await),
        },
        Ok(false) => return,
        Err(failure) => farewell(sandbox, failure),
    };
    drop(out.send(text(&last)).await);
}

const UNKNOWN: Exit = Exit { code: 255, signal: None, reason: None };

fn exit(record: ExitRecord) -> Exit {
    Exit { code: record.code, signal: record.signal, reason: record.reason }
}

/// Sends the log to its end; false if nobody reads it any more.
async fn read_out(out: &mpsc::Sender<Message>, command: &Command, from: Offsets) -> Reply<bool> {
    let mut reader = command.log().await?.reader(from, Follow::ToTheEnd);
    while let Some(item) = reader.next().await? {
        let message = match item {
            LogItem::Output { output, bytes, .. } => {
                Message::Binary(output_message(stream_of(output), &bytes))
            }
            LogItem::Dropped { output, bytes } => {
                text(&ServerMessage::Dropped { stream: stream_of(output), bytes })
            }
            LogItem::Ended(_) => break,
        };
        if out.send(message).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn stream_of(output: Output) -> api::Stream {
    match output {
        Output::Stdout => api::Stream::Stdout,
        Output::Stderr => api::Stream::Stderr,
    }
}

/// Takes what the client sends, until it is gone.
async fn take_input(
    out: &mpsc::Sender<Message>,
    mut stream: SplitStream<WebSocket>,
    (server, sandbox, command): (&Server, &Session, &Command),
    from: Option<u64>,
) {
    let mut stdin = Input::new(command, from).await;
    while let Some(Ok(message)) = stream.next().await {
        if !matches!(message, Message::Ping(_) | Message::Pong(_) | Message::Close(_)) {
            server.registry().nudge(sandbox).await;
        }
        match message {
            Message::Binary(bytes) => {
                let Some(data) = read_stdin_message(bytes) else { continue };
                if let Some(offset) = stdin.take(data).await {
                    drop(out.send(text(&ServerMessage::StdinAck { offset })).await);
                }
            }
            Message::Text(text) => control(&text, command, &mut stdin).await,
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return,
        }
    }
}

async fn control(text: &str, command: &Command, stdin: &mut Input) {
    let done = match serde_json::from_str(text) {
        Ok(ClientMessage::StdinClose) => {
            stdin.close();
            Ok(())
        }
        Ok(ClientMessage::Resize(size)) => command.resize(size.rows, size.cols).await,
        Ok(ClientMessage::Signal { signal: number }) => match signal(number) {
            Ok(number) => command.signal(number).await,
            Err(_) => Ok(()),
        },
        // What a newer client says is passed over.
        Ok(ClientMessage::Start(_) | ClientMessage::Follow(_)) | Err(_) => Ok(()),
    };
    if let Err(error) = done {
        tracing::debug!(%error, "the guest did not do what the client asked");
    }
}

/// The client's stdin on its way to the command.
struct Input {
    writer: Option<crate::agent::StdinWriter>,
    /// What a client that came back sends again and the command has already.
    skip: u64,
    told: u64,
}

impl Input {
    async fn new(command: &Command, from: Option<u64>) -> Self {
        let mut input = Self { writer: command.stdin(), skip: 0, told: 0 };
        let Some(from) = from else { return Self { writer: None, ..input } };
        if let Some(writer) = &input.writer {
            let has = writer.written().await.unwrap_or(from);
            input.skip = has.saturating_sub(from);
            input.told = from;
        }
        input
    }

    /// Passes data on, and says how much the command has, if there is enough to say.
    async fn take(&mut self, mut data: Bytes) -> Option<u64> {
        let writer = self.writer.as_ref()?;
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
        self.skip -= skip as u64;
        drop(data.split_to(skip));
        if writer.write(data).await.is_err() {
            self.writer = None;
            return None;
        }
        let has = writer.acknowledged().await.ok()?;
        let due = self.told + ACK_EVERY <= has;
        self.told = if due { has } else { self.told };
        due.then_some(has)
    }

    fn close(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.close();
        }
    }
}

fn farewell(sandbox: &Session, Failure(refusal): Failure) -> ServerMessage {
    let ended = refusal.code == Code::SandboxStopped;
    let reason = sandbox.view().session.reason.filter(|_| ended);
    ServerMessage::Error(Farewell {
        code: refusal.code,
        message: refusal.message,
        end_code: reason.map(crate::sandbox::EndReason::code),
    })
}

fn text(message: &ServerMessage) -> Message {
    Message::Text(serde_json::to_string(message).unwrap_or_default().into())
}
