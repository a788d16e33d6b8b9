//! Whatever the channel brings, the agent goes on, with bounded memory.

use protocol::*;

use crate::{
    client::{Client, shell},
    guest::Guest,
};

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.below(40)).unwrap()
    }

    fn offset(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(100),
            2 => self.below(WINDOW * 2),
            _ => u64::MAX - self.below(100),
        }
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let count = self.below(most);
        (0..count).map(|_| u8::try_from(self.next() & 0xff).unwrap()).collect()
    }

    fn path(&mut self) -> String {
        match self.below(6) {
            0 => String::new(),
            1 => "x".repeat(500_000),
            2 => "../../..".into(),
            3 => "\0".into(),
            4 => "/proc/self/mem".into(),
            _ => format!("f{}", self.small()),
        }
    }

    fn request(&mut self) -> Request {
        let command = CommandId(self.small());
        let stream = StreamId(self.small());
        let path = self.path();
        match self.below(13) {
            0 => Request::Start(StartCommand {
                stdin: if self.below(2) == 0 { Stdin::Null } else { Stdin::Stream },
                cwd: (self.below(4) == 0).then(|| self.path()),
                timeout_ms: Some(self.below(2000)),
                ..shell(command.0, "head -c 100000 /dev/zero; cat")
            }),
            1 => Request::Signal { command, signal: u8::try_from(self.below(256)).unwrap() },
            2 => Request::Resize { command, rows: 0, cols: 65535 },
            3 => Request::Forget { command },
            4 => Request::Read { stream, path },
            5 => Request::ReadTar { stream, path },
            6 => Request::WriteTar { stream, base: path, owner: Owner::Keep },
            7 => Request::Mkdir { path, parents: Parents::Create },
            8 => Request::Stat { path },
            9 => Request::List { path, after: None, limit: u16::MAX },
            10 => Request::Commands,
            11 => Request::SetClock { unix_nanos: self.next() },
            _ => Request::Start(StartCommand {
                argv: vec![self.path()],
                user: User::Named(self.path()),
                ..shell(command.0, "")
            }),
        }
    }

    fn body(&mut self) -> Body {
        let stream = StreamId(self.small());
        let (offset, last) = (self.offset(), self.below(3) == 0);
        match self.below(8) {
            0 | 1 => Body::Data(Data { stream, offset, bytes: self.bytes(40_000).into(), last }),
            2 => Body::Ack(Ack { stream, offset, limit: self.offset(), last }),
            3 if self.below(4) == 0 => Body::Reset(Reset { stream }),
            _ => Body::Request { id: self.next(), request: self.request() },
        }
    }
}

/// Answers may be anything; they are read and thrown away.
fn settle(guest: &Guest) -> Client {
    let mut client = Client::new(guest.connect(), 99);
    client.hello(u32::MAX);
    assert_eq!(client.ask(Request::Ping), Ok(Response::Done));
    client
}

#[test]
fn messages_without_sense_do_no_harm() {
    let guest = Guest::start();
    drop(guest.client());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..20 {
        let mut client = Client::new(guest.connect(), round / 3);
        client.hello(u32::try_from(round).unwrap() + 2);
        for _ in 0..150 {
            let body = numbers.body();
            client.send(body);
            client.drain();
        }
        client.raw(&numbers.bytes(10_000));
    }
    let mut client = settle(&guest);
    assert_eq!(client.run(shell(1_000_000, "echo fine")).1, "fine\n");
    assert!(guest.memory_kib().1 < 64 << 10, "{:?}", guest.memory_kib());
}

#[test]
fn bytes_without_sense_do_no_harm() {
    let guest = Guest::start();
    drop(guest.client());
    let mut numbers = Numbers(1);
    let mut client = Client::new(guest.connect(), 1);
    client.hello(2);
    let mut frame = bytes::BytesMut::new();
    for _ in 0..300 {
        frame.clear();
        let body = numbers.body();
        Frame { epoch: Epoch(2), body }.encode(&mut frame);
        // Damaged in a place, or cut.
        let at = usize::try_from(numbers.below(frame.len() as u64)).unwrap();
        if numbers.below(2) == 0 {
            frame[at] ^= 1 << numbers.below(8);
        } else {
            frame.truncate(at);
        }
        client.raw(&frame);
        client.drain();
    }
    settle(&guest);
    assert!(guest.memory_kib().1 < 64 << 10, "{:?}", guest.memory_kib());
}
