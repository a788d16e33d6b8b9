//! Connections that break, at every point where they can.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use api::CreateSandbox;
use api::attach::{output_message, read_stdin_message};
use api::client::{Client, Endpoint, Trust};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use super::*;

/// One connection's script: what the server expects and does, in order. Its end is a broken
/// connection.
#[derive(Clone, Debug)]
enum Step {
    /// The next text message is this.
    Hear(ClientMessage),
    /// The next bytes of stdin are these, in however many messages.
    HearStdin(&'static str),
    Say(ServerMessage),
    Print(Stream, &'static str),
}

/// What the scripts met that they did not expect.
type Faults = Arc<Mutex<Vec<String>>>;

async fn serve(scripts: Vec<Vec<Step>>) -> (Server, Faults) {
    let faults = Faults::default();
    let scripts = Arc::new(Mutex::new(VecDeque::from(scripts)));
    let told = Arc::clone(&faults);
    let attach = get(async move |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            let script = scripts.lock().unwrap().pop_front();
            let result = match script {
                Some(script) => play(&mut socket, script).await,
                None => Err("one connection too many".to_owned()),
            };
            if let Err(fault) = result {
                told.lock().unwrap().push(fault);
            }
        })
    });
    let version = api::Version { version: "0".to_owned(), build: 0, api: api::API };
    let router = Router::new()
        .route("/v2/sandboxes/sessions/s/attach", attach)
        .route("/v1/fumehood/version", get(async move || Json(version.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::new(Endpoint::from_url(&url, None, &Trust::System).unwrap());
    (Server::elsewhere(client), faults)
}

async fn play(socket: &mut WebSocket, script: Vec<Step>) -> Result<(), String> {
    for step in script {
        match step {
            Step::Hear(wanted) => match socket.recv().await {
                Some(Ok(Message::Text(text))) => {
                    let heard: ClientMessage = serde_json::from_str(&text).unwrap();
                    if heard != wanted {
                        return Err(format!("heard {heard:?} and not {wanted:?}"));
                    }
                }
                other => return Err(format!("heard {other:?} and not {wanted:?}")),
            },
            Step::HearStdin(wanted) => {
                let mut heard = Vec::new();
                while heard.len() < wanted.len() {
                    match socket.recv().await {
                        Some(Ok(Message::Binary(data))) => {
                            heard.extend_from_slice(&read_stdin_message(data).unwrap());
                        }
                        other => return Err(format!("heard {other:?} and not {wanted:?}")),
                    }
                }
                if heard != wanted.as_bytes() {
                    return Err(format!("heard {heard:?} and not {wanted:?}"));
                }
            }
            Step::Say(message) => {
                let text = serde_json::to_string(&message).unwrap();
                drop(socket.send(Message::Text(text.into())).await);
            }
            Step::Print(stream, text) => {
                let data = output_message(stream, text.as_bytes());
                drop(socket.send(Message::Binary(data)).await);
            }
        }
    }
    Ok(())
}

fn start() -> Start {
    Start { command: "x".to_owned(), cmd_id: Some("cmd_1".to_owned()), ..Start::default() }
}

fn start_with_stdin() -> Start {
    Start { stdin: true, ..start() }
}

fn hear_start(start: Start) -> Step {
    Step::Hear(ClientMessage::Start(Box::new(start)))
}

fn hear_follow(stdout_offset: u64, stderr_offset: u64, stdin_offset: Option<u64>) -> Step {
    let cmd_id = "cmd_1".to_owned();
    Step::Hear(ClientMessage::Follow(Follow { cmd_id, stdout_offset, stderr_offset, stdin_offset }))
}

fn started() -> Step {
    Step::Say(ServerMessage::Started {
        command: api::Command {
            id: "cmd_1".to_owned(),
            name: "x".to_owned(),
            args: Vec::new(),
            cwd: "/".to_owned(),
            session_id: "s".to_owned(),
            sandbox_id: "s".to_owned(),
            exit_code: None,
            duration_ms: None,
            started_at: 0,
        },
    })
}

fn exit(code: i32) -> Step {
    Step::Say(ServerMessage::Exit(Exit { code, signal: None, reason: None }))
}

fn refuse(code: Code) -> Step {
    let message = "no".to_owned();
    Step::Say(ServerMessage::Error(Refused { code, message, end_code: None }))
}

fn ack(offset: u64) -> Step {
    Step::Say(ServerMessage::StdinAck { offset })
}

/// How it ended, with stdout and stderr; and nothing unexpected met.
async fn attach(
    scripts: Vec<Vec<Step>>,
    stdin: Option<&[&'static str]>,
) -> (Result<i32, u8>, String, String) {
    let (server, faults) = serve(scripts).await;
    let target = Target::New(Box::new(start()));
    let mut attached = Attached::new(&server, "s", target, Output::captured());
    if let Some(pieces) = stdin {
        // Pieces in place of the process's own stdin.
        attached.target = Target::New(Box::new(start_with_stdin()));
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        attached.stdin = Some(receiver);
    }
    let mut signals = Signals::listen().unwrap();
    let ending = attached.run(&mut signals, OnSignal::Leave).await;
    assert_eq!(*faults.lock().unwrap(), Vec::<String>::new());
    let Output::Captured { stdout, stderr } = &attached.output else { panic!() };
    let text = |captured: &Captured| String::from_utf8(captured.bytes.clone()).unwrap();
    let ending = match ending {
        Ok(Ending::Exited(exit)) => Ok(exit.code),
        Ok(Ending::Left(signal)) => panic!("left by signal {signal}"),
        Err(failure) => Err(failure.exit().code()),
    };
    (ending, text(stdout), text(stderr))
}

#[tokio::test]
async fn output_goes_on_where_the_lost_connection_had_it() {
    let ended = attach(
        vec![
            vec![
                hear_start(start()),
                started(),
                Step::Print(Stream::Stdout, "out1 "),
                Step::Print(Stream::Stderr, "err"),
            ],
            vec![hear_follow(5, 3, None)],
            vec![hear_follow(5, 3, None), started(), Step::Print(Stream::Stdout, "out2"), exit(7)],
        ],
        None,
    )
    .await;
    assert_eq!(ended, (Ok(7), "out1 out2".to_owned(), "err".to_owned()));
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_does_not_start_two() {
    // It was started: the follow finds it.
    let ended = attach(
        vec![
            vec![hear_start(start())],
            vec![hear_follow(0, 0, None), started(), Step::Print(Stream::Stdout, "x"), exit(0)],
        ],
        None,
    )
    .await;
    assert_eq!(ended, (Ok(0), "x".to_owned(), String::new()));
    // It was not: it is started now.
    let ended = attach(
        vec![
            vec![hear_start(start())],
            vec![hear_follow(0, 0, None), refuse(Code::NotFound)],
            vec![hear_start(start()), started(), exit(0)],
        ],
        None,
    )
    .await;
    assert_eq!(ended.0, Ok(0));
}

#[tokio::test]
async fn a_command_that_is_gone_is_not_started_again() {
    let ended = attach(
        vec![
            vec![hear_start(start()), started()],
            vec![hear_follow(0, 0, None), refuse(Code::NotFound)],
        ],
        None,
    )
    .await;
    assert_eq!(ended.0, Err(242));
}

#[tokio::test]
async fn stdin_is_sent_again_from_what_was_acknowledged() {
    let ended = attach(
        vec![
            vec![
                hear_start(start_with_stdin()),
                started(),
                Step::HearStdin("abcdef"),
                Step::Hear(ClientMessage::StdinClose),
                ack(4),
                // Output after it, so that the client is known to have seen both.
                Step::Print(Stream::Stdout, "sync"),
            ],
            vec![
                hear_follow(4, 0, Some(4)),
                started(),
                Step::HearStdin("ef"),
                Step::Hear(ClientMessage::StdinClose),
                exit(0),
            ],
        ],
        Some(&["abc", "def"]),
    )
    .await;
    assert_eq!(ended, (Ok(0), "sync".to_owned(), String::new()));
}

#[tokio::test]
async fn a_server_that_gives_way_is_followed_to_the_next() {
    let ended = attach(
        vec![
            vec![hear_start(start()), refuse(Code::Unavailable)],
            vec![hear_follow(0, 0, None), refuse(Code::NotFound)],
            vec![hear_start(start()), started(), exit(3)],
        ],
        None,
    )
    .await;
    assert_eq!(ended.0, Ok(3));
}

#[tokio::test]
async fn refusals_become_exit_codes() {
    for (code, exit) in [
        (Code::ExecutableNotFound, 127),
        (Code::NotExecutable, 126),
        (Code::SandboxStopped, 245),
        (Code::LimitReached, 243),
        (Code::NotFound, 242),
    ] {
        let ended = attach(vec![vec![hear_start(start()), refuse(code)]], None).await;
        assert_eq!(ended.0, Err(exit), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_comes_back_is_given_up() {
    let client = Client::new(Endpoint::Unix("/nonexistent/api.sock".into()));
    let server = Server::elsewhere(client);
    let target = Target::New(Box::new(start()));
    let mut attached = Attached::new(&server, "s", target, Output::captured());
    let mut signals = Signals::listen().unwrap();
    let began = Instant::now();
    let failure = attached.run(&mut signals, OnSignal::Leave).await.unwrap_err();
    assert_eq!(failure.exit().code(), 244);
    assert!(began.elapsed() >= ABSENCE_MAX && began.elapsed() < ABSENCE_MAX * 2);
    // A request is what every other command would have failed with.
    let made = server.client().create(&CreateSandbox::default()).await;
    assert!(matches!(made, Err(ClientError::Unreachable { .. })));
}
