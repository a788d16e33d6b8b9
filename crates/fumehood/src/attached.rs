//! A command of a guest with its streams tied to ours, over as many connections as it takes.
//!
//! A connection is lost when the server is replaced or dies; its machines run on. We know how much
//! of each stream has arrived, so the next connection goes on there and nothing is lost or doubled.

mod input;
mod outbox;
mod output;

use std::time::Duration;

use api::attach::{ClientMessage, Exit, Failure as Refused, Follow, ServerMessage, Start};
use api::client::{AttachReceiver, AttachSender, ClientError, Received};
use api::{Code, Stream};
use bytes::Bytes;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use crate::failure::{self, Failure};
use crate::say;
use crate::server::{ABSENCE_MAX, Server};
use crate::signals::Signals;
use crate::terminal;
use outbox::{Outbox, Stdin};
pub(crate) use output::{Captured, Output};

const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What to attach to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A command to be started; its `cmd_id` is set, so that a lost answer does not start two.
    New(Box<Start>),
    /// One that was started before, to be read from its start.
    Existing { cmd_id: String },
}

/// What a signal to us does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    Leave,
    /// The first goes to the command; the second makes us leave.
    ForwardOnce,
}

/// How it ended for us.
#[derive(Debug)]
pub(crate) enum Ending {
    Exited(Exit),
    /// We were told to leave, by this signal; the command runs on.
    Left(i32),
}

/// A command and our ends of its streams.
#[derive(Debug)]
pub(crate) struct Attached<'a> {
    server: &'a Server,
    session: &'a str,
    target: Target,
    /// None for a command without stdin.
    stdin: Option<mpsc::Receiver<Bytes>>,
    pub(crate) output: Output,
    stdout_offset: u64,
    stderr_offset: u64,
    started: bool,
    lost_since: Option<Instant>,
}

/// Why a connection ended before the command did.
enum Cut {
    Lost(ClientError),
    /// The server does not know the command, whose start was under way when the last one was lost.
    NeverStarted,
    Failed(Failure),
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ClientError> for Cut {
    fn from(error: ClientError) -> Self {
        match error.code() {
            None if matches!(error, ClientError::Broken { .. }) => Self::Lost(error),
            None if matches!(error, ClientError::Unreachable { .. }) => Self::Lost(error),
            Some(Code::Unavailable) => Self::Lost(error),
            _ => Self::Failed(error.into()),
        }
    }
}

impl<'a> Attached<'a> {
    pub(crate) fn new(
        server: &'a Server,
        session: &'a str,
        target: Target,
        output: Output,
    ) -> Self {
        let stdin = matches!(&target, Target::New(start) if start.stdin).then(input::read);
        Self {
            server,
            session,
            target,
            stdin,
            output,
            stdout_offset: 0,
            stderr_offset: 0,
            started: false,
            lost_since: None,
        }
    }

    fn cmd_id(&self) -> String {
        match &self.target {
            Target::New(start) => start.cmd_id.clone().unwrap_or_default(),
            Target::Existing { cmd_id } => cmd_id.clone(),
        }
    }

    pub(crate) fn has_stdin(&self) -> bool {
        matches!(&self.target, Target::New(start) if start.stdin)
    }

    pub(crate) fn has_pty(&self) -> bool {
        matches!(&self.target, Target::New(start) if start.pty.is_some())
    }

    /// Until the command has ended and all its output is out, or a signal makes us leave.
    pub(crate) async fn run(
        &mut self,
        signals: &mut Signals,
        on_signal: OnSignal,
    ) -> Result<Ending, Failure> {
        let has_pty = self.has_pty();
        let mut resizes = unix::signal(SignalKind::window_change())
            .map_err(|fault| Failure::host("watching the terminal's size", fault))?;
        let outbox = Outbox::default();
        let mut forwards = u8::from(on_signal == OnSignal::ForwardOnce);
        let mut conversation = std::pin::pin!(self.converse(&outbox));
        loop {
            tokio::select! {
                ending = &mut conversation => return ending.map(Ending::Exited),
                signal = signals.next() => {
                    // A terminal that hung up sends no second one.
                    if forwards == 0 || signal == Signal::HUP.as_raw() {
                        return Ok(Ending::Left(signal));
                    }
                    forwards -= 1;
                    outbox.control(ClientMessage::Signal { signal });
                }
                _ = resizes.recv(), if has_pty => {
                    outbox.control(ClientMessage::Resize(terminal::size()));
                }
            }
        }
    }

    async fn converse(&mut self, outbox: &Outbox) -> Result<Exit, Failure> {
        let mut first = match &self.target {
            Target::New(start) => ClientMessage::Start(start.clone()),
            Target::Existing { .. } => self.follow(outbox),
        };
        loop {
            first = match self.connection(&first, outbox).await {
                Ok(exit) => return Ok(exit),
                Err(Cut::Failed(failure)) => return Err(failure),
                Err(Cut::NeverStarted) => match &self.target {
                    Target::New(start) => ClientMessage::Start(start.clone()),
                    Target::Existing { .. } => self.follow(outbox),
                },
                Err(Cut::Lost(error)) => {
                    self.reach_again(error).await?;
                    self.follow(outbox)
                }
            };
        }
    }

    fn follow(&self, outbox: &Outbox) -> ClientMessage {
        if self.has_pty() {
            // It may have changed while nobody was told.
            outbox.control(ClientMessage::Resize(terminal::size()));
        }
        let stdin_offset = outbox.rewind();
        ClientMessage::Follow(Follow {
            cmd_id: self.cmd_id(),
            stdout_offset: self.stdout_offset,
            stderr_offset: self.stderr_offset,
            stdin_offset: self.has_stdin().then_some(stdin_offset),
        })
    }

    /// Waits for the server after a lost connection, no longer than is sensible.
    async fn reach_again(&mut self, lost: ClientError) -> Result<(), Failure> {
        let now = Instant::now();
        let deadline = *self.lost_since.get_or_insert(now) + ABSENCE_MAX;
        if now >= deadline {
            return Err(lost.into());
        }
        sleep(RETRY_PAUSE).await;
        match timeout_at(deadline, self.server.reach_again()).await {
            Ok(reached) => reached,
            Err(_) => Err(lost.into()),
        }
    }

    async fn connection(&mut self, first: &ClientMessage, outbox: &Outbox) -> Result<Exit, Cut> {
        let (mut sender, mut receiver) = self.server.client().attach(self.session, first).await?;
        // Taken out while its future runs beside the one that has the rest of `self`.
        let mut stdin = self.stdin.take();
        let exit = tokio::select! {
            exit = self.receive(&mut receiver, first, outbox) => exit,
            never = send(&mut sender, &mut stdin, outbox) => match never {},
        };
        self.stdin = stdin;
        exit
    }

    async fn receive(
        &mut self,
        receiver: &mut AttachReceiver,
        first: &ClientMessage,
        outbox: &Outbox,
    ) -> Result<Exit, Cut> {
        loop {
            let Some(received) = receiver.next().await? else {
                let source = "it was closed before the command's end".into();
                return Err(Cut::Lost(ClientError::Broken { source }));
            };
            match received {
                Received::Output(stream, data) => {
                    self.output.write(stream, &data).await?;
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    self.advance(stream, length);
                }
                Received::Message(ServerMessage::Started { .. }) => self.started = true,
                Received::Message(ServerMessage::StdinAck { offset }) => outbox.acknowledge(offset),
                Received::Message(ServerMessage::Dropped { stream, bytes }) => {
                    say::note(&format!("{bytes} bytes of output are no longer kept"));
                    self.advance(stream, bytes);
                }
                Received::Message(ServerMessage::Exit(exit)) => return Ok(exit),
                Received::Message(ServerMessage::Error(refused)) => {
                    return Err(self.cut(first, refused));
                }
            }
            self.lost_since = None;
        }
    }

    fn advance(&mut self, stream: Stream, bytes: u64) {
        match stream {
            Stream::Stdout => self.stdout_offset += bytes,
            Stream::Stderr => self.stderr_offset += bytes,
        }
    }

    fn cut(&self, first: &ClientMessage, refused: Refused) -> Cut {
        let asks_again = matches!(first, ClientMessage::Follow(_)) && !self.started;
        if refused.code == Code::NotFound && asks_again && matches!(self.target, Target::New(_)) {
            Cut::NeverStarted
        } else if refused.code == Code::Unavailable {
            Cut::Lost(ClientError::Broken { source: refused.message.into() })
        } else {
            Cut::Failed(Failure::new(failure::exit_of(refused.code), refused.message))
        }
    }
}

/// Sends what there is to send, for as long as the connection stands. That it does not is for the
/// receiving side to find: what the server said before is still to be read there.
async fn send(
    sender: &mut AttachSender,
    stdin: &mut Option<mpsc::Receiver<Bytes>>,
    outbox: &Outbox,
) -> std::convert::Infallible {
    loop {
        let sent = if let Some(message) = outbox.next_control() {
            sender.send(&message).await.inspect(|()| outbox.control_sent())
        } else if let Some(next) = outbox.next_stdin() {
            match next {
                Stdin::Data(piece) => sender.send_stdin(&piece).await,
                Stdin::End => sender.send(&ClientMessage::StdinClose).await,
            }
        } else {
            tokio::select! {
                () = outbox.changed() => {}
                piece = next_piece(stdin), if outbox.has_room() => match piece {
                    Some(piece) => outbox.push(piece),
                    None => outbox.end(),
                },
            }
            Ok(())
        };
        if sent.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The next piece of stdin, its end, or never for a command without.
async fn next_piece(stdin: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match stdin {
        Some(pieces) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
