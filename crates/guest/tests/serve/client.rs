//! A host end that is as small as it can be: blocking, one thread, everything in maps.

use std::{
    collections::{BTreeMap, HashMap},
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::BytesMut;
use protocol::*;

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that runs until it is dropped.
pub struct Guest {
    pub folder: tempfile::TempDir,
    child: Child,
}

impl Guest {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_guest"));
        child.arg("--serve").arg(folder.path().join("socket")).stdin(Stdio::null());
        Self { child: child.spawn().unwrap(), folder }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> UnixStream {
        let socket = self.folder.path().join("socket");
        let mut tries = 0;
        loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => return stream,
                Err(error) => assert!(tries < 2000, "{error}"),
            }
            tries += 1;
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// A client that has claimed the machine.
    pub fn client(&self) -> Client {
        let mut client = Client::new(self.connect(), 1);
        client.hello(1);
        let claim = Request::Claim(self.claim());
        assert_eq!(client.ask(claim), Ok(Response::Done));
        client
    }

    pub fn claim(&self) -> Claim {
        Claim {
            hostname: "test".into(),
            machine_id: [7; 16],
            entropy: Entropy([1; 32]),
            unix_nanos: 0,
            user: "root".into(),
            cwd: self.path("").to_str().unwrap().to_owned(),
            env: vec![("CLAIMED".into(), "yes".into())],
        }
    }

    /// A path in the folder where commands run.
    pub fn path(&self, name: &str) -> PathBuf {
        let home = self.folder.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        home.join(name)
    }

    /// Resident memory now and at its peak, in KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A stream that comes in.
pub struct In {
    inbox: Inbox,
    pub bytes: Vec<u8>,
    /// How many bytes came, whether kept or not.
    pub count: u64,
    pub ended: bool,
    pub stalled: bool,
    pub keep: bool,
}

pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    pub epoch: Epoch,
    pub instance: u64,
    next_id: u64,
    pub welcome: Option<Welcome>,
    pub replies: HashMap<u64, Result<Response, Refusal>>,
    pub exits: HashMap<CommandId, Exit>,
    pub ins: BTreeMap<StreamId, In>,
    pub outs: BTreeMap<StreamId, Outbox>,
    pub resets: Vec<StreamId>,
    /// Frames of another epoch.
    pub stale: usize,
}

impl Client {
    pub fn new(stream: UnixStream, instance: u64) -> Self {
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
    pub fn reconnect(&mut self, stream: UnixStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream = stream;
        self.decoder.clear();
    }

    /// Begins an epoch and says where every stream stands.
    pub fn hello(&mut self, epoch: u32) -> Welcome {
        self.epoch = Epoch(epoch);
        self.welcome = None;
        self.outs.values_mut().for_each(Outbox::on_epoch);
        self.send(Body::Hello(Hello { version: VERSION, instance: self.instance }));
        self.until(|client| client.welcome.is_some());
        let acks: Vec<Ack> = self.ins.values_mut().map(|input| input.inbox.ack()).collect();
        acks.into_iter().for_each(|ack| self.send(Body::Ack(ack)));
        self.welcome.clone().unwrap()
    }

    pub fn send(&mut self, body: Body) {
        let mut out = BytesMut::new();
        Frame { epoch: self.epoch, body }.encode(&mut out);
        self.raw(&out);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn request(&mut self, request: Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(Body::Request { id, request });
        id
    }

    pub fn ask(&mut self, request: Request) -> Result<Response, Refusal> {
        let id = self.request(request);
        self.until(|client| client.replies.contains_key(&id));
        self.replies.remove(&id).unwrap()
    }

    /// Expects a stream.
    pub fn expect(&mut self, stream: StreamId) {
        let input = In {
            inbox: Inbox::new(stream),
            bytes: Vec::new(),
            count: 0,
            ended: false,
            stalled: false,
            keep: true,
        };
        self.ins.insert(stream, input);
    }

    /// Starts a command and expects its output.
    pub fn start(&mut self, start: StartCommand) -> Result<Response, Refusal> {
        self.expect(StreamId::stdout(start.command));
        self.expect(StreamId::stderr(start.command));
        if start.stdin == Stdin::Stream {
            let stdin = StreamId::stdin(start.command);
            self.outs.insert(stdin, Outbox::new(stdin));
        }
        self.ask(Request::Start(start))
    }

    /// Runs a command to its end.
    pub fn run(&mut self, start: StartCommand) -> (Exit, String, String) {
        let id = start.command;
        let started = self.start(start);
        assert!(matches!(started, Ok(Response::Started { pid: 1.. })), "{started:?}");
        self.finish(id)
    }

    pub fn finish(&mut self, id: CommandId) -> (Exit, String, String) {
        self.until(|client| client.exits.contains_key(&id) && client.has_ended(id));
        (self.exits[&id], self.text(StreamId::stdout(id)), self.text(StreamId::stderr(id)))
    }

    pub fn has_ended(&self, id: CommandId) -> bool {
        [StreamId::stdout(id), StreamId::stderr(id)].iter().all(|stream| self.ins[stream].ended)
    }

    pub fn text(&self, stream: StreamId) -> String {
        String::from_utf8_lossy(&self.ins[&stream].bytes).into_owned()
    }

    /// Reads no more of a stream until told otherwise.
    pub fn stall(&mut self, stream: StreamId) {
        self.ins.get_mut(&stream).unwrap().stalled = true;
    }

    pub fn unstall(&mut self, stream: StreamId) {
        let input = self.ins.get_mut(&stream).unwrap();
        input.stalled = false;
        input.settle();
        let ack = input.inbox.ack();
        self.send(Body::Ack(ack));
    }

    /// Sends all of `bytes`, as the receiver takes them.
    pub fn feed(&mut self, stream: StreamId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.until(|client| client.outs[&stream].room() > 0);
            let outbox = self.outs.get_mut(&stream).unwrap();
            let (now, rest) = bytes.split_at(bytes.len().min(outbox.room()));
            outbox.push(now);
            bytes = rest;
            self.flush();
        }
    }

    pub fn end(&mut self, stream: StreamId) {
        self.outs.get_mut(&stream).unwrap().end();
        self.flush();
    }

    fn flush(&mut self) {
        let mut frames = Vec::new();
        for outbox in self.outs.values_mut() {
            frames.extend(std::iter::from_fn(|| outbox.next_data()));
        }
        frames.into_iter().for_each(|data| self.send(Body::Data(data)));
    }

    /// Handles what comes until `condition` holds.
    pub fn until(&mut self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            self.turn();
        }
    }

    /// Waits for bytes and handles the frames in them.
    pub fn turn(&mut self) {
        let mut buffer = [0; 64 << 10];
        let count = self.stream.read(&mut buffer).expect("the agent says something in time");
        assert!(count > 0, "the agent hung up");
        self.take(&buffer[..count]);
    }

    /// Handles what comes within `time`.
    pub fn turns_for(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
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
            Body::Hello(_) | Body::Request { .. } => panic!("only the host says {body:?}"),
        }
    }

    fn on_data(&mut self, data: &Data) {
        let Some(input) = self.ins.get_mut(&data.stream) else {
            return self.send(Body::Reset(Reset { stream: data.stream }));
        };
        let fresh = input.inbox.on_data(data).unwrap();
        input.count += fresh.len() as u64;
        if input.keep {
            input.bytes.extend_from_slice(&fresh);
        }
        if !input.stalled {
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
pub fn command(number: u32, argv: &[&str]) -> StartCommand {
    StartCommand {
        command: CommandId(number),
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: Vec::new(),
        cwd: None,
        user: User::Default,
        stdin: Stdin::Null,
        io: Io::Pipes,
        timeout_ms: None,
    }
}

pub fn shell(number: u32, script: &str) -> StartCommand {
    command(number, &["sh", "-c", script])
}
