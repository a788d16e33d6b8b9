//! Connections that are cut at any byte: nothing is lost, and nothing comes twice.

use proptest::prelude::*;

use super::{guest::Guest, *};

/// Runs four commands at once, with input, over connections cut after so many bytes each.
async fn run_over(cuts: Vec<usize>) {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    agent.close().await;
    let agent = guest.lossy_host(cuts);
    let input = seq(60_000);
    let mut running = Vec::new();
    for number in 1..=4 {
        let (log, writer) = new_log(&guest.dir, number).await;
        let script = "seq 1 40000 >&2 & cat; wait; exit 5";
        let start = StartCommand { stdin: Stdin::Stream, ..shell(number, script) };
        let (agent, input) = (agent.clone(), input.clone());
        running.push(tokio::spawn(async move {
            let command = agent.start(start, writer, LONG).await.unwrap();
            let stdin = command.stdin().unwrap();
            for piece in input.chunks(10_000) {
                stdin.write(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            stdin.close();
            (log, command.exit().await.unwrap())
        }));
    }
    for command in running {
        let (log, exit) = timeout(LONG, command).await.expect("it hangs").unwrap();
        assert_eq!(exit.code, 5);
        let (stdout, stderr) = outputs(&log).await;
        assert_same(&stdout, &input);
        assert_same(&stderr, &seq(40_000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn commands_survive_lost_connections(
        cuts in prop::collection::vec(prop_oneof![1usize..3000, 1usize..400_000], 0..12),
    ) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(run_over(cuts));
    }
}

#[tokio::test]
async fn requests_are_asked_again_after_a_loss() {
    let guest = Guest::start().await;
    // Welcomes and replies are about forty bytes: most connections end within one.
    let agent = guest.lossy_host((1..100).rev().collect());
    agent.ready(Instant::now() + LONG).await.unwrap();
    for _ in 0..20 {
        assert_eq!(agent.request(Request::Ping, LONG).await.unwrap(), Response::Done);
    }
}
