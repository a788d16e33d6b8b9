//! Connections to ports, through the real agent to servers of the test's own.

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{guest::Guest, *};

/// A server that sends back what it gets, to its end.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(send_back(stream));
        }
    });
    port
}

async fn send_back(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.ok();
    write.shutdown().await.ok();
}

async fn flood(mut stream: TcpStream) {
    while stream.write_all(&[7; 65536]).await.is_ok() {}
}

async fn sent_back(agent: &Agent, port: u16, bytes: &[u8]) -> Vec<u8> {
    let tunnel = agent.connect(port, LONG).await.unwrap();
    let (mut read, mut write) = tokio::io::split(tunnel);
    let mut back = Vec::new();
    let sent = async {
        write.write_all(bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (read, ()) = tokio::join!(read.read_to_end(&mut back), sent);
    read.unwrap();
    back
}

#[tokio::test]
async fn what_a_server_does_is_seen() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let port = echo().await;
    let bytes = seq(200_000);
    assert_same(&sent_back(&agent, port, &bytes).await, &bytes);
    assert_eq!(sent_back(&agent, port, b"").await, b"");
    // Nobody is there: the port is taken, and not listened on.
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = agent.connect(deaf.local_addr().unwrap().port(), LONG).await.unwrap_err();
    let code = RefusalCode::NotListening;
    assert!(matches!(refused, AgentError::Refused(Refusal { code: c, .. }) if c == code));
    // The machine goes.
    let mut tunnel = agent.connect(port, LONG).await.unwrap();
    agent.close().await;
    assert!(tunnel.read(&mut [0; 1]).await.is_err());
    assert!(tunnel.write_all(&[0; 1]).await.is_err());
}

#[tokio::test]
async fn who_does_not_read_costs_a_window_and_delays_nobody() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flooded = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(flood(stream));
        }
    });
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(agent.connect(flooded, LONG).await.unwrap());
    }
    let before = guest::rss_kib("self");
    let (port, bytes) = (echo().await, seq(1_000_000));
    assert_same(&sent_back(&agent, port, &bytes).await, &bytes);
    let grown = guest::rss_kib("self").saturating_sub(before);
    // The test itself holds the bytes twice.
    assert!(grown < 40 << 10, "{grown} KiB");
    for tunnel in &mut slow {
        tunnel.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
    }
}

async fn echo_over(cuts: Vec<usize>) {
    let guest = Guest::start().await;
    guest.live().await.close().await;
    let agent = guest.lossy_host(cuts);
    let (port, bytes) = (echo().await, seq(60_000));
    let all = (0..4).map(|_| sent_back(&agent, port, &bytes));
    let all = timeout(LONG, futures_util::future::join_all(all)).await.expect("it hangs");
    all.iter().for_each(|back| assert_same(back, &bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn connections_survive_a_lost_channel(
        cuts in prop::collection::vec(prop_oneof![1usize..3000, 1usize..400_000], 0..12),
    ) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(echo_over(cuts));
    }
}
