//! All streams of one connection: who gets what is received, and whose turn it is to send.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::Arc,
};

use protocol::{Ack, Body, CommandId, Data, Lent, Reset, StreamId, Violation};

use super::{
    incoming::{Incoming, LentError, Over, Reader},
    lent::{Lending, Memory},
    link::Link,
    outgoing::Outgoing,
};

/// Answers to what an agent says of streams that are not there. A flood of it is not answered.
const PARTING_MAX: usize = 256;
/// Transfers whose end the agent may not have heard, as what was under way on a lost connection.
const FINISHED_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Streams {
    incoming: BTreeMap<StreamId, Arc<Incoming>>,
    outgoing: BTreeMap<StreamId, Arc<Outgoing>>,
    acks: BTreeMap<StreamId, Due>,
    /// Last words about streams.
    parting: VecDeque<Body>,
    finished: VecDeque<StreamId>,
    /// Streams that have something to send, each once.
    turns: VecDeque<StreamId>,
    queued: BTreeSet<StreamId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    IfEnough,
    Now,
}

/// What became of a stream that was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touched {
    Open,
    /// Its command is done with, as far as the reader of its output is concerned.
    Command(CommandId, Reader),
}

impl Streams {
    pub(super) fn open_command(
        &mut self,
        command: CommandId,
        incoming: &Arc<Incoming>,
        outgoing: Option<&Arc<Outgoing>>,
    ) {
        self.close_command(command, Over::Gone);
        for stream in [StreamId::stdout(command), StreamId::stderr(command)] {
            self.incoming.insert(stream, Arc::clone(incoming));
        }
        if let Some(outgoing) = outgoing {
            self.outgoing.insert(StreamId::stdin(command), Arc::clone(outgoing));
        }
    }

    pub(super) fn open_download(&mut self, stream: StreamId, incoming: Arc<Incoming>) {
        self.incoming.insert(stream, incoming);
    }

    pub(super) fn open_upload(&mut self, stream: StreamId, outgoing: Arc<Outgoing>) {
        self.outgoing.insert(stream, outgoing);
        // There may be something to send already.
        self.queue(stream);
    }

    pub(super) fn close_command(&mut self, command: CommandId, over: Over) {
        for stream in [StreamId::stdout(command), StreamId::stderr(command)] {
            if let Some(incoming) = self.incoming.remove(&stream) {
                incoming.finish(over);
            }
        }
        self.close_outgoing(StreamId::stdin(command));
    }

    /// The agent has answered that there will be no transfer, or that it is over.
    pub(super) fn close_transfer(&mut self, stream: StreamId) {
        for stream in [stream, stream.back()] {
            if let Some(incoming) = self.incoming.remove(&stream) {
                incoming.finish(Over::Reset);
            }
        }
        self.close_outgoing(stream);
    }

    fn close_outgoing(&mut self, stream: StreamId) {
        if let Some(outgoing) = self.outgoing.remove(&stream) {
            outgoing.close();
        }
    }

    pub(super) fn close_all(&mut self) {
        for incoming in std::mem::take(&mut self.incoming).into_values() {
            incoming.finish(Over::Gone);
        }
        for outgoing in std::mem::take(&mut self.outgoing).into_values() {
            outgoing.close();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.incoming.is_empty() && self.outgoing.is_empty()
    }

    /// A new epoch: nothing is sent until the agent has said where it stands.
    pub(super) fn on_epoch(&mut self) {
        self.acks.clear();
        self.parting.clear();
        self.turns.clear();
        self.queued.clear();
        for outgoing in self.outgoing.values() {
            outgoing.on_epoch();
        }
    }

    /// The agent knows of the epoch: it is told where every stream stands.
    pub(super) fn on_welcome(&mut self) {
        self.parting = self.finished.iter().map(|stream| reset(*stream)).collect();
        self.acks = self.incoming.keys().map(|stream| (*stream, Due::Now)).collect();
    }

    /// The agent has told where it stands with every stream that it knows.
    pub(super) fn on_all_told(&mut self) {
        for outgoing in self.outgoing.values() {
            outgoing.on_all_told();
        }
        let streams: Vec<_> = self.outgoing.keys().copied().collect();
        streams.into_iter().for_each(|stream| self.queue(stream));
    }

    pub(super) fn on_data(&mut self, data: &Data) {
        let Some(incoming) = self.incoming.get(&data.stream) else {
            return self.part(reset(data.stream));
        };
        if let Err(violation) = incoming.on_data(data) {
            let last = break_off(incoming, data.stream, violation);
            self.part(last);
        }
    }

    /// The same for bytes that are read in the guest's memory. An error if they cannot be: then nothing has
    /// been received.
    pub(super) fn on_lent(&mut self, lent: &Lent, memory: Option<&dyn Memory>) -> io::Result<()> {
        let (Some(incoming), Some(memory)) = (self.incoming.get(&lent.stream), memory) else {
            self.part(reset(lent.stream));
            return Ok(());
        };
        match incoming.on_lent(lent, memory) {
            Ok(()) => {}
            Err(LentError::Memory(error)) => return Err(error),
            Err(LentError::Violation(violation)) => {
                let last = break_off(incoming, lent.stream, violation);
                self.part(last);
            }
        }
        Ok(())
    }

    pub(super) fn on_ack(&mut self, ack: &Ack) {
        let Some(outgoing) = self.outgoing.get(&ack.stream) else { return };
        if let Err(violation) = outgoing.on_ack(ack) {
            tracing::warn!(stream = ack.stream.0, %violation, "a stream is reset");
            outgoing.close();
            self.part(reset(ack.stream));
        }
        self.queue(ack.stream);
    }

    /// The agent takes no more.
    pub(super) fn on_outgoing_reset(&self, stream: StreamId) {
        if let Some(outgoing) = self.outgoing.get(&stream) {
            outgoing.close();
        }
    }

    /// The agent sends no more.
    pub(super) fn on_incoming_reset(&self, stream: StreamId) {
        if let Some(incoming) = self.incoming.get(&stream) {
            incoming.on_reset(stream);
        }
    }

    /// Whoever reads or writes the stream has done something.
    pub(super) fn on_touch(&mut self, stream: StreamId) -> Touched {
        if let Some(incoming) = self.incoming.get(&stream) {
            match incoming.reader() {
                Reader::Reading | Reader::Stuck => {
                    self.acks.entry(stream).or_insert(Due::IfEnough);
                }
                reader @ (Reader::Through | Reader::Left) => match stream.command() {
                    Some(command) => return Touched::Command(command, reader),
                    None => self.leave(stream),
                },
            }
        }
        match self.outgoing.get(&stream) {
            Some(outgoing) if outgoing.was_left() => self.leave(stream),
            Some(_) => self.queue(stream),
            None => {}
        }
        Touched::Open
    }

    /// Whoever read or wrote the transfer is through with it.
    fn leave(&mut self, stream: StreamId) {
        let incoming = self.incoming.remove(&stream);
        let through = incoming.filter(|incoming| incoming.reader() == Reader::Through);
        let last = match through {
            Some(incoming) => incoming.due_ack(stream).map(Body::Ack),
            None => Some(reset(stream)),
        };
        self.outgoing.remove(&stream);
        last.into_iter().for_each(|body| self.part(body));
        self.finished.push_back(stream);
        if self.finished.len() > FINISHED_MAX {
            self.finished.pop_front();
        }
    }

    /// Nobody wants what the agent has opened.
    pub(super) fn refuse(&mut self, stream: StreamId) {
        self.part(reset(stream));
    }

    fn part(&mut self, body: Body) {
        if self.parting.len() < PARTING_MAX {
            self.parting.push_back(body);
        }
    }

    fn queue(&mut self, stream: StreamId) {
        let ready = self.outgoing.get(&stream).is_some_and(|outgoing| outgoing.is_ready());
        if ready && self.queued.insert(stream) {
            self.turns.push_back(stream);
        }
    }

    /// Whether [`Streams::fill`] may have something to say.
    pub(super) fn is_ready(&self) -> bool {
        !self.parting.is_empty() || !self.acks.is_empty() || !self.turns.is_empty()
    }

    /// Says what is to be said: control frames, then the streams in turn, one frame each.
    pub(super) fn fill(&mut self, link: &mut Link, lending: &mut Lending) {
        while link.has_room() && self.say_next(link, lending).is_some() {}
    }

    fn say_next(&mut self, link: &mut Link, lending: &mut Lending) -> Option<()> {
        let Some(body) = self.next_control() else { return self.put_data(link, lending) };
        link.say(body);
        Some(())
    }

    fn next_control(&mut self) -> Option<Body> {
        if let Some(body) = self.parting.pop_front() {
            return Some(body);
        }
        while let Some((stream, due)) = self.acks.pop_first() {
            let Some(incoming) = self.incoming.get(&stream) else { continue };
            let ack = match due {
                Due::Now => incoming.ack(stream),
                Due::IfEnough => incoming.due_ack(stream),
            };
            if let Some(ack) = ack {
                return Some(Body::Ack(ack));
            }
        }
        None
    }

    fn put_data(&mut self, link: &mut Link, lending: &mut Lending) -> Option<()> {
        while let Some(stream) = self.turns.pop_front() {
            self.queued.remove(&stream);
            let Some(outgoing) = self.outgoing.get(&stream) else { continue };
            let said = outgoing.put_frame(link, lending);
            self.queue(stream);
            if said.is_some() {
                return said;
            }
        }
        None
    }
}

/// What is said to an agent that breaks the rules: no more comes on the stream.
fn break_off(incoming: &Incoming, stream: StreamId, violation: Violation) -> Body {
    tracing::warn!(stream = stream.0, %violation, "a stream is reset");
    incoming.on_reset(stream);
    reset(stream)
}

fn reset(stream: StreamId) -> Body {
    Body::Reset(Reset { stream })
}
