//! A client of QEMU's control socket.
//!
//! One task owns the socket. It matches replies to requests by number, hands events on, ignores
//! what it does not know, and ends at the first thing that is not QMP: then every request fails and
//! nothing else does.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{UnixStream, unix::WriteHalf},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{ControlError, qmp::lines::Lines};

mod card;
mod lines;
#[cfg(test)]
mod tests;

/// For a word that QEMU answers at once.
pub(crate) const PROMPT: Duration = Duration::from_secs(20);

/// Requests under way at once; more are refused.
const PENDING_MAX: usize = 64;

/// A handle on the client; the socket is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Qmp {
    requests: mpsc::Sender<Request>,
}

/// A handle that does not keep the socket open.
#[derive(Clone, Debug)]
pub(crate) struct WeakQmp {
    requests: mpsc::WeakSender<Request>,
}

impl WeakQmp {
    /// None when nobody holds the client any more.
    pub(crate) fn upgrade(&self) -> Option<Qmp> {
        Some(Qmp { requests: self.requests.upgrade()? })
    }
}

/// An event as it came.
#[derive(Debug)]
pub(crate) struct RawEvent {
    pub(crate) name: String,
    pub(crate) data: Value,
}

#[derive(Debug)]
struct Request {
    command: &'static str,
    arguments: Value,
    file: Option<OwnedFd>,
    reply: oneshot::Sender<Result<Value, String>>,
}

impl Qmp {
    /// Waits for QEMU's greeting and answers it. Events go to `events`; those that nobody takes
    /// away in time are dropped.
    pub(crate) async fn over(
        stream: UnixStream,
        events: mpsc::Sender<RawEvent>,
    ) -> Result<Self, ControlError> {
        let mut lines = Lines::new();
        let greeting = lines.next(&stream).await?;
        if greeting.get("QMP").is_none() {
            return Err(ControlError::Io(io::Error::other("the control socket has no greeting")));
        }
        let (requests, inbox) = mpsc::channel(PENDING_MAX);
        tokio::spawn(serve(stream, lines, inbox, events));
        let qmp = Self { requests };
        qmp.ask("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    pub(crate) fn downgrade(&self) -> WeakQmp {
        WeakQmp { requests: self.requests.downgrade() }
    }

    pub(crate) async fn ask(
        &self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, ControlError> {
        self.ask_with(command, arguments, None).await
    }

    /// Asks and hands a descriptor over with the question.
    pub(crate) async fn ask_with(
        &self,
        command: &'static str,
        arguments: Value,
        file: Option<OwnedFd>,
    ) -> Result<Value, ControlError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let request = Request { command, arguments, file, reply };
            self.requests.send(request).await.ok()?;
            answer.await.ok()
        };
        match timeout(PROMPT, asked).await {
            Err(_) => Err(ControlError::Timeout { command: command.to_owned() }),
            Ok(None) => Err(ControlError::Gone),
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(why))) => Err(ControlError::Refused { command: command.to_owned(), why }),
        }
    }
}

/// What is waiting for an answer.
type Pending = HashMap<u64, oneshot::Sender<Result<Value, String>>>;

async fn serve(
    mut stream: UnixStream,
    mut lines: Lines,
    mut inbox: mpsc::Receiver<Request>,
    events: mpsc::Sender<RawEvent>,
) {
    let mut pending = Pending::new();
    let mut number = 0;
    loop {
        let step = tokio::select! {
            message = lines.next(&stream) => message.map(|message| take(message, &mut pending, &events)),
            request = inbox.recv() => match request {
                None => return,
                Some(request) => {
                    number += 1;
                    send(&mut stream, number, request, &mut pending).await
                }
            },
        };
        if let Err(error) = step {
            // The ends of those who wait are dropped with `pending`, which tells them.
            tracing::debug!(%error, "the control socket closed");
            return;
        }
    }
}

async fn send(
    stream: &mut UnixStream,
    number: u64,
    request: Request,
    pending: &mut Pending,
) -> io::Result<()> {
    let Request { command, arguments, file, reply } = request;
    pending.retain(|_, waiting| !waiting.is_closed());
    if pending.len() >= PENDING_MAX {
        // Who asked may have gone meanwhile, which is as well.
        drop(reply.send(Err("too many requests are waiting".to_owned())));
        return Ok(());
    }
    let mut message = Map::new();
    message.insert("execute".to_owned(), command.into());
    message.insert("arguments".to_owned(), arguments);
    message.insert("id".to_owned(), number.into());
    let mut line = Value::Object(message).to_string().into_bytes();
    line.push(b'\n');
    pending.insert(number, reply);
    let (_, mut writer) = stream.split();
    let sent = match file {
        Some(file) => send_file(&writer, &line, &file).await?,
        None => 0,
    };
    writer.write_all(&line[sent..]).await
}

/// Sends the beginning of a line, at least, together with the descriptor.
async fn send_file(writer: &WriteHalf<'_>, line: &[u8], file: &OwnedFd) -> io::Result<usize> {
    let stream = writer.as_ref();
    let attempt = || {
        let files = [file.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let bytes = [IoSlice::new(line)];
        Ok(sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL)?)
    };
    stream.async_io(Interest::WRITABLE, attempt).await
}

fn take(mut message: Value, pending: &mut Pending, events: &mpsc::Sender<RawEvent>) {
    if let Some(name) = message.get("event").and_then(Value::as_str) {
        let event = RawEvent { name: name.to_owned(), data: message["data"].take() };
        // Dropped if nobody takes them away: a hostile guest may make many.
        drop(events.try_send(event));
        return;
    }
    let number = message.get("id").and_then(Value::as_u64);
    let Some(reply) = number.and_then(|number| pending.remove(&number)) else { return };
    let answer = match message.get("error") {
        None => Ok(message["return"].take()),
        Some(error) => Err(error["desc"].as_str().unwrap_or("no reason given").to_owned()),
    };
    // Who asked may have stopped waiting.
    drop(reply.send(answer));
}
