use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use protocol::{Decoder, Epoch, StreamId};

use super::*;

/// An agent behind one end of a pair, to which the other says hello.
fn greeted(root: &std::path::Path) -> (Agent, UnixStream) {
    let (ours, mut host) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let place = Place::Process { root: root.to_owned() };
    let agent = Agent::new(Link::port(ours.into()), place).unwrap();
    let hello = Body::Hello(Hello { version: VERSION, instance: 7 });
    let mut bytes = bytes::BytesMut::new();
    Frame { epoch: Epoch(5), body: hello }.encode(&mut bytes);
    host.write_all(&bytes).unwrap();
    (agent, host)
}

/// All that the agent said before it ended.
fn said(agent: Agent, mut host: UnixStream) -> Vec<Body> {
    drop(agent);
    let mut said = Vec::new();
    host.read_to_end(&mut said).unwrap();
    let mut decoder = Decoder::default();
    decoder.push(&said);
    std::iter::from_fn(|| decoder.next_frame()).map(|frame| frame.unwrap().body).collect()
}

/// A port has nothing more to read, and says so, while its kernel has not heard of the host.
#[test]
fn a_hello_is_answered_that_comes_before_its_host_does() {
    let root = tempfile::tempdir().unwrap();
    let (mut agent, host) = greeted(root.path());
    host.shutdown(Shutdown::Write).unwrap();
    agent.turn().unwrap();
    assert!(matches!(said(agent, host)[..], [Body::Welcome(_)]));
}

#[test]
fn nothing_is_said_to_a_host_that_has_hung_up() {
    let root = tempfile::tempdir().unwrap();
    let (mut agent, host) = greeted(root.path());
    agent.turn().unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    agent.turn().unwrap();
    agent.outgoing.say(Body::Reset(Reset { stream: StreamId(3) }));
    agent.link.write(&mut agent.outgoing);
    assert!(matches!(said(agent, host)[..], [Body::Welcome(_)]));
}
