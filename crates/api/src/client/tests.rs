//! The client against small servers that speak raw bytes.

use std::path::PathBuf;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::attach::{ClientMessage, Follow, ServerMessage, output_message, read_stdin_message};
use crate::command::LogLine;
use crate::secrets::{PutSecret, SecretValue};

/// A server in a folder of its own; `serve` gets its one connection, past the request's head.
struct World {
    client: Client,
    _folder: tempfile::TempDir,
}

impl World {
    fn listen() -> (Self, UnixListener) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        (Self { client: Client::new(Endpoint::Unix(path)), _folder: folder }, listener)
    }

    /// Answers one request with these bytes and gives its head.
    fn answering(reply: &'static str) -> (Self, tokio::task::JoinHandle<String>) {
        let (world, listener) = Self::listen();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_head(&mut stream).await;
            stream.write_all(reply.as_bytes()).await.unwrap();
            head
        });
        (world, served)
    }
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_call_says_who_asks_and_gives_what_is_answered() {
    let (world, served) = World::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 39\r\n\r\n{\"version\":\"1.2.3\",\"build\":1,\"api\":1,\"x\":0}",
    );
    // The length above leaves the end off, which must not pass for an answer.
    assert!(matches!(world.client.version().await, Err(ClientError::Nonsense { .. })));
    assert!(served.await.unwrap().starts_with("GET /v1/fumehood/version HTTP/1.1\r\n"));

    let (world, _served) = World::answering(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"version\":\"1.2.3\",\"build\":1,\"api\":1,\"x\":0}",
    );
    assert_eq!(world.client.version().await.unwrap().version, "1.2.3");
}

#[tokio::test]
async fn a_name_cannot_become_another_route() {
    let (world, served) = World::answering("HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n");
    let _refused = world.client.delete("../a/b?c").await.unwrap_err();
    assert!(served.await.unwrap().starts_with(
        "DELETE /v2/sandboxes/%2E%2E%2Fa%2Fb%3Fc?deleteOrphanSnapshots=automatic HTTP/1.1\r\n"
    ));
}

#[tokio::test]
async fn refusals_carry_code_and_message() {
    for (reply, code, message) in [
        (
            "HTTP/1.1 429 x\r\nconnection: close\r\n\r\n{\"error\":{\"code\":\"limit_reached\",\"message\":\"full\"}}",
            Code::LimitReached,
            "full",
        ),
        (
            "HTTP/1.1 410 x\r\nconnection: close\r\n\r\n{\"error\":{\"code\":\"newer_word\",\"message\":\"gone\"}}",
            Code::SandboxStopped,
            "gone",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<html>",
            Code::NotFound,
            "the server answered 404 Not Found",
        ),
    ] {
        let (world, _served) = World::answering(reply);
        let fault = world.client.session("sbx_1").await.unwrap_err();
        assert_eq!((fault.code(), fault.to_string().as_str()), (Some(code), message));
    }
}

#[tokio::test]
async fn a_lost_connection_is_not_a_refusal() {
    let (world, _served) = World::answering("");
    assert!(matches!(world.client.version().await, Err(ClientError::Broken { .. })));
}

#[tokio::test]
async fn nobody_there_is_its_own_fault() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new(Endpoint::Unix(folder.path().join("none")));
    assert!(matches!(client.version().await, Err(ClientError::Unreachable { .. })));
}

#[tokio::test]
async fn a_socket_may_lie_as_deep_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let deep: PathBuf = folder.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    // Bound under a short name, since the kernel takes no other; then moved.
    let short = folder.path().join("s");
    let listener = UnixListener::bind(&short).unwrap();
    std::fs::rename(&short, deep.join("api.sock")).unwrap();
    let client = Client::new(Endpoint::Unix(deep.join("api.sock")));
    let call = tokio::spawn(async move { client.handover().await });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn lines_come_one_by_one_however_they_are_cut() {
    let (world, listener) = World::listen();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
        let body =
            "{\"stream\":\"stdout\",\"data\":\"ü\\n\"}\n\n{\"stream\":\"stderr\",\"data\":\"x\"}";
        for byte in body.as_bytes() {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut lines = world.client.logs("s", "c", FollowMode::ToTheEnd).await.unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(LogLine::Stdout("ü\n".into())));
    assert_eq!(lines.next().await.unwrap(), Some(LogLine::Stderr("x".into())));
    assert_eq!(lines.next::<LogLine>().await.unwrap(), None);
}

#[tokio::test]
async fn a_secret_goes_in_and_only_its_name_comes_out() {
    let reply = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let (world, listener) = World::listen();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        let mut body = vec![0; br#"{"value":"hunter2"}"#.len()];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(reply.as_bytes()).await.unwrap();
        (head, body)
    });
    let put = PutSecret { value: SecretValue::new("hunter2".to_owned()) };
    world.client.put_secret("API_KEY", &put).await.unwrap();
    let (head, body) = served.await.unwrap();
    assert!(head.starts_with("PUT /v1/fumehood/secrets/API_KEY HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("hunter2"), "{head}");
    assert_eq!(body, br#"{"value":"hunter2"}"#);

    let (world, served) = World::answering(reply);
    world.client.delete_secret("../images").await.unwrap();
    let head = served.await.unwrap();
    assert!(head.starts_with("DELETE /v1/fumehood/secrets/%2E%2E%2Fimages HTTP/1.1\r\n"), "{head}");

    let (world, _served) = World::answering(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"secrets\":[{\"name\":\"K\",\"createdAt\":1,\"updatedAt\":2}]}",
    );
    assert_eq!(world.client.secrets().await.unwrap().secrets[0].name, "K");
}

#[tokio::test]
async fn decisions_come_line_by_line() {
    let (world, served) =
        World::answering("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"seq\":1}\n{\"seq\":2}\n");
    let mut lines = world.client.audit("sbx_1", FollowMode::ToTheEnd).await.unwrap();
    let mut seqs = Vec::new();
    while let Some(event) = lines.next::<serde_json::Value>().await.unwrap() {
        seqs.push(event["seq"].as_u64().unwrap());
    }
    assert_eq!(seqs, [1, 2]);
    let head = served.await.unwrap();
    assert!(head.starts_with("GET /v2/sandboxes/sessions/sbx_1/audit?follow=true "), "{head}");
}

#[tokio::test]
async fn an_upload_that_is_refused_half_way_says_why() {
    let (world, listener) = World::listen();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let body = "{\"error\":{\"code\":\"disk_full\",\"message\":\"no room\"}}";
        let head = format!("HTTP/1.1 507 x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).await.unwrap();
        // The rest is read and thrown away, as servers do before they close.
        let mut sink = vec![0; 1 << 16];
        while stream.read(&mut sink).await.unwrap_or(0) > 0 {}
    });
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 4096])));
    let how = Unpack { folder: "/", packing: Packing::Tar, owner: Owner::Kept };
    let fault = world.client.unpack("s", how, endless).await.unwrap_err();
    assert_eq!(fault.code(), Some(Code::DiskFull));
}

#[tokio::test]
async fn a_download_that_is_cut_off_is_no_end() {
    let (world, _served) =
        World::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let download = world.client.pack("s", "/a b").await.unwrap();
    let mut pieces = pin!(download.into_stream());
    assert_eq!(pieces.next().await.unwrap().unwrap(), "abc");
    assert!(pieces.try_next().await.is_err());
}

#[tokio::test]
async fn an_attach_channel_carries_both_ways() {
    let (world, listener) = World::listen();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let first = socket.next().await.unwrap().unwrap();
        let stdin = socket.next().await.unwrap().unwrap();
        socket.send(Message::Binary(output_message(crate::Stream::Stderr, b"e"))).await.unwrap();
        socket.send(Message::Text("{\"type\":\"exit\",\"code\":7}".into())).await.unwrap();
        socket.close(None).await.unwrap();
        (first, stdin)
    });
    let follow = ClientMessage::Follow(Follow {
        cmd_id: "cmd_1".into(),
        stdout_offset: 0,
        stderr_offset: 0,
        stdin_offset: Some(5),
    });
    let (mut sender, mut receiver) = world.client.attach("sbx_1", &follow).await.unwrap();
    sender.send_stdin(b"\x00in").await.unwrap();
    let Some(Received::Output(crate::Stream::Stderr, data)) = receiver.next().await.unwrap() else {
        panic!("the output comes first")
    };
    assert_eq!(data, "e");
    let Some(Received::Message(ServerMessage::Exit(exit))) = receiver.next().await.unwrap() else {
        panic!("then the end")
    };
    assert_eq!(exit.code, 7);
    assert!(receiver.next().await.unwrap().is_none());
    let (first, stdin) = served.await.unwrap();
    assert_eq!(serde_json::from_str::<ClientMessage>(first.to_text().unwrap()).unwrap(), follow);
    assert_eq!(read_stdin_message(stdin.into_data()).unwrap(), b"\x00in".as_slice());
}

#[tokio::test]
async fn an_attach_that_is_refused_says_why() {
    let (world, _served) = World::answering(
        "HTTP/1.1 410 x\r\nconnection: close\r\n\r\n{\"error\":{\"code\":\"sandbox_stopped\",\"message\":\"timed out\"}}",
    );
    let fault = world.client.attach("s", &ClientMessage::StdinClose).await.unwrap_err();
    assert_eq!(fault.code(), Some(Code::SandboxStopped));
}

#[test]
fn urls_of_servers() {
    for (url, shown) in [
        ("http://127.0.0.1:7000", Some("http://127.0.0.1:7000")),
        ("http://box/api/", Some("http://box:80/api")),
        ("http://[::1]:9", Some("http://[::1]:9")),
        ("ftp://box", None),
        ("box:7000", None),
        ("/run/x.sock", None),
        ("http://", None),
    ] {
        let endpoint = Endpoint::from_url(url, None, &Trust::default())
            .ok()
            .map(|endpoint| endpoint.to_string());
        assert_eq!(endpoint.as_deref(), shown, "{url}");
    }
}

#[test]
fn a_token_is_never_shown() {
    let token = Token::new(" s3cret\n").unwrap();
    let endpoint = Endpoint::from_url("http://a:1", Some(token), &Trust::default()).unwrap();
    assert_eq!(endpoint.authorization().as_deref(), Some("Bearer s3cret"));
    assert!(!format!("{endpoint:?} {endpoint}").contains("s3cret"));
    assert!(Token::new("").is_err() && Token::new("a\nb").is_err());
}
