//! Connections to ports, to servers of the test's own: the agent is a process beside it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use protocol::*;

use crate::{client::Client, guest::Guest};

fn connect(client: &mut Client, number: u32, port: u16) -> Result<Response, Refusal> {
    let stream = StreamId::transfer(number);
    client.expect(stream.back());
    client.outs.insert(stream, Outbox::new(stream));
    client.ask(Request::Connect { stream, port })
}

fn server(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn accepted(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

#[test]
fn bytes_go_both_ways_and_each_end_is_told_of_the_others_end() {
    let guest = Guest::start();
    let mut client = guest.client();
    for (number, address) in [(1, "127.0.0.1"), (2, "::1")] {
        let (listener, port) = server(address);
        let stream = StreamId::transfer(number);
        assert_eq!(connect(&mut client, number, port), Ok(Response::Connected));
        let mut served = accepted(&listener);
        client.feed(stream, b"hello");
        client.end(stream);
        let mut heard = String::new();
        served.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
        // Its own direction is open still.
        served.write_all(b"and bye").unwrap();
        drop(served);
        client.until(|client| client.ins[&stream.back()].ended && client.outs[&stream].is_done());
        assert_eq!(client.text(stream.back()), "and bye");
        assert_eq!(client.resets, []);
    }
}

#[test]
fn a_port_where_nothing_listens_is_told() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (listener, port) = server("127.0.0.1");
    drop(listener);
    let refusal = connect(&mut client, 1, port).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NotListening, "{refusal}");
    let refusal = client.ask(Request::Connect { stream: StreamId(4), port }).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Invalid, "{refusal}");
}

#[test]
fn who_does_not_read_is_not_sent_more_and_holds_nobody_up() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (listener, port) = server("127.0.0.1");
    let (slow, fast) = (StreamId::transfer(1), StreamId::transfer(2));
    connect(&mut client, 1, port).unwrap();
    client.stall(slow.back());
    let mut flood = accepted(&listener);
    let flooding = std::thread::spawn(move || flood.write_all(&vec![7; 32 << 20]));
    client.until(|client| client.ins[&slow.back()].count == WINDOW);
    connect(&mut client, 2, port).unwrap();
    let mut echo = accepted(&listener);
    client.count_only(fast.back());
    let echoing = std::thread::spawn(move || {
        let (mut taken, mut buffer) = (0, vec![0; 64 << 10]);
        while taken < 8 << 20 {
            let count = echo.read(&mut buffer).unwrap();
            echo.write_all(&buffer[..count]).unwrap();
            taken += count;
        }
    });
    client.feed(fast, &vec![1; 8 << 20]);
    client.until(|client| client.ins[&fast.back()].count == 8 << 20);
    echoing.join().unwrap();
    assert_eq!(client.ins[&slow.back()].count, WINDOW);
    client.unstall(slow.back());
    client.until(|client| client.ins[&slow.back()].count == 32 << 20);
    flooding.join().unwrap().unwrap();
}

#[test]
fn what_is_broken_off_is_not_taken_for_ended() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (listener, port) = server("127.0.0.1");
    // By the host.
    let stream = StreamId::transfer(1);
    connect(&mut client, 1, port).unwrap();
    let mut served = accepted(&listener);
    client.feed(stream, b"half of it");
    served.read_exact(&mut [0; 10]).unwrap();
    client.send(Body::Reset(Reset { stream }));
    assert!(served.read(&mut [0; 1]).is_err());
    // By the server, which has not read what was sent to it.
    let stream = StreamId::transfer(2);
    connect(&mut client, 2, port).unwrap();
    let served = accepted(&listener);
    client.feed(stream, b"unread");
    served.peek(&mut [0; 1]).unwrap();
    drop(served);
    client.until(|client| client.resets.contains(&stream.back()));
    // By the server, for one direction.
    let stream = StreamId::transfer(3);
    connect(&mut client, 3, port).unwrap();
    accepted(&listener).shutdown(Shutdown::Write).unwrap();
    client.until(|client| client.ins[&stream.back()].ended);
}

#[test]
fn a_connection_outlives_a_lost_channel_and_not_another_host() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (listener, port) = server("127.0.0.1");
    let stream = StreamId::transfer(1);
    connect(&mut client, 1, port).unwrap();
    let mut served = accepted(&listener);
    client.reconnect(guest.connect());
    client.hello(2);
    client.feed(stream, b"ping");
    served.read_exact(&mut [0; 4]).unwrap();
    served.write_all(b"pong").unwrap();
    client.until(|client| client.ins[&stream.back()].count == 4);
    let mut other = Client::new(guest.connect(), 2);
    other.hello(3);
    assert!(matches!(served.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn there_are_so_many_and_no_more() {
    let guest = Guest::start();
    let mut client = guest.client();
    let (listener, port) = server("127.0.0.1");
    let mut served = Vec::new();
    let refusal = (1..).find_map(|number| {
        let refusal = connect(&mut client, number, port).err();
        if refusal.is_none() {
            served.push(accepted(&listener));
        }
        refusal
    });
    assert_eq!(refusal.unwrap().code, RefusalCode::TooManyConnections);
    assert_eq!(served.len(), 256);
    // Whose two directions are through makes room.
    let stream = StreamId::transfer(1);
    drop(served.remove(0));
    client.end(stream);
    client.until(|client| client.ins[&stream.back()].ended);
    connect(&mut client, 1000, port).unwrap();
}
