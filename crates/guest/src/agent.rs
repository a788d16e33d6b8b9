//! The agent: one loop over all that can happen.

use std::{convert::Infallible, io, mem, rc::Rc};

use protocol::{
    Ack, Body, Claim, Data, Frame, Hello, Phase, Refusal, RefusalCode, Request, Reset, Response,
    StartCommand, VERSION, Wake, Welcome, network::Certificate,
};
use rustix::fd::OwnedFd;

use crate::{
    answers::{Answers, Known},
    commands::Commands,
    files::{Files, hold},
    identity::Identity,
    lending::Lending,
    link::{Incoming, Link},
    outgoing::Outgoing,
    pace::Pace,
    place::Place,
    poll::{Poll, Ready, Source},
    refusal::refuse,
    sys,
    tunnels::Tunnels,
};

mod claiming;
mod lent;

/// Reads of the channel, of a page each, before anything else has its turn.
const READS_A_TURN: usize = 64;
/// With so many bytes of answers waiting, no more questions are read.
const CONTROL_MAX: usize = 2 << 20;

/// Commands that wait for the end of a freeze.
const STARTS_MAX: usize = 512;

/// What waits while no process goes on.
#[derive(Debug, Default)]
struct Frozen {
    starts: Vec<(u64, StartCommand)>,
}

#[derive(Debug)]
pub(crate) struct Agent {
    poll: Rc<Poll>,
    children: OwnedFd,
    link: Link,
    outgoing: Outgoing,
    lending: Lending,
    pace: Pace,
    commands: Commands,
    files: Files,
    tunnels: Tunnels,
    answers: Answers,
    place: Place,
    phase: Phase,
    identity: Option<Identity>,
    /// Certificates that have their places.
    trusted: Vec<Certificate>,
    /// None while processes go on.
    frozen: Option<Frozen>,
    /// Blocks that are set aside, if they are free.
    aside: Vec<u32>,
    /// The host process that talks to us.
    instance: Option<u64>,
}

impl Agent {
    pub(crate) fn new(link: Link, place: Place) -> io::Result<Self> {
        let poll = Rc::new(Poll::new()?);
        let children = sys::watch_children()?;
        poll.watch(&children, Source::Children)?;
        link.watch(&poll)?;
        Ok(Self {
            commands: Commands::new(Rc::clone(&poll)),
            files: Files::new(&poll)?,
            tunnels: Tunnels::new(Rc::clone(&poll)),
            answers: Answers::default(),
            poll,
            children,
            link,
            outgoing: Outgoing::default(),
            lending: Lending::default(),
            pace: Pace::default(),
            place,
            phase: Phase::Bare,
            identity: None,
            trusted: Vec::new(),
            frozen: None,
            aside: Vec::new(),
            instance: None,
        })
    }

    /// Serves for ever.
    pub(crate) fn run(mut self) -> io::Result<Infallible> {
        loop {
            self.turn()?;
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = match self.can_receive() {
            true => Some(0),
            false => [self.commands.until_deadline(), self.pace.until_prompt()]
                .into_iter()
                .flatten()
                .min(),
        };
        for (source, ready) in self.poll.wait(timeout)? {
            self.on_ready(source, ready)?;
        }
        self.receive();
        self.commands.expire();
        if let Some(returned) = self.lending.returned() {
            self.outgoing.say(returned);
        }
        self.link.write(&mut self.outgoing);
        self.pace.after_turn(self.outgoing.take_large());
        Ok(())
    }

    fn on_ready(&mut self, source: Source, ready: Ready) -> io::Result<()> {
        match source {
            Source::Channel => self.link.on_ready(ready),
            Source::Listener => {
                if self.link.accept(&self.poll)? {
                    self.outgoing.pause();
                }
            }
            Source::Children => self.reap(),
            Source::Wake => {
                for (id, answer) in self.files.answers() {
                    self.reply(id, answer);
                }
                self.files.pump(&mut self.outgoing);
            }
            Source::Stream(stream) if stream.is_transfer() => {
                let answered = self.tunnels.on_ready(stream, ready, &mut self.outgoing);
                self.reply_if(answered);
            }
            Source::Stream(stream) => self.commands.on_ready(stream, ready, &mut self.outgoing),
        }
        Ok(())
    }

    fn reap(&mut self) {
        let mut signals = [0; 1024];
        while matches!(rustix::io::read(&self.children, &mut signals), Ok(1..)) {}
        self.commands.reap(&mut self.outgoing);
    }

    fn can_receive(&self) -> bool {
        self.link.can_read() && self.outgoing.control_len() < CONTROL_MAX
    }

    fn receive(&mut self) {
        for _ in 0..READS_A_TURN {
            if !self.can_receive() {
                return;
            }
            match self.link.read() {
                Incoming::Some => {
                    while let Some(frame) = self.link.next_frame() {
                        self.on_frame(frame);
                    }
                }
                Incoming::Nothing => return,
            }
        }
    }

    fn on_frame(&mut self, frame: Frame) {
        if let Body::Hello(hello) = frame.body {
            self.link.greeted();
            return self.on_hello(frame.epoch, &hello);
        }
        if self.outgoing.epoch() != Some(frame.epoch) {
            return;
        }
        self.link.heard();
        match frame.body {
            Body::Request { id, request } => self.on_request(id, request),
            Body::Data(data) => self.on_data(&data),
            Body::Filled(filled) => self.on_filled(&filled),
            Body::Ack(ack) => self.on_ack(&ack),
            Body::Reset(reset) => self.on_reset(reset),
            // Only we say these; hellos are handled.
            Body::Hello(_)
            | Body::Welcome(_)
            | Body::Reply { .. }
            | Body::Event(_)
            | Body::Lent(_)
            | Body::Returned { .. } => {}
        }
    }

    /// A repeated hello is answered again and changes nothing.
    fn on_hello(&mut self, epoch: protocol::Epoch, hello: &Hello) {
        let is_new = self.outgoing.epoch() != Some(epoch);
        if is_new {
            self.outgoing.begin(epoch);
        }
        self.outgoing.say(Body::Welcome(Welcome { version: VERSION, phase: self.phase }));
        if !is_new {
            return;
        }
        if self.instance.replace(hello.instance) != Some(hello.instance) {
            self.answers.clear();
            self.files.drop_all(&mut self.outgoing);
            self.tunnels.drop_all(&mut self.outgoing);
            self.outgoing.close_transfers();
        }
        self.commands.tell_inputs(&mut self.outgoing);
        self.files.tell_states(&mut self.outgoing);
        self.tunnels.tell_states(&mut self.outgoing);
    }

    fn on_request(&mut self, id: u64, request: Request) {
        match self.answers.ask(id) {
            Known::New => {}
            Known::Begun => return,
            Known::Answered(reply) => return self.outgoing.say(Body::Reply { id, reply }),
        }
        let request = match (request, &mut self.frozen) {
            (Request::Start(start), Some(frozen)) if frozen.starts.len() < STARTS_MAX => {
                return frozen.starts.push((id, start));
            }
            (Request::Start(_) | Request::Hold { .. }, Some(_)) => {
                let refusal = refuse(RefusalCode::Io, "the machine stands still");
                return self.reply(id, Err(refusal));
            }
            (request, _) => request,
        };
        if let Request::Connect { stream, port } = request {
            let answered = match self.phase {
                Phase::Live => self.tunnels.connect(id, stream, port, &mut self.outgoing),
                Phase::Bare | Phase::Warm | Phase::Rehearsing => {
                    Some((id, Err(self.wrong_phase())))
                }
            };
            self.reply_if(answered);
        } else if is_about_files(&request) {
            if let Err(refusal) = self.begin_files(id, request) {
                self.reply(id, Err(refusal));
            }
        } else {
            let reply = self.answer(request);
            self.reply(id, reply);
        }
    }

    fn begin_files(&mut self, id: u64, request: Request) -> Result<(), Refusal> {
        let Some(identity) = &self.identity else { return Err(self.wrong_phase()) };
        self.files.begin(id, request, (identity, &self.place), &mut self.outgoing)
    }

    fn reply_if(&mut self, answered: Option<(u64, Result<Response, Refusal>)>) {
        if let Some((id, reply)) = answered {
            self.reply(id, reply);
        }
    }

    fn reply(&mut self, id: u64, reply: Result<Response, Refusal>) {
        self.answers.answer(id, &reply);
        self.outgoing.say(Body::Reply { id, reply });
    }

    fn answer(&mut self, request: Request) -> Result<Response, Refusal> {
        let done = |()| Response::Done;
        match request {
            Request::Ping => Ok(Response::Done),
            Request::Warm(warm) => self.warm(*warm).map(done),
            Request::Rehearse(claim) => self.rehearse(claim).map(done),
            Request::Claim(claim) => self.claim(claim).map(done),
            Request::SetClock { unix_nanos } => self.place.set_clock(unix_nanos).map(done),
            Request::Start(start) => self.start(start),
            Request::Signal { command, signal } => self.commands.signal(command, signal).map(done),
            Request::Resize { command, rows, cols } => {
                self.commands.resize(command, rows, cols).map(done)
            }
            Request::Mount(mount) => {
                let Some(identity) = &self.identity else { return Err(self.wrong_phase()) };
                self.place.mount(&mount, &identity.user).map(done)
            }
            Request::Gather => self.place.gather().map(done),
            Request::SetAside { blocks } => {
                self.set_aside(blocks).map(|free| Response::Aside { free })
            }
            Request::Lend => self.lend(),
            Request::ResetConnections => self.reset_connections().map(done),
            Request::Freeze => self.freeze().map(|free| Response::Frozen { free }),
            Request::Thaw => self.thaw().map(done),
            Request::Fork(claim) => self.fork(claim).map(done),
            Request::Wake(wake) => self.wake(&wake).map(done),
            Request::Commands => Ok(Response::Commands(self.commands.states())),
            Request::Forget { command } => {
                self.commands.forget(command, &mut self.outgoing).map(done)
            }
            Request::Read { .. }
            | Request::ReadTar { .. }
            | Request::WriteTar { .. }
            | Request::Mkdir { .. }
            | Request::Stat { .. }
            | Request::List { .. }
            | Request::Remove { .. }
            | Request::Sync
            | Request::Hold { .. }
            | Request::Release
            | Request::Connect { .. } => {
                Err(refuse(RefusalCode::Invalid, "it is begun, not answered"))
            }
        }
    }

    fn start(&mut self, start: StartCommand) -> Result<Response, Refusal> {
        let Some(identity) = &self.identity else { return Err(self.wrong_phase()) };
        let outgoing = &mut self.outgoing;
        let pid = self.commands.start(start, identity, &self.place, outgoing)?;
        Ok(Response::Started { pid })
    }

    fn set_aside(&mut self, blocks: Vec<u32>) -> Result<Vec<u32>, Refusal> {
        if self.phase != Phase::Live {
            return Err(self.wrong_phase());
        }
        self.give_back();
        self.aside = self.place.set_aside(blocks);
        Ok(self.place.free_of(&self.aside))
    }

    /// Tells which blocks are free and stay so.
    fn freeze(&mut self) -> Result<Vec<u32>, Refusal> {
        if self.phase != Phase::Live {
            return Err(self.wrong_phase());
        }
        if hold::is_held() {
            return Err(refuse(RefusalCode::AlreadyExists, "the root is held"));
        }
        if self.frozen.is_none() {
            self.place.freeze()?;
            self.frozen = Some(Frozen::default());
        }
        Ok(self.place.free_of(&self.aside))
    }

    /// The kernel tells a call that waits for more of a broken pipe. One that was stopped meanwhile is
    /// made again, and told of a reset.
    fn reset_connections(&self) -> Result<(), Refusal> {
        let stopped = match &self.frozen {
            Some(_) => None,
            None => self.place.freeze().ok(),
        };
        self.place.reset_connections();
        stopped.map_or(Ok(()), |()| self.place.thaw())
    }

    fn thaw(&mut self) -> Result<(), Refusal> {
        // First: those that go on may need it.
        self.give_back();
        if self.frozen.is_none() {
            return Ok(());
        }
        self.place.thaw()?;
        for (id, start) in self.frozen.take().unwrap_or_default().starts {
            let reply = self.start(start);
            self.reply(id, reply);
        }
        Ok(())
    }

    fn give_back(&mut self) {
        if !mem::take(&mut self.aside).is_empty() {
            self.place.give_back();
        }
    }

    fn fork(&mut self, claim: Claim) -> Result<(), Refusal> {
        let Some(identity) = &self.identity else { return Err(self.wrong_phase()) };
        if identity.machine_id != claim.machine_id {
            self.place.fork(&claim)?;
            self.commands.let_go(&mut self.outgoing);
            // Who asked for these asked the other machine.
            if let Some(frozen) = &mut self.frozen {
                frozen.starts.clear();
            }
            self.identity = Some(Identity::of(claim, &self.place)?);
        }
        self.thaw()
    }

    /// Asked again, since the answer was lost, it resets nothing.
    fn wake(&mut self, wake: &Wake) -> Result<(), Refusal> {
        if self.phase != Phase::Live {
            return Err(self.wrong_phase());
        }
        match self.frozen {
            Some(_) => self.place.wake(wake)?,
            None => self.place.set_clock(wake.unix_nanos)?,
        }
        self.thaw()
    }

    fn wrong_phase(&self) -> Refusal {
        refuse(RefusalCode::WrongPhase, format!("the machine is {:?}", self.phase).to_lowercase())
    }

    fn on_data(&mut self, data: &Data) {
        if self.tunnels.knows(data.stream) {
            self.tunnels.on_data(data, &mut self.outgoing);
        } else if data.stream.is_transfer() {
            self.files.on_data(data, &mut self.outgoing);
        } else {
            self.commands.on_data(data, &mut self.outgoing);
        }
    }

    fn on_ack(&mut self, ack: &Ack) {
        if ack.stream.command().is_some() && !self.outgoing.knows(ack.stream) {
            // Another host had all of it, and this one waits for its end.
            return self.outgoing.say(Body::Reset(Reset { stream: ack.stream }));
        }
        match self.outgoing.on_ack(ack) {
            Ok(true) => self.outgoing.close(ack.stream),
            Ok(false) if self.tunnels.knows(ack.stream) => {
                self.tunnels.on_room(ack.stream, &mut self.outgoing);
            }
            Ok(false) if ack.stream.is_transfer() => {
                self.files.on_room(ack.stream, &mut self.outgoing);
            }
            Ok(false) => self.commands.on_room(ack.stream, &mut self.outgoing),
            // The host breaks the rules: the stream is over.
            Err(_violation) => {
                let reset = Reset { stream: ack.stream };
                self.outgoing.say(Body::Reset(reset));
                self.on_reset(reset);
            }
        }
    }

    fn on_reset(&mut self, reset: Reset) {
        if self.tunnels.knows(reset.stream) {
            self.tunnels.on_reset(reset.stream, &mut self.outgoing);
        } else if reset.stream.is_transfer() {
            self.files.on_reset(reset.stream, &mut self.outgoing);
            self.outgoing.close(reset.stream);
        } else {
            self.commands.on_reset(reset.stream, &mut self.outgoing);
        }
    }
}

fn is_about_files(request: &Request) -> bool {
    match request {
        Request::Read { .. }
        | Request::ReadTar { .. }
        | Request::WriteTar { .. }
        | Request::Mkdir { .. }
        | Request::Stat { .. }
        | Request::List { .. }
        | Request::Remove { .. }
        | Request::Sync
        | Request::Hold { .. }
        | Request::Release => true,
        Request::Ping
        | Request::Warm(_)
        | Request::Rehearse(_)
        | Request::Claim(_)
        | Request::SetClock { .. }
        | Request::Start(_)
        | Request::Signal { .. }
        | Request::Resize { .. }
        | Request::Commands
        | Request::Forget { .. }
        | Request::Connect { .. }
        | Request::Mount(_)
        | Request::Gather
        | Request::SetAside { .. }
        | Request::ResetConnections
        | Request::Lend
        | Request::Freeze
        | Request::Thaw
        | Request::Fork(_)
        | Request::Wake(_) => false,
    }
}

#[cfg(test)]
mod tests;
