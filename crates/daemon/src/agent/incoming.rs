//! Streams on their way in: what was received and not yet taken, at most a window of each.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use protocol::{Ack, CommandId, Data, Exit, Inbox, Lent, Place, Span, StreamId, Violation, within};

use super::{lent::Memory, wake::Wake};
use crate::command_log::Offsets;

/// The streams of one reader, which gets their bytes in the order of arrival: a command's two
/// outputs, or a file.
#[derive(Debug)]
pub(super) struct Incoming {
    wake: Arc<Wake>,
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    queue: Batch,
    exit: Option<Exit>,
    over: Option<Over>,
    reader: Reader,
}

#[derive(Debug)]
struct Lane {
    stream: StreamId,
    inbox: Inbox,
    /// The agent gave it up, or broke the rules.
    is_reset: bool,
}

/// Bytes in the order of their arrival, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: BytesMut,
    runs: Vec<(StreamId, usize)>,
}

/// Why nothing more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The agent gave it up.
    Reset,
    /// The machine is gone.
    Gone,
    /// The agent does not know the command.
    Unknown,
}

/// Why bytes that were lent are not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum LentError {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("they cannot be read")]
    Memory(#[from] io::Error),
}

/// How the one who reads stands to the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Reading,
    /// It has all it wants.
    Through,
    /// It has left before the end.
    Left,
    /// It cannot go on: the bytes stay with the agent until there is another reader.
    Stuck,
}

impl Incoming {
    /// A command's outputs, from where an earlier process got to.
    pub(super) fn of_command(wake: Arc<Wake>, command: CommandId, from: Offsets) -> Arc<Self> {
        let stdout = Inbox::resume(StreamId::stdout(command), from.stdout);
        let stderr = Inbox::resume(StreamId::stderr(command), from.stderr);
        let lane = |stream, inbox| Lane { stream, inbox, is_reset: false };
        let lanes =
            vec![lane(StreamId::stdout(command), stdout), lane(StreamId::stderr(command), stderr)];
        Self::new(wake, lanes)
    }

    pub(super) fn of_transfer(wake: Arc<Wake>, stream: StreamId) -> Arc<Self> {
        Self::new(wake, vec![Lane { stream, inbox: Inbox::new(stream), is_reset: false }])
    }

    fn new(wake: Arc<Wake>, lanes: Vec<Lane>) -> Arc<Self> {
        let state = State {
            lanes,
            queue: Batch::default(),
            exit: None,
            over: None,
            reader: Reader::Reading,
        };
        Arc::new(Self { wake, state: Mutex::new(state), reader: AtomicWaker::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side of the task that owns the connection.
impl Incoming {
    pub(super) fn on_data(&self, data: &Data) -> Result<(), Violation> {
        self.receive(data.stream, |inbox, queue| {
            queue.push(data.stream, &inbox.on_data(data)?);
            Ok(())
        })
    }

    pub(super) fn on_lent(&self, lent: &Lent, memory: &dyn Memory) -> Result<(), LentError> {
        self.receive(lent.stream, |inbox, queue| {
            let span = Span { offset: lent.offset, len: lent.len(), last: lent.last };
            let known = inbox.known(span)?;
            let fresh: Vec<Place> = within(&lent.places, known..span.len).collect();
            queue.push_read(lent.stream, span.len - known, |into| memory.read(&fresh, into))?;
            inbox.receive(span);
            Ok(())
        })
    }

    /// Puts what has come into the queue, if the stream is open.
    fn receive<E>(
        &self,
        stream: StreamId,
        put: impl FnOnce(&mut Inbox, &mut Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state();
        let state = &mut *state;
        let mut lanes = state.lanes.iter_mut();
        let Some(lane) = lanes.find(|lane| lane.stream == stream && !lane.is_reset) else {
            return Ok(());
        };
        put(&mut lane.inbox, &mut state.queue)?;
        self.reader.wake();
        Ok(())
    }

    /// No more comes on this stream.
    pub(super) fn on_reset(&self, stream: StreamId) {
        let mut state = self.state();
        for lane in state.lanes.iter_mut().filter(|lane| lane.stream == stream) {
            lane.is_reset = !lane.inbox.is_ended();
        }
        self.reader.wake();
    }

    /// The first word about a command's end counts.
    pub(super) fn on_exit(&self, exit: Exit) {
        self.state().exit.get_or_insert(exit);
        self.reader.wake();
    }

    pub(super) fn finish(&self, over: Over) {
        self.state().over.get_or_insert(over);
        self.reader.wake();
    }

    pub(super) fn due_ack(&self, stream: StreamId) -> Option<Ack> {
        self.with_open(stream, Inbox::due_ack).flatten()
    }

    /// Where the stream stands, for a new epoch.
    pub(super) fn ack(&self, stream: StreamId) -> Option<Ack> {
        self.with_open(stream, Inbox::ack)
    }

    fn with_open<T>(&self, stream: StreamId, act: impl FnOnce(&mut Inbox) -> T) -> Option<T> {
        let mut state = self.state();
        let lane = state.lanes.iter_mut().find(|lane| lane.stream == stream && !lane.is_reset)?;
        Some(act(&mut lane.inbox))
    }

    pub(super) fn reader(&self) -> Reader {
        self.state().reader
    }
}

/// The reader's side.
impl Incoming {
    /// What has come since it was last asked; `None` when nothing more will.
    pub(super) fn poll_take(&self, context: &Context<'_>) -> Poll<Option<Batch>> {
        self.reader.register(context.waker());
        let mut state = self.state();
        if !state.queue.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut state.queue)));
        }
        if state.over.is_some() || state.has_ended() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// What was taken is in safety: the agent need not keep it.
    pub(super) fn handled(&self, batch: &Batch) {
        let mut state = self.state();
        for lane in &mut state.lanes {
            lane.inbox.handle(batch.len_of(lane.stream));
            lane.inbox.handle_end();
            self.wake.touch(lane.stream);
        }
    }

    /// As many of a transfer's bytes were used up: the agent may send as many more.
    pub(super) fn used(&self, count: usize) {
        let mut state = self.state();
        for lane in &mut state.lanes {
            lane.inbox.handle(count);
            lane.inbox.handle_end();
            self.wake.touch(lane.stream);
        }
    }

    /// How it ended, after everything was taken.
    pub(super) fn poll_exit(&self, context: &Context<'_>) -> Poll<Result<Exit, Over>> {
        self.reader.register(context.waker());
        let state = self.state();
        match (state.exit, state.over) {
            (Some(exit), _) if state.has_ended() => Poll::Ready(Ok(exit)),
            (_, Some(over)) => Poll::Ready(Err(over)),
            (_, None) => Poll::Pending,
        }
    }

    /// Whether the streams came to their end; otherwise why not.
    pub(super) fn completed(&self) -> Result<(), Over> {
        let state = self.state();
        match state.lanes.iter().any(|lane| lane.is_reset) {
            true => Err(Over::Reset),
            false if state.has_ended() => Ok(()),
            false => Err(state.over.unwrap_or(Over::Reset)),
        }
    }

    pub(super) fn leave(&self, reader: Reader) {
        let mut state = self.state();
        state.reader = reader;
        if reader != Reader::Stuck {
            state.queue = Batch::default();
        }
        for lane in &state.lanes {
            self.wake.touch(lane.stream);
        }
    }
}

impl State {
    fn has_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_reset || lane.inbox.is_ended())
    }
}

impl Batch {
    /// Copies: a slice would keep all of the buffer that it was received in.
    fn push(&mut self, stream: StreamId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.note(stream, bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn note(&mut self, stream: StreamId, bytes: usize) {
        match self.runs.last_mut() {
            Some((last, len)) if *last == stream => *len += bytes,
            Some(_) | None => self.runs.push((stream, bytes)),
        }
    }

    /// The same for so many bytes that `read` puts where they belong, all of them or an error.
    fn push_read(
        &mut self,
        stream: StreamId,
        count: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let before = self.bytes.len();
        self.bytes.resize(before + count, 0);
        let done = read(&mut self.bytes[before..]);
        match done {
            Ok(()) => self.note(stream, count),
            Err(_) => self.bytes.truncate(before),
        }
        done
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn len_of(&self, stream: StreamId) -> usize {
        self.runs.iter().filter(|run| run.0 == stream).map(|run| run.1).sum()
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        let mut rest = &self.bytes[..];
        self.runs.iter().map(move |(stream, len)| {
            let (run, after) = rest.split_at(*len);
            rest = after;
            (*stream, run)
        })
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}
