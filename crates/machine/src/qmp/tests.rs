//! The client against a QEMU that is played by the test.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

struct Played {
    stream: BufReader<UnixStream>,
}

impl Played {
    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.stream.read_line(&mut line).await.unwrap() > 0, "the client hung up");
        serde_json::from_str(&line).unwrap()
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Hears a request and answers it.
    async fn answer(&mut self, value: Value) -> Value {
        let request = self.hear().await;
        self.say(&format!("{}\n", json!({ "return": value, "id": request["id"] }))).await;
        request
    }
}

async fn connected() -> (Qmp, Played, mpsc::Receiver<RawEvent>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (events, received) = mpsc::channel(4);
    let mut played = Played { stream: BufReader::new(theirs) };
    played.say("{\"QMP\": {\"version\": {}}}\n").await;
    let (qmp, request) = tokio::join!(Qmp::over(ours, events), played.answer(json!({})));
    assert_eq!(request["execute"], "qmp_capabilities");
    (qmp.unwrap(), played, received)
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let (qmp, mut played, _events) = connected().await;
    let play = async {
        let (one, two) = (played.hear().await, played.hear().await);
        for request in [two, one] {
            let reply = json!({ "return": { "was": request["execute"] }, "id": request["id"] });
            played.say(&format!("{reply}\r\n")).await;
        }
    };
    let (one, two, ()) = tokio::join!(qmp.ask("stop", json!({})), qmp.ask("cont", json!({})), play);
    assert_eq!((one.unwrap(), two.unwrap()), (json!({"was": "stop"}), json!({"was": "cont"})));
}

#[tokio::test]
async fn a_card_is_waited_for_until_its_socket_listens() {
    let (qmp, mut played, _events) = connected().await;
    let play = async {
        for state in ["initializing", "initializing", "listening"] {
            let text =
                format!("card: index=0,type=nic\r\n \\ net: index=0,type=stream,{state}\r\n");
            let asked = played.answer(json!(text)).await;
            assert_eq!(asked["arguments"]["command-line"], "info network");
        }
    };
    let (listens, ()) = tokio::join!(qmp.card_listens(), play);
    listens.unwrap();
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let (qmp, mut played, _events) = connected().await;
    let play = async {
        let request = played.hear().await;
        let error =
            json!({ "error": { "class": "GenericError", "desc": "no" }, "id": request["id"] });
        played.say(&format!("{error}\n")).await;
    };
    let (answer, ()) = tokio::join!(qmp.ask("stop", json!({})), play);
    let Err(ControlError::Refused { command, why }) = answer else { panic!("{answer:?}") };
    assert_eq!((command.as_str(), why.as_str()), ("stop", "no"));
}

#[tokio::test]
async fn events_come_in_order_and_unknown_messages_are_passed_over() {
    let (qmp, mut played, mut events) = connected().await;
    played
        .say("{\"event\":\"STOP\"}\n{\"news\":1}\n{\"return\":{},\"id\":99}\n{\"event\":\"X\",\"data\":{\"a\":1}}\n")
        .await;
    assert_eq!(events.recv().await.unwrap().name, "STOP");
    let second = events.recv().await.unwrap();
    assert_eq!((second.name.as_str(), &second.data["a"]), ("X", &json!(1)));
    let (answer, _) = tokio::join!(qmp.ask("cont", json!({})), played.answer(json!({})));
    answer.unwrap();
}

#[tokio::test]
async fn events_nobody_reads_do_not_stop_replies() {
    let (qmp, mut played, _events) = connected().await;
    for _ in 0..100 {
        played.say("{\"event\":\"STOP\"}\n").await;
    }
    let (answer, _) = tokio::join!(qmp.ask("cont", json!({})), played.answer(json!({})));
    answer.unwrap();
}

#[tokio::test]
async fn garbage_ends_the_client_and_all_who_wait() {
    for garbage in ["nonsense\n", "{\"return\":\n", "\u{0}\u{1}\n"] {
        let (qmp, mut played, _events) = connected().await;
        let play = async {
            played.hear().await;
            played.say(garbage).await;
        };
        let (answer, ()) = tokio::join!(qmp.ask("stop", json!({})), play);
        assert!(matches!(answer, Err(ControlError::Gone)), "{garbage:?}: {answer:?}");
        let later = qmp.ask("stop", json!({})).await;
        assert!(matches!(later, Err(ControlError::Gone)), "{later:?}");
    }
}

#[tokio::test]
async fn a_line_without_end_is_not_kept() {
    let (qmp, mut played, _events) = connected().await;
    let endless = vec![b' '; lines::LINE_BYTES_MAX + 64 * 1024];
    // The client hangs up before it is through.
    drop(played.stream.write_all(&endless).await);
    let later = qmp.ask("stop", json!({})).await;
    assert!(matches!(later, Err(ControlError::Gone)), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
    let (qmp, _played, _events) = connected().await;
    let answer = qmp.ask("stop", json!({})).await;
    assert!(matches!(answer, Err(ControlError::Timeout { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_descriptor_goes_with_its_request() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (events, _received) = mpsc::channel(4);
    let mut played = Played { stream: BufReader::new(theirs) };
    played.say("{\"QMP\": {}}\n").await;
    let (qmp, _) = tokio::join!(Qmp::over(ours, events), played.answer(json!({})));
    let qmp = qmp.unwrap();
    let file = tempfile::tempfile().unwrap();
    let inode = rustix::fs::fstat(&file).unwrap().st_ino;
    let asked = tokio::spawn(async move {
        qmp.ask_with("add-fd", json!({ "fdset-id": 1 }), Some(file.into())).await
    });
    let stream = played.stream.get_ref();
    stream.readable().await.unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let received =
        rustix::net::recvmsg(stream, &mut parts, &mut control, RecvFlags::empty()).unwrap();
    let files: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files.collect::<Vec<_>>()),
            RecvAncillaryMessage::ScmCredentials(_) | _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].as_raw_fd() >= 0);
    assert_eq!(rustix::fs::fstat(&files[0]).unwrap().st_ino, inode);
    let request: Value = serde_json::from_slice(&bytes[..received.bytes]).unwrap();
    let reply = json!({ "return": { "fdset-id": 1 }, "id": request["id"] });
    played.say(&format!("{reply}\n")).await;
    assert_eq!(asked.await.unwrap().unwrap()["fdset-id"], 1);
}
