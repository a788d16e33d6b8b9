//! A host end that is as small as it can be: blocking, one thread, everything in maps.

use std::{
    collections::{BTreeMap, HashMap},
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use bytes::BytesMut;
use protocol::*;

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
const HELLO_AGAIN: Duration = Duration::from_millis(300);
const HELLOS_MAX: usize = 200;

/// A stream that comes in.
pub(crate) struct In {
    inbox: Inbox,
    pub(crate) bytes: Vec<u8>,
    /// How many bytes came, whether kept or not.
    pub(crate) count: u64,
    pub(crate) ended: bool,
    reader: Reader,
}

/// What is done with bytes that come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Keeps,
    Counts,
    /// Keeps, and says nothing to the sender.
    Stalls,
}

pub(crate) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    pub(crate) epoch: Epoch,
    pub(crate) instance: u64,
    next_id: u64,
    pub(crate) welcome: Option<Welcome>,
    pub(crate) replies: HashMap<u64, Result<Response, Refusal>>,
    pub(crate) exits: HashMap<CommandId, Exit>,
    pub(crate) ins: BTreeMap<StreamId, In>,
    pub(crate) outs: BTreeMap<StreamId, Outbox>,
    pub(crate) resets: Vec<StreamId>,
    /// Frames of another epoch.
    pub(crate) stale: usize,
}

impl Client {
    pub(crate) fn new(stream: UnixStream, instance: u64) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::default(),
            epoch: Epoch(0),
            instance,
            next_id: 1,
            welcome: None,
            replies: HashMap::new(),
            exits: HashMap::new(),
            ins: BTreeMap::new(),
            outs: BTreeMap::new(),
            resets: Vec::new(),
            stale: 0,
        }
    }

    /// Another connection, as after a lost one; what was under way is gone.
    pub(crate) fn reconnect(&mut self, stream: UnixStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream = stream;
        self.decoder.clear();
    }

    /// Begins an epoch and says where every stream stands.
    pub(crate) fn hello(&mut self, epoch: u32) -> Welcome {
        self.epoch = Epoch(epoch);
        self.welcome = None;
        self.outs.values_mut().for_each(Outbox::on_epoch);
        let mut hellos = 0;
        while self.welcome.is_none() {
            assert!(hellos < HELLOS_MAX, "the agent says nothing to a hello");
            hellos += 1;
            self.send(Body::Hello(Hello { version: VERSION, instance: self.instance }));
            // An answer that a frame without its end takes for that end is given again, and ends it.
            while self.welcome.is_none() && self.turn_within(HELLO_AGAIN) {}
        }
        let acks: Vec<Ack> = self.ins.values_mut().map(|input| input.inbox.ack()).collect();
        acks.into_iter().for_each(|ack| self.send(Body::Ack(ack)));
        self.welcome.clone().unwrap()
    }

    pub(crate) fn send(&mut self, body: Body) {
        let mut out = BytesMut::new();
        Frame { epoch: self.epoch, body }.encode(&mut out);
        self.raw(&out);
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn request(&mut self, request: Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(Body::Request { id, request });
        id
    }

    pub(crate) fn ask(&mut self, request: Request) -> Result<Response, Refusal> {
        let id = self.request(request);
        self.until(|client| client.replies.contains_key(&id));
        self.replies.remove(&id).unwrap()
    }

    /// Expects a stream.
    pub(crate) fn expect(&mut self, stream: StreamId) {
        let input = In {
            inbox: Inbox::new(stream),
            bytes: Vec::new(),
            count: 0,
            ended: false,
            reader: Reader::Keeps,
        };
        self.ins.insert(stream, input);
    }

    /// Starts a command and expects its output.
    pub(crate) fn start(&mut self, start: StartCommand) -> Result<Response, Refusal> {
        self.expect(StreamId::stdout(start.command));
        self.expect(StreamId::stderr(start.command));
        if start.stdin == Stdin::Stream {
            let stdin = StreamId::stdin(start.command);
            self.outs.insert(stdin, Outbox::new(stdin));
        }
        self.ask(Request::Start(start))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&mut self, start: StartCommand) -> (Exit, String, String) {
        let id = start.command;
        let started = self.start(start);
        assert!(matches!(started, Ok(Response::Started { pid: 1.. })), "{started:?}");
        self.finish(id)
    }

    pub(crate) fn finish(&mut self, id: CommandId) -> (Exit, String, String) {
        self.until(|client| client.exits.contains_key(&id) && client.has_ended(id));
        (self.exits[&id], self.text(StreamId::stdout(id)), self.text(StreamId::stderr(id)))
    }

    pub(crate) fn has_ended(&self, id: CommandId) -> bool {
        [StreamId::stdout(id), StreamId::stderr(id)].iter().all(|stream| self.ins[stream].ended)
    }

    pub(crate) fn text(&self, stream: StreamId) -> String {
        String::from_utf8_lossy(&self.ins[&stream].bytes).into_owned()
    }

    /// Reads no more of a stream until told otherwise.
    pub(crate) fn stall(&mut self, stream: StreamId) {
        self.ins.get_mut(&stream).unwrap().reader = Reader::Stalls;
    }

    /// Only counts what comes.
    pub(crate) fn count_only(&mut self, stream: StreamId) {
        self.ins.get_mut(&stream).unwrap().reader = Reader::Counts;
    }

    pub(crate) fn unstall(&mut self, stream: StreamId) {
        let input = self.ins.get_mut(&stream).unwrap();
        input.reader = Reader::Keeps;
        input.settle();
        let ack = input.inbox.ack();
        self.send(Body::Ack(ack));
    }

    /// Sends all of `bytes`, as the receiver takes them.
    pub(crate) fn feed(&mut self, stream: StreamId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.until(|client| client.outs[&stream].room() > 0);
            let outbox = self.outs.get_mut(&stream).unwrap();
            let (now, rest) = bytes.split_at(bytes.len().min(outbox.room()));
            outbox.push(now);
            bytes = rest;
            self.flush();
        }
    }

    pub(crate) fn end(&mut self, stream: StreamId) {
        self.outs.get_mut(&stream).unwrap().end();
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        let mut frames = Vec::new();
        for outbox in self.outs.values_mut() {
            while let Some(frame) = outbox.next_frame(self.epoch, Way::Along) {
                frames.extend_from_slice(frame);
            }
        }
        self.raw(&frames);
    }

    /// Handles what comes until `condition` holds.
    pub(crate) fn until(&mut self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            self.turn();
        }
    }

    /// Waits for bytes and handles the frames in them.
    pub(crate) fn turn(&mut self) {
        let mut buffer = [0; 64 << 10];
        let count = self.stream.read(&mut buffer).expect("the agent says something in time");
        assert!(count > 0, "the agent hung up");
        self.take(&buffer[..count]);
    }

    /// Reads what is there and throws it away.
    pub(crate) fn drain(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64 << 10];
        while matches!(self.stream.read(&mut buffer), Ok(1..)) {}
        self.stream.set_nonblocking(false).unwrap();
    }

    /// Takes bytes from the channel and drops them, as a restore does.
    pub(crate) fn lose_bytes(&mut self, count: usize) {
        self.stream.read_exact(&mut vec![0; count]).unwrap();
    }

    /// Handles what comes until nothing does for `time`.
    pub(crate) fn turns_for(&mut self, time: Duration) {
        while self.turn_within(time) {}
    }

    /// Waits for bytes no longer than that, and handles the frames in them.
    fn turn_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 64 << 10];
        let read = self.stream.read(&mut buffer);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match read {
            Ok(0) => panic!("the agent hung up"),
            Ok(count) => self.take(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }

    fn take(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame() {
            let Ok(frame) = frame else { continue };
            if frame.epoch == self.epoch {
                self.on_body(frame.body);
            } else {
                self.stale += 1;
            }
        }
    }

    fn on_body(&mut self, body: Body) {
        match body {
            Body::Welcome(welcome) => self.welcome = Some(welcome),
            Body::Reply { id, reply } => {
                self.replies.insert(id, reply);
            }
            Body::Event(Event::Exited { command, exit }) => {
                assert_eq!(self.exits.insert(command, exit), None, "an exit is said once");
            }
            Body::Data(data) => self.on_data(&data),
            Body::Ack(ack) => {
                if let Some(outbox) = self.outs.get_mut(&ack.stream) {
                    outbox.on_ack(&ack).unwrap();
                    self.flush();
                }
            }
            Body::Reset(reset) => self.resets.push(reset.stream),
            Body::Lent(_) | Body::Returned { .. } => panic!("nobody asked it to lend"),
            Body::Hello(_) | Body::Request { .. } | Body::Filled(_) => {
                panic!("only the host says {body:?}")
            }
        }
    }

    fn on_data(&mut self, data: &Data) {
        let Some(input) = self.ins.get_mut(&data.stream) else {
            return self.send(Body::Reset(Reset { stream: data.stream }));
        };
        let fresh = input.inbox.on_data(data).unwrap();
        input.count += fresh.len() as u64;
        if input.reader != Reader::Counts {
            input.bytes.extend_from_slice(&fresh);
        }
        if input.reader != Reader::Stalls {
            input.settle();
            if let Some(ack) = input.inbox.due_ack() {
                self.send(Body::Ack(ack));
            }
        }
    }
}

impl In {
    /// All that came is handled.
    fn settle(&mut self) {
        self.inbox.handle(usize::try_from(self.count - self.inbox.handled()).unwrap());
        if self.inbox.is_ended() {
            self.inbox.handle_end();
            self.ended = true;
        }
    }
}

/// A command with nothing special about it.
pub(crate) fn command(number: u32, argv: &[&str]) -> StartCommand {
    let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
    StartCommand::plain(CommandId(number), argv)
}

pub(crate) fn shell(number: u32, script: &str) -> StartCommand {
    command(number, &["sh", "-c", script])
}
