//! An allowed host as a channel: what may be done there is a rule too.

use serde_json::json;

use super::{Group, cases};
use crate::{
    guest::{Guest, policy_file},
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "rules",
    variables: &[],
    guest: |hood| {
        let read = json!([
            {"match": {"method": ["GET", "HEAD"]}, "action": "allow"},
            {"action": "deny"},
        ]);
        let answered = json!([{"match": {"path": {"exact": "/hello"}}, "response": {"statusCode": 200, "body": "made up", "contentType": "text/plain"}}]);
        let policy = json!({"allow": {
            "made-up.test": answered,
            "at-0a4d000a.good.test": answered,
            "registry.test": read,
            "key.test": [{"transform": [{"headers": {"x-a": "b"}}]}],
            "good.test": [
                {"match": {"path": {"exact": "/admin"}}, "action": "deny"},
                {"match": {"path": {"startsWith": "/admin/"}}, "action": "deny"},
                {"match": {"method": ["DELETE"]}, "action": "deny"},
                {"match": {"queryString": [{"key": {"exact": "format"}, "value": {"exact": "raw"}}]}, "action": "deny"},
                {"match": {"headers": [{"key": {"exact": "x-debug"}}]}, "action": "deny"},
            ],
            "also.test": [
                {"match": {"path": {"startsWith": "/mine/"}, "method": ["GET"]}, "action": "allow"},
                {"match": {"path": {"exact": "/hello"}}, "response": {"statusCode": 418, "body": "a teapot", "contentType": "text/plain"}},
                {"action": "deny"},
            ],
            "git.test": [
                {"match": {"queryString": [{"key": {"exact": "service"}, "value": {"exact": "git-receive-pack"}}]}, "action": "deny"},
                {"match": {"path": {"regex": "/git-receive-pack$"}}, "action": "deny"},
            ],
        }});
        Guest::new(hood, &["--policy", &policy_file(hood, "rules", &policy)])
    },
    cases: cases![
        publish_to_a_registry,
        push_to_a_repository,
        other_ways_to_write_a_path,
        climbing_out_of_a_prefix,
        a_method_by_another_name,
        a_path_by_another_name,
        a_query_by_another_name,
        a_header_by_another_name,
        a_header_beside_the_one_that_is_set,
        bodies_of_what_is_read,
        a_canned_answer,
        a_canned_answer_of_nobody,
        explain_says_what_happens,
    ],
};

/// `npm install` works, `npm publish` does not.
fn publish_to_a_registry(t: &mut Trial<'_>) {
    let package = "mkdir -p /tmp/package && cd /tmp/package && \
        echo '{\"name\":\"gauntlet-package\",\"version\":\"1.0.0\"}' > package.json && \
        echo '//registry.test/:_authToken=mine' > .npmrc && \
        npm_config_fetch_retries=0 npm publish --registry https://registry.test/ --loglevel=error";
    t.attack_with(package)
        .told_of("http", "a rule denies it", &["registry.test"])
        .seen()
        .heard()
        .iter()
        .for_each(|one| assert_eq!(one["method"], "GET", "{one}"));
    t.attack(&json!([
        {"do": "get", "host": "registry.test", "method": "PUT", "path": "/a", "body": "x"},
        {"do": "get", "host": "registry.test", "method": "POST", "path": "/a", "body": "x"},
        {"do": "get", "host": "registry.test", "method": "PATCH", "path": "/a", "body": "x"},
        {"do": "get", "host": "registry.test", "method": "put", "path": "/a", "body": "x"},
        {"do": "get", "host": "registry.test", "method": "PROPFIND", "path": "/a"},
        {"do": "get", "host": "registry.test", "method": "PUT", "path": "/a", "body": "x", "tls": false},
        {"do": "http2", "host": "registry.test", "requests": [{"method": "PUT", "path": "/a", "body": "x"}]},
        {"do": "http2", "host": "registry.test", "requests": [{"method": "put", "path": "/a", "body": "x"}]},
    ]))
    .untold("what is alike is counted")
    .unheard();
    t.lawful(&json!([
        {"do": "get", "host": "registry.test"},
        {"do": "http2", "host": "registry.test", "requests": [{}]},
    ]));
    t.lawful_with("curl -sS -I https://registry.test/echo | head -1 | grep 200");
}

/// A clone passes, a push does not.
fn push_to_a_repository(t: &mut Trial<'_>) {
    t.lawful_with("rm -rf /tmp/clone && git clone -q https://git.test/repo.git /tmp/clone && cat /tmp/clone/file");
    t.attack_with(
        "cd /tmp/clone && git -c user.name=x -c user.email=x@x.test commit -q --allow-empty -m mine && \
         timeout 20 git push -q origin HEAD:refs/heads/stolen",
    )
    .told_of("http", "a rule denies it", &["git.test"])
    .unheard();
    let heads = std::process::Command::new("git")
        .args(["-C", t.world.servers.folder.join("repo.git").to_str().unwrap(), "branch"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&heads.stdout).trim(), "* main");
    t.lawful_with("cd /tmp/clone && git fetch -q origin");
}

/// A rule that denies a path holds for every way in which a server may read it.
fn other_ways_to_write_a_path(t: &mut Trial<'_>) {
    let paths = [
        "/admin",
        "/admin/x",
        "/%61dmin",
        "/admi%6E/x",
        "//admin/x",
        "/./admin/x",
        "/x/../admin/x",
        "/x/%2e%2e/admin/x",
        "/admin;a=b",
        "/admin/;/x",
        "/ADMIN",
        "/admin/",
        "/%2561dmin/x",
        "/admin%2fx",
        "/x/..;/admin/x",
        "/x\\..\\admin/x",
        "/admin?x",
        "/admin/x#y",
    ];
    let asked: Vec<_> = paths
        .iter()
        .flat_map(|path| {
            [
                json!({"do": "get", "host": "good.test", "path": path}),
                json!({"do": "http2", "host": "good.test", "requests": [{"path": path}]}),
            ]
        })
        .collect();
    t.attack(&json!(asked)).told_of("http", "", &["good.test"]).unheard();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "path": "/echo/administration"},
        {"do": "get", "host": "good.test", "path": "/echo/a%20b?path=/admin"},
        {"do": "get", "host": "good.test", "path": "/user/admin"},
    ]));
}

/// What is allowed by a prefix must be below it for whoever reads it.
fn climbing_out_of_a_prefix(t: &mut Trial<'_>) {
    let paths = [
        "/mine/../yours",
        "/mine/%2e%2e/yours",
        "/mine/..%2fyours",
        "/mine/.%2e/yours",
        "/mine/..;/yours",
        "/mine/%252e%252e/yours",
        "/mine/..\\yours",
        "/mine/../../yours",
        "/yours",
        "/mine",
        "/MINE/x",
        "/%6dine",
        "/mine%2f../yours",
        "/mine/..",
        "*",
    ];
    let asked: Vec<_> =
        paths.iter().map(|path| json!({"do": "get", "host": "also.test", "path": path})).collect();
    t.attack(&json!(asked)).told_of("http", "", &["also.test"]).unheard();
    t.lawful(&json!([
        {"do": "get", "host": "also.test", "path": "/mine/a/b"},
        {"do": "get", "host": "also.test", "path": "/mine/..a/b.."},
    ]));
}

/// Frameworks let a header or a parameter say that a GET is a DELETE.
fn a_method_by_another_name(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "get", "host": "good.test", "method": "DELETE"},
        {"do": "get", "host": "good.test", "method": "POST", "headers": [["X-HTTP-Method-Override", "DELETE"]]},
        {"do": "get", "host": "good.test", "method": "POST", "path": "/echo?_method=DELETE"},
        {"do": "get", "host": "registry.test", "headers": [["X-HTTP-Method-Override", "PUT"]]},
        {"do": "get", "host": "registry.test", "headers": [["X-HTTP-Method", "PUT"]]},
        {"do": "get", "host": "registry.test", "headers": [["X_HTTP_Method", "PUT"]]},
        {"do": "get", "host": "registry.test", "path": "/echo?_method=put"},
    ]))
    .told("http", "")
    .unheard();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "method": "POST", "body": "x"},
        {"do": "get", "host": "registry.test", "headers": [["X-HTTP-Method-Override", "HEAD"]]},
    ]));
}

/// Frameworks let a header say that the path is another one.
fn a_path_by_another_name(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "get", "host": "good.test", "headers": [["X-Original-URL", "/admin"]]},
        {"do": "get", "host": "good.test", "headers": [["X-Rewrite-URL", "https://good.test/%61dmin/x"]]},
        {"do": "get", "host": "good.test", "headers": [["X_Original_URL", "/admin"]]},
        {"do": "get", "host": "good.test", "headers": [["X-Original-URL", "/echo?format=raw"]]},
        {"do": "get", "host": "good.test", "headers": [["X-Original-URL", "admin"]]},
        {"do": "get", "host": "also.test", "path": "/mine/a", "headers": [["X-Original-URL", "/yours"]]},
        {"do": "http2", "host": "good.test", "requests": [{"headers": [["x-original-url", "/admin"]]}]},
    ]))
    .told_of("http", "", &["good.test", "also.test"])
    .unheard();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "headers": [["X-Original-URL", "/echo"]]},
        {"do": "get", "host": "also.test", "path": "/mine/a", "headers": [["X-Original-URL", "/mine/b"]]},
        {"do": "get", "host": "registry.test", "headers": [["X-Original-URL", "admin"]]},
    ]));
}

fn a_query_by_another_name(t: &mut Trial<'_>) {
    let queries = [
        "format=raw",
        "a=b&format=raw",
        "%66ormat=raw",
        "format=r%61w",
        "a=b;format=raw",
        "format=raw&format=fine",
        "format=fine&format=raw",
        "format%00=raw",
        "format=raw%00",
    ];
    let asked: Vec<_> = queries
        .iter()
        .map(|query| json!({"do": "get", "host": "good.test", "path": format!("/echo?{query}")}))
        .collect();
    t.attack(&json!(asked)).told("http", "").unheard();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "path": "/echo?format=fine"},
        {"do": "get", "host": "good.test", "path": "/echo?x=format=raw"},
    ]));
}

/// Many servers take `_` in the name of a header for `-`.
fn a_header_by_another_name(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "get", "host": "good.test", "headers": [["X-Debug", "1"]]},
        {"do": "get", "host": "good.test", "headers": [["X_Debug", "1"]]},
        {"do": "get", "host": "good.test", "headers": [["x.debug", "1"]]},
        {"do": "http2", "host": "good.test", "requests": [{"headers": [["x_debug", "1"]]}]},
    ]))
    .told_of("http", "a rule denies it", &["good.test"])
    .unheard();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "headers": [["X-Debugger", "1"]]},
        {"do": "http2", "host": "good.test", "requests": [{"headers": [["x_bug", "1"]]}]},
    ]));
}

/// What a rule sets is what the server finds, by whatever name it looks.
fn a_header_beside_the_one_that_is_set(t: &mut Trial<'_>) {
    let theirs = json!([["x-a", "theirs"], ["x_a", "theirs"], ["X.A", "theirs"], ["x-b", "kept"]]);
    let mark = t.world.mark();
    t.lawful(&json!([
        {"do": "get", "host": "key.test", "headers": theirs},
        {"do": "http2", "host": "key.test", "requests": [{"headers": [["x_a", "theirs"], ["x-b", "kept"]]}]},
    ]));
    let seen = t.world.since(mark);
    assert_eq!(seen.heard().len(), 2);
    for one in seen.heard() {
        let headers = one["headers"].to_string().to_lowercase();
        assert!(!headers.contains("theirs") && headers.contains("kept"), "{one}");
        assert!(headers.contains(r#"["x-a","b"]"#), "{one}");
    }
}

/// A GET with a body is still a GET, and its body passes: what is allowed by method and path is not
/// looked into. Said here so that nobody believes otherwise.
fn bodies_of_what_is_read(t: &mut Trial<'_>) {
    let told =
        t.lawful(&json!({"do": "get", "host": "registry.test", "body": "a secret of yours"}));
    assert!(told[0]["body"].as_str().unwrap().contains("\"bytes\": 17"), "{told:?}");
}

fn a_canned_answer(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    let told = t.guest.probe(
        crate::guest::As::User,
        &json!([
            {"do": "get", "host": "also.test", "path": "/hello"},
            {"do": "http2", "host": "also.test", "requests": [{"path": "/hello"}]},
        ]),
    );
    assert_eq!((&told[0]["status"], &told[0]["body"]), (&json!(418), &json!("a teapot")));
    assert_eq!(told[1]["streams"][0]["body"], "a teapot");
    t.world.since(mark).no_request();
    t.passed();
}

/// A name that does not exist, or leads inside, is of use where a rule answers; it leads there for nothing
/// else.
fn a_canned_answer_of_nobody(t: &mut Trial<'_>) {
    for host in ["made-up.test", "at-0a4d000a.good.test"] {
        let told = t.lawful(&json!([
            {"do": "get", "host": host, "path": "/hello"},
            {"do": "get", "host": host, "path": "/hello", "tls": false},
            {"do": "http2", "host": host, "requests": [{"path": "/hello"}]},
        ]));
        assert_eq!(told[0]["body"], "made up");
        let refused = t.attack(&json!([
            {"do": "get", "host": host, "path": "/other"},
            {"do": "get", "host": host, "path": "/other", "tls": false},
            {"do": "get", "host": "evil.test", "address": host, "path": "/hello"},
            {"do": "get", "host": "evil.test", "address": host, "path": "/hello", "tls": false},
            {"do": "connect", "host": host, "port": 22},
        ]));
        let seen = refused.told("tls", "").seen();
        seen.no_request();
        seen.no_packet_to("10.77.0.10");
    }
}

/// `policy explain` is the same code, and says the same.
fn explain_says_what_happens(t: &mut Trial<'_>) {
    for (method, url) in [
        ("GET", "https://registry.test/echo"),
        ("PUT", "https://registry.test/echo"),
        ("GET", "https://good.test/echo?format=raw"),
        ("GET", "https://good.test/echo?format=fine"),
        ("GET", "https://good.test/%61dmin"),
        ("DELETE", "https://good.test/echo"),
        ("GET", "https://also.test/mine/x"),
        ("GET", "https://also.test/mine/%2e%2e/x"),
        ("GET", "http://evil.test/"),
        ("GET", "https://203.0.113.66/"),
        ("GET", "http://good.test:8080/"),
        ("GET", "https://good.test/echo?format%00=raw"),
        ("TRACE", "https://good.test/echo"),
        ("TRACE", "http://good.test/echo"),
        ("put", "https://registry.test/echo"),
        ("GET", "https://good.test./echo"),
        ("GET", "https://key.test/echo"),
        ("GET", "http://key.test/echo"),
    ] {
        let explained = t.guest.hood.run(&["policy", "explain", &t.guest.name, method, url]);
        let script = format!(
            "curl -sS -m 10 -o /dev/null -w '%{{http_code}}' --path-as-is -X {method} '{url}'"
        );
        let happened = t.guest.sh(&script);
        let passed = happened.code == Some(0) && happened.stdout == "200";
        let said = explained.code == Some(0);
        assert_eq!(said, passed, "{method} {url}: {explained:?} {happened:?}");
    }
    t.passed();
}
