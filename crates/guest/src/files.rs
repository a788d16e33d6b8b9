//! Files: every request has a thread of its own, so that a slow disk holds nothing else up, and
//! bytes go through a bounded [`Pipe`] between it and the stream.

mod archive;
mod direct;
pub(crate) mod hold;
mod list;
mod paths;
mod pipe;
mod read;
mod read_tar;
mod remove;
mod source;
mod walk;
mod work;
mod write_tar;

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use protocol::{
    Body, Chunk, Data, Inbox, Owner, Parents, Refusal, RefusalCode, RemoveMode, Request, Reset,
    Response, Span, StreamId, Violation,
};

use self::pipe::{Pipe, Wake};
use crate::{
    identity::Identity,
    outgoing::Outgoing,
    place::Place,
    poll::{Poll, Source},
    refusal::refuse,
};

const THREADS_MAX: usize = 16;
const WAITING_MAX: usize = 256;
const STACK: usize = 256 << 10;
/// Ended transfers to the guest whose end can be told again.
const ENDED_MAX: usize = 64;

/// Uid and gid of what is made; none leaves it to the agent's own user.
pub(crate) type MadeBy = Option<(u32, u32)>;

/// What a thread does.
#[derive(Debug)]
enum Work {
    Read { stream: StreamId, path: PathBuf },
    ReadTar { stream: StreamId, path: PathBuf },
    WriteTar { stream: StreamId, base: PathBuf, made_by: MadeBy, owner: Owner },
    Mkdir { path: PathBuf, parents: Parents, made_by: MadeBy },
    Stat { path: PathBuf },
    List { path: PathBuf, after: Option<String>, limit: u16 },
    Remove { path: PathBuf, mode: RemoveMode },
    Sync,
    Hold { what: hold::What, for_ms: u64 },
    Release { what: hold::What },
}

#[derive(Debug)]
pub(crate) struct Files {
    wake: Arc<Wake>,
    notes: Arc<Notes>,
    running: usize,
    waiting: VecDeque<Job>,
    incoming: BTreeMap<StreamId, Incoming>,
    outgoing: BTreeMap<StreamId, Arc<Pipe>>,
    /// Streams whose thread is over.
    over: Vec<StreamId>,
    /// The newest last.
    ended: VecDeque<(StreamId, EndedTransfer)>,
    /// Grows when another host process comes: answers to the one before are dropped.
    generation: u64,
}

/// A file on its way in.
#[derive(Debug)]
struct Incoming {
    inbox: Inbox,
    pipe: Arc<Pipe>,
}

/// A transfer to the guest that is over.
#[derive(Debug)]
enum EndedTransfer {
    Taken(Inbox),
    GivenUp,
}

#[derive(Debug)]
struct Job {
    key: Key,
    work: Work,
    pipe: Arc<Pipe>,
}

/// Which question an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    generation: u64,
    request: u64,
}

/// What threads have said since it was last looked at.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<Note>>);

#[derive(Debug)]
enum Note {
    Answer(Key, Result<Response, Refusal>),
    /// The thread is over.
    Over {
        stream: Option<StreamId>,
        generation: u64,
    },
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Vec<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    pub(crate) fn new(poll: &Rc<Poll>) -> io::Result<Self> {
        let wake = Arc::new(Wake::new()?);
        poll.watch(wake.fd(), Source::Wake)?;
        Ok(Self {
            wake,
            notes: Arc::default(),
            running: 0,
            waiting: VecDeque::new(),
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            over: Vec::new(),
            ended: VecDeque::new(),
            generation: 0,
        })
    }

    /// Begins what a request asks. The answer comes out of [`Files::answers`].
    pub(crate) fn begin(
        &mut self,
        id: u64,
        request: Request,
        (identity, place): (&Identity, &Place),
        outgoing: &mut Outgoing,
    ) -> Result<(), Refusal> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(refuse(RefusalCode::Io, "too many file requests at once"));
        }
        let work = Work::of(request, identity, place)?;
        let key = Key { generation: self.generation, request: id };
        let pipe = Arc::new(Pipe::new(Arc::clone(&self.wake)));
        match &work {
            Work::Read { stream, .. } | Work::ReadTar { stream, .. } => {
                self.check_new(*stream, outgoing)?;
                outgoing.open(*stream);
                self.outgoing.insert(*stream, Arc::clone(&pipe));
            }
            Work::WriteTar { stream, .. } => {
                self.check_new(*stream, outgoing)?;
                let mut inbox = Inbox::new(*stream);
                outgoing.say(Body::Ack(inbox.ack()));
                self.incoming.insert(*stream, Incoming { inbox, pipe: Arc::clone(&pipe) });
            }
            Work::Mkdir { .. }
            | Work::Stat { .. }
            | Work::List { .. }
            | Work::Remove { .. }
            | Work::Sync
            | Work::Hold { .. }
            | Work::Release { .. } => {}
        }
        self.waiting.push_back(Job { key, work, pipe });
        self.start_waiting();
        Ok(())
    }

    /// The answers that are ready. To be said before [`Files::pump`] moves bytes.
    pub(crate) fn answers(&mut self) -> Vec<(u64, Result<Response, Refusal>)> {
        self.wake.clear();
        let notes = std::mem::take(&mut *self.notes.lock());
        let mut answers = Vec::new();
        for note in notes {
            match note {
                Note::Answer(key, answer) if key.generation == self.generation => {
                    answers.push((key.request, answer));
                }
                Note::Answer(..) => {}
                Note::Over { stream, generation } => {
                    self.running -= 1;
                    self.over.extend(stream.filter(|_| generation == self.generation));
                }
            }
        }
        answers
    }

    /// Moves bytes between threads and streams.
    pub(crate) fn pump(&mut self, outgoing: &mut Outgoing) {
        self.start_waiting();
        let streams: Vec<StreamId> = self.outgoing.keys().copied().collect();
        streams.into_iter().for_each(|stream| self.on_room(stream, outgoing));
        self.incoming.values_mut().for_each(|incoming| incoming.settle(outgoing));
        for stream in std::mem::take(&mut self.over) {
            self.end_incoming(stream, outgoing);
        }
    }

    /// There is room in a stream.
    pub(crate) fn on_room(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        let Some(pipe) = self.outgoing.get(&stream) else { return };
        let taken = pipe.take(outgoing.room(stream));
        let mut push = |chunks: Vec<Chunk>| {
            chunks.into_iter().for_each(|chunk| outgoing.push_chunk(stream, chunk));
        };
        match taken {
            pipe::Taken::Some(chunks) => push(chunks),
            pipe::Taken::Last(chunks) => {
                push(chunks);
                outgoing.end(stream);
                self.outgoing.remove(&stream);
            }
            pipe::Taken::Broken => {
                self.outgoing.remove(&stream);
                outgoing.close(stream);
                outgoing.say(Body::Reset(Reset { stream }));
            }
        }
    }

    pub(crate) fn on_data(&mut self, data: &Data, outgoing: &mut Outgoing) {
        let put = |incoming: &mut Incoming| {
            incoming.inbox.on_data(data).map(|fresh| incoming.pipe.put(&fresh))
        };
        self.receive(data.stream, put, outgoing);
    }

    /// Whether a file comes by this stream.
    pub(crate) fn takes(&self, stream: StreamId) -> bool {
        self.incoming.contains_key(&stream)
    }

    /// The same for bytes that are in a chunk already.
    pub(crate) fn on_chunk(
        &mut self,
        stream: StreamId,
        span: Span,
        mut chunk: Chunk,
        outgoing: &mut Outgoing,
    ) {
        let put = |incoming: &mut Incoming| {
            chunk.advance(incoming.inbox.known(span)?);
            incoming.inbox.receive(span);
            incoming.pipe.put_chunk(chunk);
            Ok(())
        };
        self.receive(stream, put, outgoing);
    }

    fn receive(
        &mut self,
        stream: StreamId,
        put: impl FnOnce(&mut Incoming) -> Result<(), Violation>,
        outgoing: &mut Outgoing,
    ) {
        let Some(incoming) = self.incoming.get_mut(&stream) else {
            return outgoing.say(self.state_of_ended(stream));
        };
        match put(incoming) {
            Ok(()) => {
                if incoming.inbox.is_ended() {
                    incoming.pipe.end();
                }
                incoming.settle(outgoing);
            }
            // A peer that breaks the rules loses the stream.
            Err(_violation) => {
                incoming.pipe.break_off();
                self.end_incoming(stream, outgoing);
            }
        }
    }

    /// The host gave a stream up.
    pub(crate) fn on_reset(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        if let Some(pipe) = self.outgoing.remove(&stream) {
            pipe.break_off();
            outgoing.close(stream);
        }
        if let Some(incoming) = self.incoming.remove(&stream) {
            incoming.pipe.break_off();
        }
    }

    /// Where every stream to the guest stands, for a new epoch.
    pub(crate) fn tell_states(&mut self, outgoing: &mut Outgoing) {
        for incoming in self.incoming.values_mut() {
            outgoing.say(Body::Ack(incoming.inbox.ack()));
        }
        let ended: Vec<StreamId> = self.ended.iter().map(|(stream, _)| *stream).collect();
        for stream in ended {
            let state = self.state_of_ended(stream);
            outgoing.say(state);
        }
    }

    /// Another host process has come: it knows nothing of these transfers.
    pub(crate) fn drop_all(&mut self, outgoing: &mut Outgoing) {
        self.generation += 1;
        self.waiting.clear();
        self.ended.clear();
        self.over.clear();
        for (stream, pipe) in std::mem::take(&mut self.outgoing) {
            pipe.break_off();
            outgoing.close(stream);
        }
        for incoming in std::mem::take(&mut self.incoming).into_values() {
            incoming.pipe.break_off();
        }
    }

    fn check_new(&self, stream: StreamId, outgoing: &Outgoing) -> Result<(), Refusal> {
        let known = outgoing.knows(stream) || self.incoming.contains_key(&stream);
        if stream.is_transfer() && !known {
            return Ok(());
        }
        Err(refuse(RefusalCode::Invalid, format!("stream {} cannot be used", stream.0)))
    }

    fn state_of_ended(&mut self, stream: StreamId) -> Body {
        match self.ended.iter_mut().find(|(ended, _)| *ended == stream) {
            Some((_, EndedTransfer::Taken(inbox))) => Body::Ack(inbox.ack()),
            Some((_, EndedTransfer::GivenUp)) | None => Body::Reset(Reset { stream }),
        }
    }

    /// The thread that took a stream in is over.
    fn end_incoming(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        let Some(mut incoming) = self.incoming.remove(&stream) else { return };
        incoming.settle(outgoing);
        let ended = if incoming.pipe.is_drained() {
            incoming.inbox.handle_end();
            outgoing.say(Body::Ack(incoming.inbox.ack()));
            EndedTransfer::Taken(incoming.inbox)
        } else {
            incoming.pipe.break_off();
            outgoing.say(Body::Reset(Reset { stream }));
            EndedTransfer::GivenUp
        };
        self.ended.push_back((stream, ended));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    fn start_waiting(&mut self) {
        while self.running < THREADS_MAX
            && let Some(job) = self.waiting.pop_front()
        {
            let over = Over {
                notes: Arc::clone(&self.notes),
                wake: Arc::clone(&self.wake),
                pipe: Arc::clone(&job.pipe),
                stream: job.work.stream(),
                key: job.key,
                is_answered: Cell::new(false),
            };
            let thread = thread::Builder::new().stack_size(STACK);
            self.running += 1;
            // Where no thread can be made, `over` is dropped, and that says so.
            let _is_started = thread.spawn(move || job.run(&over)).is_ok();
        }
    }
}

impl Incoming {
    /// Tells the host what the thread has taken.
    fn settle(&mut self, outgoing: &mut Outgoing) {
        self.inbox.handle(self.pipe.taken());
        if let Some(ack) = self.inbox.due_ack() {
            outgoing.say(Body::Ack(ack));
        }
    }
}

/// Says that a thread is over, whatever way it ends.
struct Over {
    notes: Arc<Notes>,
    wake: Arc<Wake>,
    pipe: Arc<Pipe>,
    stream: Option<StreamId>,
    key: Key,
    is_answered: Cell<bool>,
}

impl Over {
    fn answer(&self, answer: Result<Response, Refusal>) {
        self.is_answered.set(true);
        self.notes.lock().push(Note::Answer(self.key, answer));
        self.wake.ring();
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        if !self.is_answered.get() {
            self.answer(Err(refuse(RefusalCode::Io, "the agent has no thread to do it")));
        }
        self.pipe.give_up();
        let note = Note::Over { stream: self.stream, generation: self.key.generation };
        self.notes.lock().push(note);
        self.wake.ring();
    }
}
