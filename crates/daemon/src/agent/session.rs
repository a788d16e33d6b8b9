//! The task that owns the connection to an agent.
//!
//! Every connection, and every command that is taken over on a standing one, begins an epoch: a
//! hello, repeated until the agent's welcome; then all that has no answer is asked again, both
//! ends say where their streams stand, and a census tells what ended meanwhile.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use protocol::{
    Body, CommandId, CommandState, Epoch, Event, Hello, Phase, Progress, Refusal, Request,
    Response, VERSION, Welcome,
};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    AgentError,
    ask::{Ask, Opening, Opens},
    incoming::{Incoming, Over, Reader},
    lent::Lending,
    link::{Link, Lost, Received},
    requests::{Asker, Heard, Requests},
    streams::{Streams, Touched},
    wake::Wake,
};

/// An agent answers at once, if it is there at all.
const HELLO_AGAIN: Duration = Duration::from_millis(300);
const HELLO_PAUSE_MAX: Duration = Duration::from_secs(5);
/// With so many hellos unanswered, the agent may be waiting for the rest of a frame.
const HELLOS_BEFORE_PADDING: u32 = 2;
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// For an agent that was hung up on.
const PENANCE: Duration = Duration::from_secs(2);
/// So many pieces of garbage are looked at before other tasks have their turn.
const GARBAGE_A_TURN: u32 = 64;
const SIGKILL: u8 = 9;

/// What the handles see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Connecting,
    Ready(Phase),
    Gone,
    VersionMismatch { agent: u16 },
}

#[derive(Debug)]
pub(super) struct Session {
    /// Tells this task from those before it: requests and transfers are numbered from the start by
    /// each, and the agent remembers what it answered.
    instance: u64,
    pub(super) ends: Ends,
    requests: Requests,
    streams: Streams,
    lending: Lending,
    commands: BTreeMap<CommandId, Known>,
    /// How many commands were heard to have started.
    heard: u64,
    greeting: Greeting,
}

/// The task's ends of what it shares with the handles.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) wake: Arc<Wake>,
    pub(super) mailbox: mpsc::Receiver<Ask>,
    pub(super) close: CancellationToken,
    pub(super) status: watch::Sender<Status>,
}

#[derive(Debug)]
struct Known {
    incoming: Arc<Incoming>,
    /// Since when the agent is known to have it: a census that was asked later must list it.
    heard: Option<u64>,
}

/// How far the epoch has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    /// A new one is due.
    Due,
    Said {
        hellos: u32,
        again: Instant,
    },
    Welcomed,
}

/// Why a connection is not served any more.
#[derive(Debug)]
enum Stop {
    Lost(Lost),
    /// There will be no other.
    Over(Status),
}

impl Session {
    pub(super) fn new(ends: Ends, lending: Lending) -> Self {
        Self {
            instance: u64::from_le_bytes(crate::ids::random()),
            ends,
            requests: Requests::default(),
            streams: Streams::default(),
            lending,
            commands: BTreeMap::new(),
            heard: 0,
            greeting: Greeting::Due,
        }
    }

    pub(super) async fn run<C, F>(mut self, mut connect: C)
    where
        C: FnMut() -> F,
        F: Future<Output = io::Result<UnixStream>>,
    {
        let mut pause = Duration::ZERO;
        let over = loop {
            let stream = match self.connect(&mut connect, pause).await {
                Ok(stream) => stream,
                Err(over) => break over,
            };
            match self.serve(Link::new(stream)).await {
                Stop::Over(over) => break over,
                Stop::Lost(lost) => {
                    tracing::debug!(error = &lost as &dyn std::error::Error, "connecting again");
                    pause = match (lost, self.greeting) {
                        (Lost::Garbage, _) => PENANCE,
                        (_, Greeting::Welcomed) => RECONNECT_PAUSE,
                        _ => longer(pause),
                    };
                }
            }
        };
        self.finish(over);
    }

    async fn connect<C, F>(
        &mut self,
        connect: &mut C,
        mut pause: Duration,
    ) -> Result<UnixStream, Status>
    where
        C: FnMut() -> F,
        F: Future<Output = io::Result<UnixStream>>,
    {
        loop {
            let attempt = async {
                tokio::time::sleep(pause).await;
                connect().await
            };
            match self.meanwhile(attempt).await? {
                Ok(stream) => return Ok(stream),
                Err(error) => tracing::debug!(%error, "the agent's port cannot be reached"),
            }
            pause = longer(pause);
        }
    }

    /// Waits, and takes in what is asked.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Status> {
        let mut what = std::pin::pin!(what);
        loop {
            self.requests.make_room();
            tokio::select! {
                done = &mut what => return Ok(done),
                () = self.ends.close.cancelled() => return Err(Status::Gone),
                ask = self.ends.mailbox.recv(), if self.requests.has_room() => {
                    // With the last handle goes the task.
                    self.hear(ask.ok_or(Status::Gone)?).await?;
                }
                () = self.ends.wake.touched() => self.on_wake(),
            }
        }
    }

    async fn serve(&mut self, mut link: Link) -> Stop {
        self.greeting = Greeting::Due;
        loop {
            if let Err(stop) = self.turn(&mut link).await {
                return stop;
            }
        }
    }

    async fn turn(&mut self, link: &mut Link) -> Result<(), Stop> {
        self.greet(link);
        self.fill(link);
        link.write()?;
        self.requests.make_room();
        let again = match self.greeting {
            Greeting::Said { again, .. } => Some(again),
            Greeting::Due | Greeting::Welcomed => None,
        };
        tokio::select! {
            ready = link.ready(self.interest(link)) => {
                if ready.map_err(Lost::Io)?.is_readable() {
                    self.receive(link).await?;
                }
            }
            () = self.ends.close.cancelled() => return Err(Stop::Over(Status::Gone)),
            ask = self.ends.mailbox.recv(), if self.requests.has_room() => {
                let ask = ask.ok_or(Stop::Over(Status::Gone))?;
                self.hear(ask).await.map_err(Stop::Over)?;
            }
            () = self.ends.wake.touched() => self.on_wake(),
            () = sleep_until(again) => {}
        }
        Ok(())
    }

    fn interest(&self, link: &Link) -> Interest {
        let has_more = self.greeting == Greeting::Welcomed
            && (self.requests.is_ready() || self.streams.is_ready());
        match link.waiting() > 0 || has_more {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        }
    }

    /// Says hello if that is due.
    fn greet(&mut self, link: &mut Link) {
        let now = Instant::now();
        let hellos = match self.greeting {
            Greeting::Due => {
                self.begin(link);
                0
            }
            Greeting::Said { hellos, again } if again <= now => hellos,
            Greeting::Said { .. } | Greeting::Welcomed => return,
        };
        // What is not even written need not be said again.
        if hellos == 0 || link.waiting() == 0 {
            if hellos > 0 {
                link.forget_partial_frame();
            }
            if hellos >= HELLOS_BEFORE_PADDING {
                link.pad();
            }
            link.say(Body::Hello(Hello { version: VERSION, instance: self.instance }));
        }
        let pause = HELLO_AGAIN * 2u32.saturating_pow(hellos.saturating_sub(1).min(8));
        let again = now + pause.min(HELLO_PAUSE_MAX);
        self.greeting = Greeting::Said { hellos: hellos + 1, again };
    }

    fn begin(&mut self, link: &mut Link) {
        link.begin(Epoch(u32::from_le_bytes(crate::ids::random())));
        self.requests.on_epoch();
        self.streams.on_epoch();
        self.lending.on_epoch();
    }

    fn fill(&mut self, link: &mut Link) {
        if self.greeting != Greeting::Welcomed {
            return;
        }
        while link.has_room()
            && let Some((id, request)) = self.requests.next()
        {
            link.say(Body::Request { id, request });
        }
        self.streams.fill(link, &mut self.lending);
        if self.lending.is_due() {
            self.requests.push(Request::Lend, Asker::Lending);
        }
        self.end_failed_lending(link);
    }

    /// What was lent and is lost is sent again in another epoch, at once: what stands behind it is too.
    fn end_failed_lending(&mut self, link: &mut Link) {
        if self.lending.has_failed() {
            self.greeting = Greeting::Due;
            self.greet(link);
        }
    }

    async fn receive(&mut self, link: &mut Link) -> Result<(), Stop> {
        link.read()?;
        let mut garbage = 0;
        while let Some(received) = link.next_frame()? {
            match received {
                Received::Body(body) => {
                    self.on_body(body)?;
                    self.end_failed_lending(link);
                }
                Received::Nothing => {}
                Received::Garbage => garbage += 1,
            }
            if garbage == GARBAGE_A_TURN {
                garbage = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn on_body(&mut self, body: Body) -> Result<(), Stop> {
        match body {
            Body::Welcome(welcome) => return self.on_welcome(&welcome).map_err(Stop::Over),
            Body::Reply { id, reply } => self.on_reply(id, reply),
            Body::Event(Event::Exited { command, exit }) => {
                if let Some(known) = self.commands.get(&command) {
                    known.incoming.on_exit(exit);
                }
            }
            Body::Data(data) => {
                self.streams.on_data(&data);
                self.lending.on_sent(data.bytes.len());
            }
            Body::Lent(lent) => {
                if let Err(error) = self.streams.on_lent(&lent, self.lending.memory()) {
                    self.lending.fail(&error);
                }
            }
            Body::Returned { slots } => self.lending.on_returned(&slots),
            Body::Ack(ack) => self.streams.on_ack(&ack),
            Body::Reset(reset) => {
                self.streams.on_outgoing_reset(reset.stream);
                // Of what is to come in, the answer tells, if there is none yet.
                if !self.requests.opens(reset.stream) {
                    self.streams.on_incoming_reset(reset.stream);
                }
            }
            // Only we say these.
            Body::Hello(_) | Body::Request { .. } | Body::Filled(_) => {}
        }
        Ok(())
    }

    fn on_welcome(&mut self, welcome: &Welcome) -> Result<(), Status> {
        if welcome.version != VERSION {
            return Err(Status::VersionMismatch { agent: welcome.version });
        }
        // Every hello of an epoch is answered.
        if let Greeting::Said { .. } = self.greeting {
            self.greeting = Greeting::Welcomed;
            self.ends.status.send_replace(Status::Ready(welcome.phase));
            self.streams.on_welcome();
            if !self.streams.is_empty() {
                self.requests.push(Request::Commands, Asker::Census { heard: self.heard });
            }
        }
        Ok(())
    }

    fn on_reply(&mut self, id: u64, reply: Result<Response, Refusal>) {
        let Some(open) = self.requests.take(id) else { return };
        if let Asker::Census { heard } = open.asker {
            if let Ok(Response::Commands(states)) = &reply {
                self.on_census(states, heard);
            }
            return self.streams.on_all_told();
        }
        if let Asker::Lending = open.asker {
            return reply.map_or((), |answer| self.lending.on_answer(answer));
        }
        let (starts, transfer) = (open.starts(), open.transfer());
        let is_open = matches!(reply, Ok(Response::Reading(_) | Response::Connected));
        let is_started = matches!(reply, Ok(Response::Started { .. }));
        if let Some(stream) = transfer.filter(|_| !is_open) {
            self.streams.close_transfer(stream);
        }
        let heard = open.answer(reply.map_err(AgentError::Refused));
        if let Some(stream) = transfer.filter(|_| is_open && heard == Heard::ByNobody) {
            self.streams.refuse(stream);
        }
        match starts {
            Some(command) if is_started => self.on_started(command, heard),
            Some(command) => self.on_not_started(command),
            None => {}
        }
    }

    fn on_started(&mut self, command: CommandId, heard: Heard) {
        self.heard += 1;
        if let Some(known) = self.commands.get_mut(&command) {
            known.heard = Some(self.heard);
        }
        if heard == Heard::ByNobody {
            // Who started it has given up: nobody would ever stop it.
            self.requests.push(Request::Signal { command, signal: SIGKILL }, Asker::Nobody);
        }
    }

    fn on_not_started(&mut self, command: CommandId) {
        self.commands.remove(&command);
        self.streams.close_command(command, Over::Unknown);
    }

    /// The agent has listed the commands that it knows.
    fn on_census(&mut self, states: &[CommandState], heard: u64) {
        let states: BTreeMap<_, _> =
            states.iter().map(|state| (state.command, &state.progress)).collect();
        for (command, known) in &self.commands {
            match states.get(command) {
                Some(Progress::Exited(exit)) => known.incoming.on_exit(*exit),
                Some(Progress::Running { .. }) => {}
                None if known.heard.is_some_and(|since| since <= heard) => {
                    known.incoming.finish(Over::Unknown);
                }
                None => {}
            }
        }
    }

    pub(super) fn on_ask(&mut self, ask: Ask) {
        match ask {
            // Nobody is there to be quiet.
            Ask::Quiet(_) => {}
            Ask::Request { request, opens, answer } => {
                self.open(opens, None);
                self.requests.push(request, Asker::Caller(answer));
            }
            Ask::Adopt(opening) => {
                self.open(Opens::Command(opening), Some(self.heard));
                // The agent begins to send it again in an epoch that knows of it.
                if self.greeting == Greeting::Welcomed {
                    self.greeting = Greeting::Due;
                }
            }
        }
    }

    fn open(&mut self, opens: Opens, heard: Option<u64>) {
        match opens {
            Opens::Nothing => {}
            Opens::Command(Opening { command, incoming, stdin }) => {
                self.streams.open_command(command, &incoming, stdin.as_ref());
                self.commands.insert(command, Known { incoming, heard });
            }
            Opens::Download(stream, incoming) => self.streams.open_download(stream, incoming),
            Opens::Upload(stream, outgoing) => self.streams.open_upload(stream, outgoing),
            Opens::Tunnel(stream, incoming, outgoing) => {
                self.streams.open_download(stream.back(), incoming);
                self.streams.open_upload(stream, outgoing);
            }
        }
    }

    fn on_wake(&mut self) {
        for stream in self.ends.wake.take() {
            let (command, reader) = match self.streams.on_touch(stream) {
                Touched::Command(command, reader) => (command, reader),
                Touched::Open => continue,
            };
            self.commands.remove(&command);
            self.streams.close_command(command, Over::Gone);
            if reader == Reader::Through {
                self.requests.push(Request::Forget { command }, Asker::Nobody);
            }
        }
    }

    /// Everything under way ends.
    fn finish(mut self, over: Status) {
        self.ends.status.send_replace(over);
        self.ends.mailbox.close();
        // What was still asked ends like the rest.
        while let Ok(ask) = self.ends.mailbox.try_recv() {
            self.on_ask(ask);
        }
        self.streams.close_all();
        self.requests.fail(|| over.error());
    }
}

impl Status {
    /// Why nothing more can be asked.
    pub(super) fn error(self) -> AgentError {
        match self {
            Self::VersionMismatch { agent } => AgentError::VersionMismatch { agent },
            Self::Connecting | Self::Ready(_) | Self::Gone => AgentError::Gone,
        }
    }
}

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(RECONNECT_PAUSE, RECONNECT_PAUSE_MAX)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
