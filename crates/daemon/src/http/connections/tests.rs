use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::Instant,
};

use super::*;

struct World {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl World {
    fn new(most: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let slow = get(async || {
            sleep(Duration::from_secs(1000)).await;
            "slow"
        });
        let router = Router::new().route("/", get(async || "hello")).route("/slow", slow);
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(Door::Unix(listener), router, most, stop.clone()));
        Self { folder, stop, served }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("s")).await.unwrap()
    }
}

/// Asks and gives everything up to the end of the connection.
async fn ask(mut stream: UnixStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    String::from_utf8(reply).unwrap()
}

const LAST: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_let_go() {
    let world = World::new(10);
    for head in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\nx-long: "] {
        let began = Instant::now();
        let reply = ask(world.connect().await, head).await;
        assert!(!reply.contains("hello"), "{reply}");
        let took = began.elapsed();
        assert!((HEAD_DEADLINE..HEAD_DEADLINE * 2).contains(&took), "{head:?}: {took:?}");
    }
    // A request that takes long is none of that.
    let head = LAST.replace("/ ", "/slow ");
    assert!(ask(world.connect().await, &head).await.ends_with("slow"));
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_it_is_full_waits_its_turn() {
    let world = World::new(2);
    let (first, second) = (world.connect().await, world.connect().await);
    let third = world.connect().await;
    let began = Instant::now();
    let third = tokio::spawn(async move { (ask(third, LAST).await, Instant::now()) });
    sleep(Duration::from_secs(1)).await;
    assert!(!third.is_finished(), "it is full");
    drop(first);
    let (reply, at) = third.await.unwrap();
    assert!(reply.ends_with("hello") && at - began < HEAD_DEADLINE, "{reply} {:?}", at - began);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_finishes_what_it_began() {
    let world = World::new(10);
    let idle = world.connect().await;
    let under_way =
        tokio::spawn(ask(world.connect().await, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"));
    sleep(Duration::from_secs(1)).await;
    world.stop.cancel();
    assert!(under_way.await.unwrap().ends_with("slow"));
    world.served.await.unwrap();
    drop(idle);
    assert!(UnixStream::connect(world.folder.path().join("s")).await.is_err());
}

#[tokio::test]
async fn a_head_without_an_end_is_refused() {
    let world = World::new(10);
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n", "y".repeat(2 * HEAD_BYTES_MAX));
    let mut stream = world.connect().await;
    // It may hang up before all is said.
    let _sent = stream.write_all(head.as_bytes()).await;
    let mut reply = Vec::new();
    let _read = stream.read_to_end(&mut reply).await;
    let reply = String::from_utf8(reply).unwrap();
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431"), "{reply}");
}
