//! How connections end: what the host said last arrives, and only that.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{origin::*, world::*};

const HOST: &str = "api.example.test";

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

#[derive(Clone, Copy, Debug)]
enum Way {
    Plain,
    Opened,
}

/// How a host ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It stays until the guest goes.
    Waits,
    /// As TLS has it.
    Said,
    /// TCP alone says it.
    Unsaid,
}

async fn head(stream: &mut (impl Stream + ?Sized)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).unwrap()
}

/// A host that answers every head so, whatever comes after it, and ends so.
async fn host(tls: Option<TlsAcceptor>, reply: &'static [u8], end: End) -> u16 {
    let (listener, port) = listen().await;
    tokio::task::spawn_local(async move {
        while let Ok((wire, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::task::spawn_local(async move {
                let mut wire = match tls {
                    None => {
                        let mut wire = wire;
                        say(&mut wire, reply, end).await;
                        wire
                    }
                    Some(tls) => {
                        let mut sealed = tls.accept(wire).await.unwrap();
                        say(&mut sealed, reply, end).await;
                        sealed.into_inner().0
                    }
                };
                if end != End::Waits {
                    wire.shutdown().await.unwrap();
                }
                // What still comes is read, so that nothing is reset.
                drop(tokio::io::copy(&mut wire, &mut tokio::io::sink()).await);
            });
        }
    });
    port
}

async fn say(stream: &mut impl Stream, reply: &[u8], end: End) {
    head(stream).await;
    stream.write_all(reply).await.unwrap();
    stream.flush().await.unwrap();
    if end == End::Said {
        stream.shutdown().await.unwrap();
    }
}

/// A guest's connection to such a host.
async fn reach(world: &World, way: Way, port: u16) -> Box<dyn Stream> {
    match way {
        Way::Plain => Box::new(world.plain(HOST, port)),
        Way::Opened => Box::new(world.tls(HOST, port, &["http/1.1"]).await.unwrap()),
    }
}

async fn world(way: Way, reply: &'static [u8], end: End) -> (World, u16) {
    let ca = TestCa::new();
    let tls = matches!(way, Way::Opened).then(|| ca.server(&[HOST], &["http/1.1"]));
    let port = host(tls, reply, end).await;
    (World::new(policy(vec![domain(HOST, port, vec![look()])]), &ca.root), port)
}

/// hyper's connection to the host is over with its 101. Were that an end, the guest would be told
/// `Connection: Upgrade, close` whenever it is seen before the reply is written: some clients take
/// that for no upgrade.
#[test]
fn an_upgrade_says_what_the_host_says() {
    const REPLY: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    run(async {
        for way in [Way::Plain, Way::Opened] {
            let (world, port) = world(way, REPLY, End::Waits).await;
            for round in 0..24 {
                let mut client = reach(&world, way, port).await;
                let request = format!(
                    "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\n\r\n"
                );
                client.write_all(request.as_bytes()).await.unwrap();
                let reply = head(&mut *client).await;
                assert_eq!(reply, String::from_utf8_lossy(REPLY), "{way:?} {round}");
            }
        }
    });
}

/// All that a guest hears to a request until its connection ends.
async fn hear(client: &mut dyn Stream, request: &[u8], body: usize) -> String {
    let (mut reading, mut writing) = tokio::io::split(client);
    let mut heard = Vec::new();
    let write = async {
        writing.write_all(request).await.unwrap();
        // As with curl, the reply counts, and not how much of the body was wanted.
        drop(writing.write_all(&vec![b'x'; body]).await);
    };
    let (ended, ()) = tokio::join!(reading.read_to_end(&mut heard), write);
    ended.unwrap();
    String::from_utf8(heard).unwrap()
}

/// A host that has heard enough says so and ends its side while the guest still sends.
#[test]
fn an_early_reply_arrives() {
    // More than is on its way at a time.
    const LENGTH: usize = 300_000;
    let reply = format!(
        "HTTP/1.1 413 Too Large\r\nContent-Length: {LENGTH}\r\nConnection: close\r\n\r\n{}\n",
        "x".repeat(LENGTH - 1)
    );
    let reply: &[u8] = reply.leak().as_bytes();
    run(async {
        for (way, end) in
            [(Way::Plain, End::Said), (Way::Opened, End::Said), (Way::Opened, End::Unsaid)]
        {
            let (world, port) = world(way, reply, end).await;
            for round in 0..8 {
                let mut client = reach(&world, way, port).await;
                let body = 3_000_000;
                let request =
                    format!("PUT /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {body}\r\n\r\n");
                let heard = hear(&mut *client, request.as_bytes(), body).await;
                let body = heard.split_once("\r\n\r\n").map(|(_, body)| body.len());
                assert_eq!(heard.get(..13), Some("HTTP/1.1 413 "), "{way:?} {end:?} {round}");
                assert_eq!(body, Some(LENGTH), "{way:?} {end:?} {round}");
            }
        }
    });
}

/// A body without a length ends with the connection, also where TLS does not say so; of another one
/// the guest sees that it was cut off, and gets what there is.
#[test]
fn a_body_ends_where_it_ends() {
    let request = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    run(async {
        for end in [End::Said, End::Unsaid] {
            for (reply, first, last) in [
                (&b"HTTP/1.0 200 OK\r\n\r\nall of it"[..], "200", "all of it\r\n0\r\n\r\n"),
                (b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\nno\n", "401", "no\n\r\n0\r\n\r\n"),
                (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "400", "\r\n0\r\n\r\n"),
                (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", "200", "\r\n\r\npart"),
                (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "200", "\r\n\r\n"),
                (
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
                    "200",
                    "\r\n\r\n4\r\npart\r\n",
                ),
            ] {
                for way in [Way::Opened, Way::Plain] {
                    let (world, port) = world(way, reply, end).await;
                    let mut client = reach(&world, way, port).await;
                    let heard = hear(&mut *client, request.as_bytes(), 0).await;
                    assert_eq!(heard.get(9..12), Some(first), "{way:?} {end:?}: {heard}");
                    assert!(heard.ends_with(last), "{way:?} {end:?}: {heard:?}");
                }
            }
        }
    });
}
