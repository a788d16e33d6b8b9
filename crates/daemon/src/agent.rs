//! The host end of the guest protocol: one task owns the connection to one machine's agent.
//!
//! The agent is on the other side of the glass. What it says is checked, what it may make us keep
//! is bounded, and whatever it does wrong costs it a stream or the connection and nobody else
//! anything.
//!
//! Nothing is acknowledged before it is in safety: a command's output when it is in the command's
//! log, so that a killed server loses none of it. A lost connection is made again, and then all
//! goes on where it was; requests without an answer are asked again.

mod ask;
mod command;
mod incoming;
mod lent;
mod link;
mod outgoing;
mod quiet;
mod requests;
mod session;
mod streams;
#[cfg(test)]
mod tests;
mod transfer;
mod tunnel;
mod wake;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use protocol::{
    CommandId, Owner, PAYLOAD_MAX, Phase, Refusal, Request, Response, StartCommand, Stat, Stdin,
    StreamId, VERSION,
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    ask::{Ask, Opening, Opens},
    command::Unread,
    incoming::Incoming,
    lent::Lending,
    outgoing::Outgoing,
    session::{Ends, Session, Status},
    transfer::Upload,
    wake::Wake,
};
pub use self::{
    command::{Command, CommandLost, StdinClosed, StdinWriter},
    lent::{Look, Memory},
    quiet::Quiet,
    transfer::{Download, Written},
    tunnel::Tunnel,
};
use crate::command_log::LogWriter;

/// What waits for the task.
const MAILBOX: usize = 64;

/// A machine's agent: a cheap handle of the task that talks to it. The task ends with
/// [`Agent::close`], or when the last handle is dropped, those of its commands included.
#[derive(Clone, Debug)]
pub struct Agent {
    mailbox: mpsc::Sender<Ask>,
    status: watch::Receiver<Status>,
    close: CancellationToken,
    wake: Arc<Wake>,
    /// Number of the next file transfer.
    transfer: Arc<AtomicU32>,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the agent refused")]
    Refused(#[source] Refusal),
    #[error("the machine is gone")]
    Gone,
    #[error("the agent did not answer in time")]
    TimedOut,
    #[error("the agent speaks version {agent} of the protocol, and this server {VERSION}")]
    VersionMismatch { agent: u16 },
    #[error("the request is longer than {PAYLOAD_MAX} bytes")]
    TooLong,
    #[error("the agent answered something else than what was asked")]
    Confused,
    #[error("the agent gave the transfer up")]
    Reset,
    #[error("what was to be written could not be read")]
    Body(#[source] io::Error),
}

impl Agent {
    /// Begins to connect, again whenever the connection is lost.
    pub fn spawn<C, F>(connect: C) -> Self
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output = io::Result<UnixStream>> + Send + 'static,
    {
        Self::spawn_beside(None, connect)
    }

    /// The same, and reads in the machine's memory what it is sent much of.
    pub fn spawn_beside<C, F>(look: Option<Look>, connect: C) -> Self
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output = io::Result<UnixStream>> + Send + 'static,
    {
        let (mailbox, asked) = mpsc::channel(MAILBOX);
        let (seen, status) = watch::channel(Status::Connecting);
        let (close, wake) = (CancellationToken::new(), Arc::<Wake>::default());
        let ends =
            Ends { wake: Arc::clone(&wake), mailbox: asked, close: close.clone(), status: seen };
        tokio::spawn(Session::new(ends, Lending::new(look)).run(connect));
        Self { mailbox, status, close, wake, transfer: Arc::default() }
    }

    /// Waits for the agent's first word; the phase is that of its latest welcome.
    pub async fn ready(&self, deadline: Instant) -> Result<Phase, AgentError> {
        let mut status = self.status.clone();
        let known = status.wait_for(|status| *status != Status::Connecting);
        match timeout_at(deadline, known).await.as_ref().map(Result::as_deref) {
            Ok(Ok(Status::Ready(phase))) => Ok(*phase),
            Ok(Ok(over)) => Err(over.error()),
            Ok(Err(_)) => Err(AgentError::Gone),
            Err(_) => Err(AgentError::TimedOut),
        }
    }

    /// Asks, again after a lost connection. For what has no method of its own; not for `Start`,
    /// `Read`, `ReadTar`, `WriteTar` and `Connect`.
    pub async fn request(
        &self,
        request: Request,
        within: Duration,
    ) -> Result<Response, AgentError> {
        in_time(within, self.ask(request, Opens::Nothing)).await
    }

    /// A request that is answered by its being done.
    async fn ask_done(&self, request: Request, within: Duration) -> Result<(), AgentError> {
        let answer = self.request(request, within).await?;
        if answer == Response::Done { Ok(()) } else { Err(AgentError::Confused) }
    }

    /// Starts a command, whose output goes to `log`. If this future is dropped or times out, the
    /// command is killed should it have been started.
    pub async fn start(
        &self,
        start: StartCommand,
        log: LogWriter,
        within: Duration,
    ) -> Result<Command, AgentError> {
        let command = start.command;
        let stdin = match start.stdin {
            Stdin::Null => None,
            Stdin::Stream => Some(Outgoing::new(self.wake(), StreamId::stdin(command))),
        };
        let incoming = Incoming::of_command(self.wake(), command, log.offsets());
        let opening = Opening { command, incoming: Arc::clone(&incoming), stdin: stdin.clone() };
        let unread = Unread::new(incoming, command, log);
        let asked = self.ask(Request::Start(start), Opens::Command(opening));
        let Response::Started { pid } = in_time(within, asked).await? else {
            return Err(AgentError::Confused);
        };
        Ok(self.command(Some(pid), stdin, unread))
    }

    /// Takes over a command of an earlier process, or one that [`CommandLost::Log`] was said of:
    /// output goes on where `log` ends, input where the agent stands.
    pub async fn adopt(
        &self,
        command: CommandId,
        stdin: Stdin,
        log: LogWriter,
    ) -> Result<Command, AgentError> {
        let stdin = match stdin {
            Stdin::Null => None,
            Stdin::Stream => Some(Outgoing::adopted(self.wake(), StreamId::stdin(command))),
        };
        let incoming = Incoming::of_command(self.wake(), command, log.offsets());
        let opening = Opening { command, incoming: Arc::clone(&incoming), stdin: stdin.clone() };
        let unread = Unread::new(incoming, command, log);
        self.send(Ask::Adopt(opening)).await?;
        Ok(self.command(None, stdin, unread))
    }

    fn command(&self, pid: Option<u32>, stdin: Option<Arc<Outgoing>>, unread: Unread) -> Command {
        let (agent, id) = (self.clone(), unread.command());
        Command { agent, id, pid, stdin: stdin.map(StdinWriter), end: unread.keep() }
    }

    /// A file's content.
    pub async fn read(
        &self,
        path: String,
        within: Duration,
    ) -> Result<(Stat, Download), AgentError> {
        let stream = self.next_transfer();
        self.download(stream, Request::Read { stream, path }, within).await
    }

    /// A file or folder as a tar stream, with names relative to the parent of `path`.
    pub async fn read_tar(
        &self,
        path: String,
        within: Duration,
    ) -> Result<(Stat, Download), AgentError> {
        let stream = self.next_transfer();
        self.download(stream, Request::ReadTar { stream, path }, within).await
    }

    async fn download(
        &self,
        stream: StreamId,
        request: Request,
        within: Duration,
    ) -> Result<(Stat, Download), AgentError> {
        let incoming = Incoming::of_transfer(self.wake(), stream);
        let download = Download::new(Arc::clone(&incoming));
        let asked = self.ask(request, Opens::Download(stream, incoming));
        let Response::Reading(stat) = in_time(within, asked).await? else {
            return Err(AgentError::Confused);
        };
        Ok((stat, download))
    }

    /// Unpacks a tar stream below `base`. Takes as long as `body` does.
    pub async fn write_tar<B>(
        &self,
        base: String,
        owner: Owner,
        body: B,
    ) -> Result<Written, AgentError>
    where
        B: Stream<Item = io::Result<Bytes>> + Send,
    {
        let stream = self.next_transfer();
        let outgoing = Outgoing::new(self.wake(), stream);
        let upload = Upload(Arc::clone(&outgoing));
        let request = Request::WriteTar { stream, base, owner };
        let mut answer = std::pin::pin!(self.ask(request, Opens::Upload(stream, outgoing)));
        let answer = tokio::select! {
            // An early answer is a refusal: the rest of the body is not wanted.
            early = &mut answer => early,
            sent = upload.send(body) => {
                sent?;
                answer.await
            }
        };
        let Response::Written { entries, bytes } = answer? else {
            return Err(AgentError::Confused);
        };
        Ok(Written { entries, bytes })
    }

    /// Connects to a TCP port of the guest.
    pub async fn connect(&self, port: u16, within: Duration) -> Result<Tunnel, AgentError> {
        let stream = self.next_transfer();
        let incoming = Incoming::of_transfer(self.wake(), stream.back());
        let outgoing = Outgoing::new(self.wake(), stream);
        let tunnel = Tunnel::new(Arc::clone(&incoming), Arc::clone(&outgoing));
        let asked =
            self.ask(Request::Connect { stream, port }, Opens::Tunnel(stream, incoming, outgoing));
        let Response::Connected = in_time(within, asked).await? else {
            return Err(AgentError::Confused);
        };
        Ok(tunnel)
    }

    /// Has the guest's programs stand still until [`Request::Thaw`] or what else ends that. Gives the
    /// blocks of memory, set aside before, that nobody needs.
    pub async fn freeze(&self, within: Duration) -> Result<Vec<u32>, AgentError> {
        let Response::Frozen { free } = self.request(Request::Freeze, within).await? else {
            return Err(AgentError::Confused);
        };
        Ok(free)
    }

    /// The machine is gone, or let go of: everything under way ends as [`AgentError::Gone`], and
    /// the connection is closed when this returns. Commands end as [`CommandLost::Gone`] once the
    /// output received so far is in their logs.
    pub async fn close(&self) {
        self.close.cancel();
        self.mailbox.closed().await;
    }

    async fn ask(&self, request: Request, opens: Opens) -> Result<Response, AgentError> {
        if !request.fits() {
            return Err(AgentError::TooLong);
        }
        let (answer, answered) = oneshot::channel();
        self.send(Ask::Request { request, opens, answer }).await?;
        answered.await.unwrap_or_else(|_| Err(self.over()))
    }

    async fn send(&self, ask: Ask) -> Result<(), AgentError> {
        self.mailbox.send(ask).await.map_err(|_closed| self.over())
    }

    /// Why the task is no more.
    fn over(&self) -> AgentError {
        self.status.borrow().error()
    }

    fn next_transfer(&self) -> StreamId {
        StreamId::transfer(self.transfer.fetch_add(1, Ordering::Relaxed))
    }

    fn wake(&self) -> Arc<Wake> {
        Arc::clone(&self.wake)
    }
}

async fn in_time<T>(
    within: Duration,
    work: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AgentError> {
    timeout(within, work).await.unwrap_or(Err(AgentError::TimedOut))
}
