//! An agent that says what a test tells it to.

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::*;

/// The agent's end of one connection.
pub(super) struct Fake {
    pub(super) stream: UnixStream,
    decoder: Decoder,
    pub(super) epoch: Epoch,
}

/// The connections that a host makes, as they come.
pub(super) type Connections = mpsc::UnboundedReceiver<Fake>;

pub(super) fn host() -> (Agent, Connections) {
    host_beside(None)
}

/// One that can look at the machine's memory.
pub(super) fn host_beside(look: Option<Look>) -> (Agent, Connections) {
    let (sender, connections) = mpsc::unbounded_channel();
    let connect = move || {
        let sender = sender.clone();
        async move {
            let (near, far) = UnixStream::pair()?;
            let fake = Fake { stream: far, decoder: Decoder::default(), epoch: Epoch(0) };
            sender.send(fake).map_err(io::Error::other)?;
            Ok(near)
        }
    };
    (Agent::spawn_beside(look, connect), connections)
}

/// A host and the agent that it has just greeted.
pub(super) async fn greeted() -> (Agent, Fake, Connections) {
    greeted_beside(None).await
}

pub(super) async fn greeted_beside(look: Option<Look>) -> (Agent, Fake, Connections) {
    let (agent, mut connections) = host_beside(look);
    let mut fake = connections.recv().await.unwrap();
    fake.welcome().await;
    agent.ready(Instant::now() + LONG).await.unwrap();
    (agent, fake, connections)
}

impl Fake {
    /// What the host says next; `None` when it has hung up.
    pub(super) async fn hear(&mut self) -> Option<Body> {
        timeout(LONG, self.hear_frame()).await.expect("the host says nothing")
    }

    async fn hear_frame(&mut self) -> Option<Body> {
        loop {
            match self.decoder.next_frame() {
                Some(Ok(frame)) => {
                    self.epoch = frame.epoch;
                    return Some(frame.body);
                }
                Some(Err(_)) => continue,
                None => {}
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.decoder.push(&bytes[..count]);
        }
    }

    pub(super) async fn welcome(&mut self) {
        let hello = self.hear().await;
        assert!(matches!(hello, Some(Body::Hello(_))), "{hello:?}");
        self.say(Body::Welcome(Welcome { version: VERSION, phase: Phase::Live })).await;
    }

    /// The host's next request.
    pub(super) async fn request(&mut self) -> (u64, Request) {
        loop {
            if let Body::Request { id, request } = self.hear().await.unwrap() {
                return (id, request);
            }
        }
    }

    /// The stream that the host resets next.
    pub(super) async fn reset(&mut self) -> StreamId {
        loop {
            if let Body::Reset(reset) = self.hear().await.unwrap() {
                return reset.stream;
            }
        }
    }

    pub(super) async fn reply(&mut self, id: u64, response: Response) {
        self.say(Body::Reply { id, reply: Ok(response) }).await;
    }

    pub(super) async fn data(&mut self, stream: StreamId, offset: u64, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.say(Body::Data(Data { stream, offset, bytes, last: false })).await;
    }

    pub(super) async fn last(&mut self, stream: StreamId, offset: u64) {
        self.say(Body::Data(Data { stream, offset, bytes: Bytes::new(), last: true })).await;
    }

    pub(super) async fn say(&mut self, body: Body) {
        self.say_at_once(&[body]).await;
    }

    pub(super) async fn say_at_once(&mut self, bodies: &[Body]) {
        let mut out = BytesMut::new();
        for body in bodies {
            Frame { epoch: self.epoch, body: body.clone() }.encode(&mut out);
        }
        self.stream.write_all(&out).await.unwrap();
    }

    /// Answers the start of a command.
    pub(super) async fn start(&mut self) -> CommandId {
        let (id, request) = self.request().await;
        let Request::Start(start) = request else { panic!("{request:?}") };
        self.reply(id, Response::Started { pid: 1 }).await;
        start.command
    }

    pub(super) async fn exit(&mut self, command: CommandId) {
        for stream in [StreamId::stdout(command), StreamId::stderr(command)] {
            self.last(stream, 0).await;
        }
        self.exited(command).await;
    }

    pub(super) async fn exited(&mut self, command: CommandId) {
        let exit = Exit { code: 0, signal: None, cause: None, duration_ms: 1 };
        self.say(Body::Event(Event::Exited { command, exit })).await;
    }
}
