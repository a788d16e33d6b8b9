//! Other people's clients, unmodified: spliced, and opened with a credential put in.

use serde_json::Value;

use super::{Group, cases};
use crate::{guest::Guest, hood::Hood, trial::Trial};

pub(super) const GROUP: Group = Group {
    name: "clients",
    variables: &[],
    guest: sandbox,
    cases: cases![
        curl_in_both_versions,
        curl_expects_and_chunks,
        curl_is_told_early,
        curl_is_told_early_without_having_asked,
        a_body_that_ends_with_its_connection,
        git_over_https,
        git_over_ssh,
        node_fetch,
        python_and_its_certificates,
        a_database_by_name_and_port,
        programs_that_trust_by_themselves,
    ],
};

pub(super) const SECRET: &str = "cl13nt-k3y-0f-the-gauntlet";
const NAMES: &str = "good.test,web.test,git.test,grpc.test,ws.test,git.test:22,redis.test:6379";

const SECRETS: &str = "CLIENT_KEY@good.test,web.test,git.test,grpc.test,ws.test";

/// How the connections of a client are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Spliced,
    /// And a credential is put in.
    Opened,
}

pub(super) fn sandbox(hood: &Hood) -> Guest<'_> {
    let ran = hood.run_with_input(&["secret", "set", "CLIENT_KEY"], SECRET.as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    Guest::new(hood, &["--allow", NAMES, "--secret", SECRETS])
}

/// Does the same in both ways, and shows that the ways are what they are called.
pub(super) fn both(t: &mut Trial<'_>, act: impl Fn(&mut Trial<'_>, Way)) {
    t.guest.set_policy(&["--allow", NAMES]);
    act(t, Way::Spliced);
    t.guest.set_policy(&["--allow", NAMES, "--secret", SECRETS]);
    let mark = t.world.mark();
    act(t, Way::Opened);
    let seen = t.world.since(mark);
    // nginx does not say what it heard.
    let used = seen.heard().iter().any(|one| one.to_string().contains(SECRET));
    let through_nginx = seen.flows.iter().any(|flow| {
        let target = flow["target"].as_str().unwrap_or_default();
        ["203.0.113.20", "203.0.113.21"].contains(&target)
    });
    assert!(used || through_nginx, "the credential was put in: {:?}", seen.heard());
    t.guest.set_policy(&["--allow", NAMES]);
}

/// The guest's variable is a placeholder in both ways; only one of them puts the credential in.
pub(super) const BEARER: &str = "-H \"Authorization: Bearer $CLIENT_KEY\"";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

/// What the server says that it was sent: the placeholder, or what the gateway made unreadable.
#[track_caller]
pub(super) fn check_key(said: &str, way: Way) {
    assert_eq!(said.contains("FUMEHOOD_SECRET_"), way == Way::Spliced, "{way:?}: {said}");
    assert!(!said.contains(SECRET), "{said}");
}

fn curl_in_both_versions(t: &mut Trial<'_>) {
    both(t, |t, way| {
        for (version, wanted) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")] {
            let seen = json(&t.lawful_with(&format!(
                "curl -sS -m 20 {version} {BEARER} https://good.test/echo?a=b"
            )));
            assert_eq!(seen["version"], wanted, "{seen}");
            assert_eq!(seen["target"], "/echo?a=b");
            check_key(&seen.to_string(), way);
        }
        let said = t.lawful_with(&format!("curl -sS -m 20 {BEARER} https://web.test/"));
        assert_eq!(said, "a page of the world\n");
    });
}

fn curl_expects_and_chunks(t: &mut Trial<'_>) {
    both(t, |t, way| {
        let make = "head -c 3000000 /dev/zero > /tmp/three";
        for options in [
            "--http1.1 -T /tmp/three -H 'Expect: 100-continue'",
            "--http1.1 -T - -H 'Transfer-Encoding: chunked' < /tmp/three",
            "--http2 -T /tmp/three",
            "--http2 -T - < /tmp/three",
            "--http1.1 -X POST --data-binary @/tmp/three",
            "--http1.1 -F file=@/tmp/three",
        ] {
            let (options, input) = options.split_once(" < ").unwrap_or((options, "/dev/null"));
            let seen = json(&t.lawful_with(&format!(
                "{make}; curl -sS -m 30 {BEARER} {options} https://good.test/echo < {input}"
            )));
            assert!(seen["bytes"].as_u64().unwrap() >= 3_000_000, "{options}: {seen}");
            check_key(&seen.to_string(), way);
        }
    });
}

/// A server that has heard enough says so before the body has come.
fn curl_is_told_early(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        let make = "head -c 3000000 /dev/zero > /tmp/three";
        let said = t.lawful_with(&format!(
            "{make}; curl -sS -m 20 {BEARER} --http1.1 -T /tmp/three -H 'Expect: 100-continue' \
             -o /dev/null -w '%{{http_code}}' https://good.test/too-large; \
             curl -sS -m 20 {BEARER} -o /dev/null https://good.test/echo"
        ));
        assert_eq!(said, "413");
    });
}

/// The same while the body is on its way, and the server ends its side.
fn curl_is_told_early_without_having_asked(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        for (bearer, scheme) in [(BEARER, "https"), ("", "http")] {
            let said = t.lawful_with(&format!(
                "head -c 3000000 /dev/zero > /tmp/three; for i in 1 2 3 4 5 6; do \
                 curl -sS -m 20 {bearer} --http1.1 -H Expect: -T /tmp/three -o /dev/null \
                 -w '%{{http_code}} ' {scheme}://good.test/bare-end/early; done"
            ));
            assert_eq!(said.trim(), ["413"; 6].join(" "), "{scheme}");
        }
    });
}

/// Without a length, and without TLS's own word for the end.
fn a_body_that_ends_with_its_connection(t: &mut Trial<'_>) {
    both(t, |t, _way| {
        let url = "https://good.test/bare-end";
        let said = t.lawful_with(&format!(
            "node -e 'fetch(\"{url}\", {{headers: {{authorization: \"Bearer \" + process.env.CLIENT_KEY}}}})\
                 .then(async (r) => console.log((await r.text()).length))'; \
             python3 -c 'import os, urllib.request as u; \
                 r = u.Request(\"{url}\", headers={{\"Authorization\": \"Bearer \" + os.environ[\"CLIENT_KEY\"]}}); \
                 print(len(u.urlopen(r, timeout=20).read()))'"
        ));
        assert_eq!(said.lines().collect::<Vec<_>>(), ["30000", "30000"]);
    });
}

fn git_over_https(t: &mut Trial<'_>) {
    both(t, |t, way| {
        let branch = format!("branch-{way:?}");
        t.lawful_with(&format!(
            "set -e; rm -rf /tmp/repo; \
             git -c http.extraHeader=\"Authorization: Bearer $CLIENT_KEY\" \
                 clone -q https://git.test/repo.git /tmp/repo; cd /tmp/repo; test -e file; \
             head -c 2000000 /dev/urandom > big; git add big; \
             git -c user.name=x -c user.email=x@x.test commit -q -m big; \
             git push -q origin HEAD:refs/heads/{branch}; git ls-remote origin {branch} | grep -q {branch}"
        ));
    });
}

fn git_over_ssh(t: &mut Trial<'_>) {
    let key = t.world.servers.folder.join("client");
    t.guest.copy(&key, "/tmp/client");
    let ssh = "chmod 600 /tmp/client; export GIT_SSH_COMMAND='ssh -i /tmp/client -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR'";
    let repository = t.world.servers.folder.join("repo.git");
    let script = format!(
        "command -v ssh > /dev/null || exit 77; {ssh}; rm -rf /tmp/by-ssh; \
         git clone -q ssh://root@git.test{} /tmp/by-ssh && test -e /tmp/by-ssh/file",
        repository.display()
    );
    let ran = t.guest.sh(&script);
    if ran.code == Some(77) {
        // The image has no ssh: the greeting of the server, and that ours arrives, must do.
        let told = t.lawful(&serde_json::json!({"do": "connect", "host": "git.test", "port": 22,
            "send": "SSH-2.0-gauntlet\r\n"}));
        assert!(told[0]["data"].as_str().unwrap().starts_with("SSH-2.0-OpenSSH"), "{told:?}");
    } else {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        t.passed();
    }
    t.attack(&serde_json::json!({"do": "connect", "host": "web.test", "port": 22}))
        .told("tcp", "port")
        .unheard();
}

fn node_fetch(t: &mut Trial<'_>) {
    both(t, |t, way| {
        let told = json(&t.lawful_with("node /tmp/gauntlet/fetch.mjs"));
        assert_eq!(
            (&told["sent"], &told["got"]),
            (&Value::from(1_000_000), &Value::from(1_000_000))
        );
        check_key(&told["said"].to_string(), way);
    });
}

fn python_and_its_certificates(t: &mut Trial<'_>) {
    both(t, |t, way| {
        let told = json(&t.lawful_with(
            "python3 -c 'import os, urllib.request as u; \
             r = u.Request(\"https://good.test/echo\", headers={\"Authorization\": \"Bearer \" + os.environ.get(\"CLIENT_KEY\", \"none\")}); \
             print(u.urlopen(r, timeout=20).read().decode())'",
        ));
        check_key(&told.to_string(), way);
    });
}

/// Redis speaks neither HTTP nor TLS: `redis.test:6379` is enough.
fn a_database_by_name_and_port(t: &mut Trial<'_>) {
    let told = t.lawful(&serde_json::json!([
        {"do": "connect", "host": "redis.test", "port": 6379, "send": "SET a 42\r\n"},
        {"do": "connect", "host": "redis.test", "port": 6379, "send": "GET a\r\n"},
    ]));
    assert_eq!(told[1]["data"], "$2\r\n42\r\n");
    t.attack(&serde_json::json!([
        {"do": "connect", "host": "redis.test", "port": 6380, "send": "x"},
        {"do": "connect", "host": "203.0.113.22", "port": 22, "send": "x"},
    ]))
    .told("tcp", "")
    .unheard();
}

/// The CA is where programs look for it that heed no variable, and it is ours alone.
fn programs_that_trust_by_themselves(t: &mut Trial<'_>) {
    both(t, |t, way| {
        if way == Way::Spliced {
            return;
        }
        t.lawful_with("env -i /usr/bin/curl -sSf -m 20 -o /dev/null https://good.test/echo");
        t.lawful_with(
            "env -i PATH=$PATH HOME=/tmp git ls-remote -q https://git.test/repo.git > /dev/null",
        );
        t.lawful_with("curl -sS -m 20 -o /dev/null -H \"Authorization: Bearer $CLIENT_KEY\" https://good.test/echo");
        t.lawful_with("openssl version > /dev/null 2>&1 || exit 0; echo | openssl s_client -connect good.test:443 -servername good.test -verify_return_error > /dev/null 2>&1");
    });
}
