//! What interception breaks elsewhere: streams both ways, trailers, long and large bodies.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Group, cases,
    clients::{BEARER, Way, both, check_key, sandbox},
};
use crate::{guest::As, hood::is_full, servers::prepared, trial::Trial};

pub(super) const GROUP: Group = Group {
    name: "streams",
    variables: &[],
    guest: |hood| {
        let guest = sandbox(hood);
        guest.copy(&prepared().join("site-grpc"), "/tmp/site-grpc");
        guest
    },
    cases: cases![
        grpc_both_ways,
        websocket,
        events_come_one_by_one,
        many_streams_of_one_connection,
        trailers,
        a_large_download,
        a_large_upload,
        a_slow_reader,
        a_request_that_is_given_up,
    ],
};

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

fn grpc_both_ways(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        let told = json_of(
            &t.lawful_with("PYTHONPATH=/tmp/site-grpc python3 /tmp/gauntlet/grpc_client.py"),
        );
        assert_eq!(told["answers"].as_array().unwrap().len(), 5, "{told}");
        assert_eq!(told["trailers"]["x-trailer"], "at-the-end", "{told}");
        assert_eq!(told["many"], 2000, "{told}");
        assert_eq!(told["failed"], json!(["FAILED_PRECONDITION", "as it was told to"]));
    });
}

fn websocket(t: &mut Trial<'_>) {
    both(t, |t, way| {
        // In the clear a credential is not sent, and a request that asks for it is refused.
        let in_the_clear = match way {
            Way::Spliced => "",
            Way::Opened => "CLIENT_KEY=none ",
        };
        for (key, url) in [("", "wss://ws.test/a?b=c"), (in_the_clear, "ws://ws.test/")] {
            let script = format!("{key}python3 /tmp/gauntlet/socket_client.py '{url}'");
            let told = json_of(&t.lawful_with(&script));
            assert_eq!(told, json!({"said": [true, true, true, true], "code": 1000}), "{url}");
        }
        if way == Way::Spliced {
            return;
        }
        // That of Node takes no other `Connection` than `Upgrade`.
        for url in ["wss://ws.test/", "ws://ws.test/"] {
            let told =
                json_of(&t.lawful_with(&format!("node /tmp/gauntlet/sockets.mjs '{url}' 6")));
            let each = json!({"connection": "Upgrade", "upgrade": "websocket", "said": "hello"});
            assert_eq!(told, json!(vec![each; 6]), "{url}");
        }
    });
}

/// An event that waits for the next one is an event that is late.
fn events_come_one_by_one(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        let script = "curl -sS -o /dev/null -H \"Authorization: Bearer $CLIENT_KEY\" https://good.test/echo; \
            python3 /tmp/gauntlet/ticks.py 'https://good.test/sse?n=4&gap=0.5'";
        let came: Vec<f64> = serde_json::from_str(&t.lawful_with(script)).unwrap();
        assert_eq!(came.len(), 4);
        let gaps: Vec<f64> = came.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap > 0.2), "{came:?}");
    });
}

fn many_streams_of_one_connection(t: &mut Trial<'_>) {
    both(t, |t, way| {
        let key = t.guest.sh_ok("echo -n $CLIENT_KEY");
        let requests: Vec<_> = (0..60)
            .map(|number| {
                json!({"path": format!("/echo/{number}"), "method": "POST", "body": "x".repeat(2000),
                    "headers": [["authorization", format!("Bearer {key}")]]})
            })
            .collect();
        let told = t.lawful(&json!({"do": "http2", "host": "good.test", "requests": requests}));
        for (number, stream) in told[0]["streams"].as_array().unwrap().iter().enumerate() {
            let body = stream["body"].as_str().unwrap();
            assert!(body.contains(&format!("\"/echo/{number}\"")), "{stream}");
            assert!(body.contains("\"bytes\": 2000"), "{stream}");
            check_key(body, way);
        }
    });
}

fn trailers(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        let told = t.lawful(&json!([
            {"do": "http2", "host": "good.test", "requests": [{"path": "/trailers"}]},
            {"do": "get", "host": "good.test", "path": "/trailers", "headers": [["TE", "trailers"]]},
        ]));
        assert_eq!(told[0]["streams"][0]["trailers"], json!([["x-sum", "42"]]), "{told:?}");
        assert_eq!(told[1]["replies"][0]["trailers"], json!(["x-sum: 42"]), "{told:?}");
        t.lawful_with(
            "curl -sS -o /dev/null -H \"Authorization: Bearer $CLIENT_KEY\" https://good.test/echo",
        );
    });
}

/// 4 GiB with `--full`.
fn large() -> (&'static str, u64) {
    if is_full() { ("4g", 4 << 30) } else { ("64m", 64 << 20) }
}

/// What the gateway may have at most while bodies pass.
const GATEWAY_BYTES_MAX: u64 = 64 << 20;

/// Watches how much memory the gateway has while something is done.
fn with_flat_memory(t: &mut Trial<'_>, act: impl FnOnce(&mut Trial<'_>)) {
    let gateway = t.guest.gateway().expect("one gateway runs");
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(resident(gateway), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(t)));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    let most = most.into_inner();
    assert!(most < GATEWAY_BYTES_MAX, "the gateway had {} MiB", most >> 20);
}

pub(super) fn resident(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn a_large_download(t: &mut Trial<'_>) {
    let (name, bytes) = large();
    both(t, |t, _way| {
        with_flat_memory(t, |t| {
            for version in ["--http1.1", "--http2"] {
                let said = t.lawful_with(&format!(
                    "curl -sS {version} {BEARER} -o /dev/null -w '%{{size_download}}' https://web.test/{name}"
                ));
                assert_eq!(said, bytes.to_string());
            }
        });
    });
}

fn a_large_upload(t: &mut Trial<'_>) {
    let (_, bytes) = large();
    both(t, |t, _way| {
        with_flat_memory(t, |t| {
            for version in ["--http1.1", "--http2"] {
                let seen = json_of(&t.lawful_with(&format!(
                    "head -c {bytes} /dev/zero | curl -sS {version} {BEARER} -T - https://web.test/take/echo"
                )));
                assert_eq!(seen["bytes"].as_u64(), Some(bytes), "{seen}");
            }
        });
    });
}

/// The server would send faster than the guest reads: it has to wait, and not our memory to grow.
fn a_slow_reader(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        with_flat_memory(t, |t| {
            let said = t.lawful_with(&format!(
                "curl -sS -m 4 --limit-rate 2M {BEARER} -o /dev/null -w '%{{http_code}}' https://web.test/4g || true"
            ));
            assert_eq!(said, "200");
        });
    });
}

/// What a client gives up is given up at the server too, and the connection goes on.
fn a_request_that_is_given_up(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        t.lawful_with(&format!(
            "for i in 1 2 3; do curl -sS -m 0.5 {BEARER} -o /dev/null 'https://good.test/sse?n=100&gap=1' 2> /dev/null; done; \
             curl -sSf -m 10 {BEARER} -o /dev/null https://good.test/echo"
        ));
        let told = t.guest.probe(As::User, &json!({"do": "get", "host": "good.test"}));
        assert_eq!(told[0]["status"], 200);
    });
}
