//! The same over TCP: never open.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command},
};

use crate::hood::{Hood, PATIENCE};

/// A server on a port of its own, its address and its token.
pub(crate) fn serve(hood: &Hood, more: &[&str]) -> (Child, String, String) {
    let args = [&["serve", "--listen", "127.0.0.1:0"], more].concat();
    let mut server = hood.spawn(&args);
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("http://")?.1.split([',', ' ']).next()?.to_owned()))
        .expect("it says where it listens");
    std::thread::spawn(move || lines.for_each(drop));
    let token = hood.state().join("token");
    let mode = fs::metadata(&token).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    (server, address, fs::read_to_string(token).unwrap().trim().to_owned())
}

fn curl(args: &[&str]) -> String {
    let seconds = PATIENCE.as_secs().to_string();
    let output = Command::new("curl").args(["-sS", "-m", &seconds]).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
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

#[test]
fn an_address_that_others_reach_is_refused_without_a_word_for_it() {
    let hood = Hood::new();
    let ran = hood.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(
        ran.code.is_some_and(|code| code > 240) && ran.stderr.contains("--insecure"),
        "{ran:?}"
    );
}

/// Garbage in any field gives 400 with the field's name.
#[test]
fn garbage_is_told_by_its_field() {
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let url = format!("http://{address}/v3/sandboxes");
    let bearer = format!("authorization: Bearer {token}");
    for (body, field) in [
        ("{", "Invalid request"),
        (r#"{"timeout":"long"}"#, "timeout"),
        (r#"{"timeout":1}"#, "timeout"),
        (r#"{"resources":{"vcpus":0}}"#, "resources.vcpus"),
        (r#"{"resources":{"memory":1}}"#, "resources.memory"),
        (r#"{"name":"a b"}"#, "name"),
        (r#"{"env":{"A=B":"1"}}"#, "env"),
        (r#"{"runtime":"cobol"}"#, "runtime"),
        (r#"{"ports":[3000]}"#, "ports"),
    ] {
        let reply = curl(&["-H", &bearer, "-d", body, &url]);
        let json: serde_json::Value = serde_json::from_str(&reply).unwrap();
        assert_eq!(json["error"]["code"], "bad_request", "{body}: {reply}");
        assert!(json["error"]["message"].as_str().unwrap().contains(field), "{body}: {reply}");
    }
    hood.assert_nothing_left();
}
