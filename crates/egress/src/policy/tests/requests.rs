use std::collections::BTreeSet;

use super::*;
use crate::secret::SecretName;

const NAME: &str = "api.example.com";

fn one(rules: Vec<Rule>) -> Policy {
    listed(vec![domain(NAME, rules)])
}

#[track_caller]
fn check(policy: &Policy, table: &[(&str, &str)]) {
    for (request, answer) in table {
        assert_eq!(&ruled(policy, NAME, request, &[]), answer, "{request}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let canned = Canned { status: 403, headers: vec![], body: vec![] };
    let to = ForwardTo { secure: true, host: host("proxy.dev"), port: 443, path: String::new() };
    let policy = one(vec![
        allow(Match { path: Some(exact("/v1/me")), ..methods(&["GET", "HEAD"]) }),
        deny(path(starts("/v1/admin"))),
        rule(path(regex("^/v2/")), Action::Forward(to)),
        rule(methods(&["DELETE"]), Action::Respond(canned)),
    ]);
    check(
        &policy,
        &[
            ("GET /v1/me", "+api.example.com[0]"),
            ("HEAD /v1/me?x=1", "+api.example.com[0]"),
            ("POST /v1/me", "+api.example.com unchanged"),
            ("GET /v1/admin/users", "-api.example.com[1]: a rule denies it"),
            ("DELETE /v1/admin", "-api.example.com[1]: a rule denies it"),
            ("DELETE /v2/x", "forward api.example.com[2]"),
            ("DELETE /v1/x", "respond api.example.com[3]"),
            ("GET /", "+api.example.com unchanged"),
            ("OPTIONS *", "+api.example.com unchanged"),
        ],
    );
    assert_eq!(ruled(&policy, "x.com", "GET /", &[]), "-default: no rule allows x.com");
    assert_eq!(ruled(&public(vec![]), "x.com", "GET /", &[]), "+default unchanged");
}

#[test]
fn the_most_specific_domain_gives_the_rules() {
    let mut preset = domain("*.b.example.com", vec![deny(methods(&["PUT"]))]);
    preset.preset = Some("registries-read".to_owned());
    let policy = listed(vec![
        domain("*", vec![deny(methods(&["PUT"]))]),
        domain("*.example.com", vec![deny(methods(&["POST"]))]),
        domain("a.example.com", vec![]),
        domain("a.example.com", vec![deny(every())]),
        domain("c.example.com", vec![allow(every())]),
        domain("c.example.com:443", vec![deny(methods(&["GET"]))]),
        preset,
    ]);
    let table = [
        ("x.com", "PUT /", "-*[0]: a rule denies it"),
        ("x.example.com", "PUT /", "+*.example.com unchanged"),
        ("x.example.com", "POST /", "-*.example.com[0]: a rule denies it"),
        ("a.example.com", "POST /", "+a.example.com unchanged"),
        ("c.example.com", "GET /", "-c.example.com:443[0]: a rule denies it"),
        ("x.b.example.com", "PUT /", "-registries-read/*.b.example.com[0]: a rule denies it"),
    ];
    for (name, request, answer) in table {
        assert_eq!(ruled(&policy, name, request, &[]), answer, "{name} {request}");
    }
}

#[test]
fn a_deny_is_not_dodged_by_spelling() {
    let policy = one(vec![deny(path(starts("/admin"))), deny(path(exact("/keys")))]);
    let denied = "-api.example.com[0]: a rule denies it";
    let keys = "-api.example.com[1]: a rule denies it";
    check(
        &policy,
        &[
            ("GET /admin", denied),
            ("GET /Admin/x", denied),
            ("GET //admin", denied),
            ("GET /%61dmin", denied),
            ("GET /%2561dmin", denied),
            ("GET /;x=1/admin", denied),
            ("GET /%2Fadmin", denied),
            ("GET /keys/", keys),
            ("GET /KEYS", keys),
            ("GET /keys;v=1", keys),
            ("GET //keys", keys),
            ("GET /x/admin", "+api.example.com unchanged"),
            ("GET /key", "+api.example.com unchanged"),
            ("GET /keysmith", "+api.example.com unchanged"),
        ],
    );
}

#[test]
fn an_allow_is_not_stretched_by_spelling() {
    let policy = one(vec![allow(path(starts("/public/"))), deny(every())]);
    let denied = "-api.example.com[1]: a rule denies it";
    check(
        &policy,
        &[
            ("GET /public/a", "+api.example.com[0]"),
            ("GET /public/a//b;c=%20d%2Fe", "+api.example.com[0]"),
            ("GET /p%75blic/a", "+api.example.com[0]"),
            ("GET /Public/a", denied),
            ("GET /public", denied),
            ("GET //public/a", "malformed api.example.com[0]"),
            ("GET /public%2Fa", "malformed api.example.com[0]"),
            ("GET /public;x/a", "malformed api.example.com[0]"),
        ],
    );
}

#[test]
fn what_no_honest_client_sends_is_refused_where_paths_matter() {
    let paths = [
        "/public/../admin",
        "/public/..",
        "/./public/a",
        "/public/%2e%2e/admin",
        "/public/%2E./admin",
        "/public/..%2fadmin",
        "/public/%252e%252e/admin",
        "/public/%25252e%25252e/admin",
        "/public/%2525252e",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/..%3b/admin",
        "/public/..%20/admin",
        "/public/..\\admin",
        "/public/..%5cadmin",
        "/public/%5c",
        "/public/a%00",
        "/public/a%0d%0ax:y",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%zz",
        "/public/%",
        "/public/%e",
        "public/a",
        "",
        "http://other/public/a",
    ];
    let to = ForwardTo { secure: true, host: host("proxy.dev"), port: 443, path: "/p".to_owned() };
    let strict = [
        one(vec![allow(path(starts("/public/"))), deny(every())]),
        one(vec![rule(every(), Action::Forward(to))]),
    ];
    let loose = one(vec![allow(methods(&["GET"])), deny(every())]);
    for path in paths {
        let request = format!("GET {path}");
        for policy in &strict {
            assert_eq!(ruled(policy, NAME, &request, &[]), "malformed api.example.com", "{path}");
        }
        assert_eq!(ruled(&loose, NAME, &request, &[]), "+api.example.com[0]", "{path}");
    }
    for path in ["/public/...", "/public/.a", "/public/a..b", "/public/100%25", "/public/é"] {
        let request = format!("GET {path}");
        assert_eq!(ruled(&strict[0], NAME, &request, &[]), "+api.example.com[0]", "{path}");
    }
}

#[test]
fn rules_are_written_in_the_form_in_which_paths_are_compared() {
    let table = [
        ("/a b", "/a%20b"),
        ("/%61%2f%3b", "/a%2F%3B"),
        ("/@scope/pkg", "/@scope/pkg"),
        ("/%40scope%2fpkg", "/@scope%2Fpkg"),
        ("/ü", "/%C3%BC"),
        ("/100%", "/100%"),
        ("/a;b=1&c+d", "/a;b=1&c+d"),
        ("/{id}", "/%7Bid%7D"),
    ];
    for (text, form) in table {
        assert_eq!(canonical_path(text), form);
        assert_eq!(canonical_path(form), form);
    }
    let policy = one(vec![allow(path(exact("/a%20b"))), deny(every())]);
    check(
        &policy,
        &[("GET /a%20b", "+api.example.com[0]"), ("GET /%61%20%62", "+api.example.com[0]")],
    );
}

#[test]
fn a_method_is_what_the_server_may_take_it_for() {
    let policy = one(vec![allow(methods(&["GET", "POST"])), deny(every())]);
    let with = |request: &str, headers: &[_]| ruled(&policy, NAME, request, headers);
    let allowed = "+api.example.com[0]";
    assert_eq!(with("POST /", &[]), allowed);
    assert_eq!(with("get /", &[]), allowed);
    assert_eq!(with("PUT /", &[]), "-api.example.com[1]: a rule denies it");
    assert_eq!(with("POST /", &[("x-http-method-override", "get")]), allowed);
    for name in ["x-http-method-override", "x-http-method", "x-method-override", "X_HTTP_Method"] {
        assert_eq!(with("POST /", &[(name, "DELETE")]), "malformed api.example.com[0]");
    }
    for key in ["_method", ".method", "+_method", "_METHOD"] {
        let request = format!("POST /?a=1&{key}=delete");
        assert_eq!(with(&request, &[]), "malformed api.example.com[0]", "{key}");
    }
    let policy = one(vec![deny(methods(&["DELETE"]))]);
    let denied = "-api.example.com[0]: a rule denies it";
    assert_eq!(ruled(&policy, NAME, "delete /", &[]), denied);
    assert_eq!(ruled(&policy, NAME, "POST /", &[("x-http-method", "Delete")]), denied);
    assert_eq!(ruled(&policy, NAME, "POST /?_method=DELETE", &[]), denied);
}

#[test]
fn a_path_is_also_what_a_header_says_that_it_is() {
    let policy = one(vec![deny(path(starts("/admin"))), deny(query(exact("op"), exact("delete")))]);
    let with = |header| ruled(&policy, NAME, "GET /open?a=1", &[header]);
    let passes = "+api.example.com unchanged";
    for name in ["x-original-url", "X-Rewrite-URL", "x_original_uri", "x-override-url"] {
        let table = [
            ("/admin/x", "-api.example.com[0]: a rule denies it"),
            ("/%61dmin?x", "-api.example.com[0]: a rule denies it"),
            ("https://api.example.com/admin", "-api.example.com[0]: a rule denies it"),
            ("/open?op=delete#x", "-api.example.com[1]: a rule denies it"),
            ("/admin?x=://a/open", "-api.example.com[0]: a rule denies it"),
            ("admin", "-api.example.com[0]: a rule denies it"),
            ("//x/admin", "-api.example.com[0]: a rule denies it"),
            ("/x/../admin", "malformed api.example.com"),
            ("", passes),
            ("https://api.example.com", passes),
            ("/open?a=2", passes),
        ];
        for (value, answer) in table {
            assert_eq!(with((name, value)), answer, "{name}: {value}");
        }
    }
    let mine = one(vec![allow(path(starts("/mine/"))), deny(every())]);
    let with = |name, value| ruled(&mine, NAME, "GET /mine/a", &[(name, value)]);
    let unclear = "malformed api.example.com[0]";
    assert_eq!(with("x-original-url", "/mine/b"), "+api.example.com[0]");
    assert_eq!(with("x-original-url", "/yours"), unclear);
    assert_eq!(with("x-original-url", "/yours?x=://a/mine/b"), unclear);
    assert_eq!(with("destination", "https://api.example.com/mine/b"), "+api.example.com[0]");
    assert_eq!(with("destination", "https://api.example.com/yours"), unclear);
    assert_eq!(with("x-goog-copy-source", "mine/b"), "+api.example.com[0]");
    assert_eq!(with("x-goog-copy-source", "yours/b"), unclear);
    for name in ["SCRIPT_NAME", "x-script-name", "Path_Info"] {
        assert_eq!(with(name, "/mine"), "malformed api.example.com");
    }
    check(&mine, &[("GET //mine/a", unclear), ("GET //yours/mine/a", unclear)]);
    // Where no rule looks at it, it is the host's own.
    let method = one(vec![deny(methods(&["DELETE"]))]);
    assert_eq!(ruled(&method, NAME, "GET /", &[("x-original-url", "admin")]), passes);
}

#[test]
fn a_nul_hides_nothing_of_a_query() {
    let no_query = one(vec![deny(query(exact("op"), exact("delete")))]);
    let no_method = one(vec![deny(methods(&["DELETE"]))]);
    let malformed = "malformed api.example.com";
    for request in
        ["GET /?op%00=delete", "GET /?op=delete%00", "GET /?a;op=delete%00x", "GET /?%00"]
    {
        check(&no_query, &[(request, malformed)]);
    }
    check(&no_query, &[("GET /?op=%0adelete", "+api.example.com unchanged")]);
    check(&no_method, &[("GET /?_method=delete%00", malformed)]);
    // Where no rule looks at it, it is the host's own.
    let no_path = one(vec![deny(path(exact("/admin")))]);
    check(&no_path, &[("GET /?a=%00", "+api.example.com unchanged")]);
}

#[test]
fn a_query_is_decoded_and_no_key_is_hidden_behind_another() {
    let policy = one(vec![allow(query(exact("mode"), exact("read only"))), deny(every())]);
    let denied = "-api.example.com[1]: a rule denies it";
    let unclear = "malformed api.example.com[0]";
    check(
        &policy,
        &[
            ("GET /?mode=read+only", "+api.example.com[0]"),
            ("GET /?x&mode=read%20only&y=1", "+api.example.com[0]"),
            ("GET /?%6dode=read%20only", "+api.example.com[0]"),
            ("GET /?mode=read+only&mode=read+only", "+api.example.com[0]"),
            ("GET /?mode=write", denied),
            ("GET /?mode", denied),
            ("GET /", denied),
            ("GET /?mode=read+only&mode=write", unclear),
            ("GET /?mode=write&mode=read+only", unclear),
            ("GET /?mode=read+only&Mode=write", unclear),
            ("GET /?mode=read+only&+mode=write", unclear),
            ("GET /?mode=read+only&mode[]=write", unclear),
            ("GET /?mode=read+only;mode=write", unclear),
            ("GET /?a;mode=read+only", unclear),
        ],
    );
    let many = format!("GET /?{}", "a=1&".repeat(600));
    assert_eq!(ruled(&policy, NAME, &many, &[]), "malformed api.example.com");
    let policy = one(vec![deny(query(exact("admin"), exact("1")))]);
    let denied = "-api.example.com[0]: a rule denies it";
    check(
        &policy,
        &[
            ("GET /?admin=0&admin=1", denied),
            ("GET /?%61dmin=%31", denied),
            ("GET /?x=2;admin=1", denied),
            ("GET /?Admin=1", denied),
            ("GET /?admin[]=1", denied),
            ("GET /?+admin=1", denied),
            ("GET /?%u0061dmin=1", "malformed api.example.com"),
            ("GET /?%u006=1", "+api.example.com unchanged"),
            ("GET /?the_admin=1", "+api.example.com unchanged"),
            ("GET /?admin=0", "+api.example.com unchanged"),
        ],
    );
}

#[test]
fn headers_are_compared_by_each_of_their_values() {
    let pair = |key: TextMatch, value: Option<TextMatch>| Match {
        headers: vec![PairMatch { key: Some(key), value }],
        ..Match::default()
    };
    let policy = one(vec![
        allow(pair(exact("x-key"), Some(exact("placeholder")))),
        allow(pair(starts("x-amz-"), None)),
        deny(every()),
    ]);
    let with = |headers: &[_]| ruled(&policy, NAME, "GET /", headers);
    assert_eq!(with(&[("X-Key", "placeholder")]), "+api.example.com[0]");
    assert_eq!(with(&[("x-amz-date", "1")]), "+api.example.com[1]");
    assert_eq!(with(&[("x-key", "other")]), "-api.example.com[2]: a rule denies it");
    let twice = [("x-key", "placeholder"), ("x-key", "other")];
    assert_eq!(with(&twice), "malformed api.example.com[0]");
    let alike = [("x-key", "placeholder"), ("x_key", "other")];
    assert_eq!(with(&alike), "malformed api.example.com[0]");
    assert_eq!(with(&[("x_key", "placeholder")]), "-api.example.com[2]: a rule denies it");
}

#[test]
fn a_header_that_servers_take_for_another_does_not_dodge_a_rule_that_denies() {
    let header = |key| Match {
        headers: vec![PairMatch { key: Some(key), value: None }],
        ..Match::default()
    };
    let policy = one(vec![
        deny(header(exact("x-http-method"))),
        deny(header(starts("x-debug-"))),
        allow(every()),
    ]);
    let table = [
        ("X-Http-Method", "-api.example.com[0]: a rule denies it"),
        ("x_http-method", "-api.example.com[0]: a rule denies it"),
        ("x.http.method", "-api.example.com[0]: a rule denies it"),
        ("X_DEBUG_LEVEL", "-api.example.com[1]: a rule denies it"),
        ("x-debug", "+api.example.com[2]"),
        ("x-httpmethod", "+api.example.com[2]"),
    ];
    for (name, answer) in table {
        assert_eq!(ruled(&policy, NAME, "GET /", &[(name, "1")]), answer, "{name}");
    }
}

#[test]
fn a_pin_holds_for_the_whole_domain() {
    let pinned = |header: &str, place| {
        let pin = Pin::On { headers: BTreeSet::from([header.to_owned()]), query: BTreeSet::new() };
        let credential = Credential { secret: SecretName::parse("KEY").unwrap(), place };
        Action::Send(Edits { pin, credentials: vec![credential], ..Edits::default() })
    };
    let (key, id) = ("AccessKey".to_owned(), "AppId".to_owned());
    let mut policy = listed(vec![
        domain(
            NAME,
            vec![
                allow(methods(&["HEAD"])),
                rule(
                    methods(&["GET"]),
                    pinned("x-a", Place::Header { name: key, prefix: String::new() }),
                ),
                rule(methods(&["PUT"]), pinned("x-b", Place::Query { name: id })),
            ],
        ),
        domain("*.example.com", vec![allow(every())]),
    ]);
    policy.spread_pins();
    let map = HeaderMap::new();
    let pin = |name: &str, method: &str| {
        let head = Head { method, path: "/", query: None, headers: &map };
        match policy.request(&host(name), 443, &head) {
            Ok(Ruling::Send { pin, .. }) => pin.clone(),
            other => panic!("{other:?}"),
        }
    };
    // Where secrets of ours are put is nobody else's either.
    let headers = ["accesskey", "x-a", "x-b"].map(str::to_owned).into();
    let both = Pin::On { headers, query: ["appid".to_owned()].into() };
    for method in ["HEAD", "GET", "PUT", "POST"] {
        assert_eq!(pin(NAME, method), both, "{method}");
    }
    assert_eq!(pin("b.example.com", "GET"), Pin::Off);
}
