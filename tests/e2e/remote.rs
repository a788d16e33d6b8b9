//! The same over TCP: never open.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;

use crate::hood::{Hood, PATIENCE};

/// A server on a port of its own, its address and its token.
pub(crate) fn serve(hood: &Hood, more: &[&str]) -> (Child, String, String) {
    listen(hood, "http://", &[&["--listen", "127.0.0.1:0"], more].concat())
}

fn listen(hood: &Hood, scheme: &str, options: &[&str]) -> (Child, String, String) {
    let mut server = hood.spawn(&[&["serve"], options].concat());
    let address = address_of(&mut server, scheme);
    let token = hood.state().join("token");
    let mode = fs::metadata(&token).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    (server, address, fs::read_to_string(token).unwrap().trim().to_owned())
}

/// Where a server says that it listens.
pub(crate) fn address_of(server: &mut Child, scheme: &str) -> String {
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once(scheme)?.1.split([',', ' ']).next()?.to_owned()))
        .expect("it says where it listens");
    std::thread::spawn(move || lines.for_each(drop));
    address
}

pub(crate) fn curl(args: &[&str]) -> String {
    let seconds = PATIENCE.as_secs().to_string();
    let output = Command::new("curl").args(["-sS", "-m", &seconds]).args(args).output().unwrap();
    // An image's archive is no text.
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_token_is_needed_and_the_command_line_has_it() {
    let mut hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let url = format!("http://{address}/api/v2/sandboxes");
    let bearer = format!("authorization: Bearer {token}");
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    assert_eq!(curl(&[&code[..], &[url.as_str()]].concat()), "401");
    assert_eq!(curl(&[&code[..], &["-H", "authorization: Bearer x", &url]].concat()), "401");
    assert_eq!(curl(&[&code[..], &["-H", &bearer, &url]].concat()), "200");
    assert_eq!(
        curl(&[&code[..], &["-H", &bearer, "-H", "host: evil.example", &url]].concat()),
        "403"
    );
    assert_eq!(
        curl(&[&code[..], &["-H", &bearer, "-H", "origin: http://evil.example", &url]].concat()),
        "403"
    );
    assert_eq!(
        curl(&["-H", &bearer, &url]),
        r#"{"sandboxes":[],"pagination":{"count":0,"next":null}}"#
    );

    hood.set("FUMEHOOD_SERVER", &format!("http://{address}"));
    hood.set("FUMEHOOD_TOKEN", &token);
    assert_eq!(
        hood.ok(&["--server", &format!("http://{address}"), "run", "--", "echo", "far"]),
        "far"
    );
    hood.assert_nothing_left();
}

/// Clients ask again when no answer has come. They get one sandbox, and only while nobody has used it.
#[test]
fn a_create_that_is_asked_for_again_makes_one_sandbox() {
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let url = format!("http://{address}/v3/sandboxes");
    let bearer = format!("authorization: Bearer {token}");
    let json = "content-type: application/json";
    let create = |body: &str| {
        let reply = curl(&["-H", &bearer, "-H", json, "-d", body, &url]);
        serde_json::from_str::<Value>(&reply).unwrap_or_else(|_| panic!("{reply}"))
    };
    let body = r#"{"name":"box","env":{"A":"b"}}"#;
    let first = create(body);
    assert_eq!(first["session"]["status"], "running", "{first}");
    assert_eq!(create(body)["session"]["id"], first["session"]["id"]);
    assert_eq!(create(r#"{"name":"box"}"#)["error"]["code"], "bad_request", "another request");
    hood.ok(&["exec", "box", "--", "true"]);
    assert_eq!(create(body)["error"]["code"], "bad_request", "somebody uses it");
    hood.ok(&["rm", "-f", "box"]);

    // One whose client is gone before the answer: the name is free for the next.
    let gone = Command::new("curl")
        .args(["-sS", "-m", "0.05", "-H", &bearer, "-H", json, "-d", body, &url])
        .output()
        .unwrap();
    assert_eq!(gone.status.code(), Some(28), "{gone:?}");
    let second = create(body);
    assert_eq!(second["session"]["status"], "running", "{second}");
    assert_eq!(hood.machines().len(), 1);
    hood.ok(&["stop", "box"]);
    assert_eq!(create(body)["error"]["code"], "bad_request", "nobody asks for one that has ended");
    hood.ok(&["rm", "-f", "box"]);

    // Several at once that want the same, as programs that share one sandbox do.
    let all: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| create(body))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(all.iter().all(|one| one["session"]["status"] == "running"), "{all:?}");
    assert!(all.iter().all(|one| one["session"]["id"] == all[0]["session"]["id"]), "{all:?}");
    assert_eq!(hood.machines().len(), 1);
    hood.ok(&["rm", "-f", "box"]);
    hood.assert_nothing_left();
}

#[test]
fn an_address_that_others_reach_is_refused_without_a_word_for_it() {
    let hood = Hood::new();
    let ran = hood.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, Some(241), "{ran:?}");
    assert!(ran.stderr.contains("--insecure") && ran.stderr.contains("--tls-cert"), "{ran:?}");
}

/// A certificate for these names that is its own authority, and its key.
pub(crate) fn certificate(folder: &Path, names: [&str; 2]) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap();
    let place = |file: &str, label: &str, der: &[u8]| {
        let path = folder.join(file);
        let text = BASE64_STANDARD.encode(der);
        fs::write(&path, format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"))
            .unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = place("key.pem", "PRIVATE KEY", &made.signing_key.serialize_der());
    (place("cert.pem", "CERTIFICATE", made.cert.der()), key)
}

/// On all addresses, for whoever has the token and calls it by the name of its certificate.
#[test]
fn over_tls_everything_works_and_nothing_is_said_without_it() {
    let hood = Hood::new();
    let place = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(place.path(), ["hood.localhost", "localhost"]);
    let options = ["--listen", "0.0.0.0:0", "--host", "hood.localhost"];
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let (_server, address, token) = listen(&hood, "https://", &[options, tls].concat());
    let port = address.rsplit_once(':').unwrap().1;

    let bearer = format!("authorization: Bearer {token}");
    let list = format!("https://hood.localhost:{port}/v2/sandboxes");
    let code = ["-o", "/dev/null", "-w", "%{http_code}", "--cacert", &cert];
    assert_eq!(curl(&[&code[..], &["-H", &bearer, &list]].concat()), "200");
    assert_eq!(curl(&[&code[..], &[list.as_str()]].concat()), "401");
    let plain = format!("http://127.0.0.1:{port}/v2/sandboxes");
    assert_eq!(curl(&["-H", &bearer, &plain]), "", "without TLS nothing is answered");

    let url = format!("https://localhost:{port}");
    let far = |options: &[&str], input: &[u8]| {
        let token = hood.state().join("token");
        let all = ["--server", &url, "--token-file", token.to_str().unwrap()];
        hood.run_with_input(&[&all, options].concat(), input)
    };
    let ran = far(&["--ca-file", &cert, "run", "-i", "--", "sh", "-c", "cat; exit 3"], b"far");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), "far"), "{ran:?}");
    let ran = far(&["ls"], b"");
    assert_eq!(ran.code, Some(244), "nobody we know vouches for it: {ran:?}");
    assert!(ran.stderr.contains("no secure connection"), "{ran:?}");
    hood.assert_nothing_left();
}

#[test]
fn a_server_elsewhere_that_is_not_there_is_told_at_once() {
    let hood = Hood::new();
    for command in [&["ls"][..], &["create"], &["run", "--", "true"], &["exec", "x", "true"]] {
        let ran = hood.run(&[&["--server", "http://127.0.0.1:1"], command].concat());
        assert_eq!(ran.code, Some(244), "{ran:?}");
        assert!(ran.stderr.contains("no server answers at http://127.0.0.1:1"), "{ran:?}");
    }
}

/// Garbage in any field gives 400 with the field's name.
#[test]
fn garbage_is_told_by_its_field() {
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let url = format!("http://{address}/v3/sandboxes");
    let bearer = format!("authorization: Bearer {token}");
    let long_tag = format!(r#"{{"tags":{{"a":"{}"}}}}"#, "x".repeat(257));
    for (body, field) in [
        ("{", "Invalid request"),
        ("[]", "must be a JSON object"),
        (r#"{"timeout":"long"}"#, "timeout"),
        (r#"{"timeout":1}"#, "timeout"),
        (r#"{"resources":{"vcpus":0}}"#, "resources.vcpus"),
        (r#"{"resources":{"memory":1}}"#, "resources.memory"),
        (r#"{"name":"a b"}"#, "name"),
        (r#"{"env":{"A=B":"1"}}"#, "env"),
        (r#"{"runtime":"cobol"}"#, "runtime"),
        (r#"{"ports":[0]}"#, "ports"),
        (r#"{"privatePorts":[70000]}"#, "privatePorts"),
        (&long_tag, "tags"),
    ] {
        let reply = curl(&["-H", &bearer, "-d", body, &url]);
        let json: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!(json["error"]["code"], "bad_request", "{body}: {reply}");
        assert!(json["error"]["message"].as_str().unwrap().contains(field), "{body}: {reply}");
    }
    // What no handler sees has the same form.
    let reply = curl(&["-H", &bearer, &format!("http://{address}/v2/sandboxes/%ff")]);
    let json: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(json["error"]["code"], "bad_request", "{reply}");
    hood.assert_nothing_left();
}
