//! Every route, as the server's own description names them: a new one is in these tests at once.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    hood::{Hood, PATIENCE, api_tools},
    remote::{curl, serve},
};

/// Routes about the server and not about a project, which every token may ask.
const SHARED: [(&str, &str); 5] = [
    ("get", "/v1/fumehood/version"),
    ("get", "/v1/fumehood/images"),
    ("get", "/v1/fumehood/images/inspect"),
    ("get", "/v1/fumehood/images/save"),
    ("post", "/v1/fumehood/images/pull"),
];
/// Routes that make the thing that they name, in the project of who asks.
const MAKING: [(&str, &str); 2] =
    [("put", "/v1/fumehood/secrets/{name}"), ("post", "/v2/sandboxes/drives/{name}")];
/// Routes that change nothing and are no GET.
const READING: [&str; 4] = ["/network-policy/explain", "/fs/read", "/fs/stat", "/fs/tar"];
/// Routes that may start something although they are GETs.
const STARTING: [&str; 2] = ["/attach", "/tunnel"];

struct Route {
    method: String,
    path: String,
    operation: Value,
}

impl Route {
    fn is_of(&self, all: &[(&str, &str)]) -> bool {
        all.contains(&(self.method.as_str(), self.path.as_str()))
    }

    fn ends_with(&self, all: &[&str]) -> bool {
        all.iter().any(|end| self.path.ends_with(end))
    }

    /// Whether it is about a thing that the path names.
    fn names_a_thing(&self) -> bool {
        self.path.contains('{')
    }

    fn is_the_administrators(&self) -> bool {
        self.operation["summary"].as_str().unwrap().ends_with("The administrator's.")
    }

    /// Whether it ends what others are asked about.
    fn ends_a_thing(&self) -> bool {
        self.method == "delete" || self.ends_with(&["/stop", "/kill"])
    }
}

/// A sandbox of the project `web` with all that can be named, and the server that has it.
struct World {
    server: String,
    description: Value,
    /// What is in the place of a path's variables: the part before, and the variable.
    things: Vec<(&'static str, String)>,
    /// What nobody else is to hear of.
    marks: [String; 5],
}

impl World {
    fn new(hood: &mut Hood, address: &str) -> Self {
        let tokens: Value = serde_json::from_str(&hood.ok(&["token", "ls", "--json"])).unwrap();
        hood.set("FUMEHOOD_PROJECT", "web");
        hood.create(&["--name", "webs-box"]);
        let command = hood.ok(&["exec", "-d", "webs-box", "--", "echo", "webs-output"]);
        hood.create(&["--name", "webs-other"]);
        let snapshot = hood.ok(&["snapshot", "webs-other"]);
        hood.ok(&["drive", "create", "webs-drive", "--size", "64M"]);
        hood.set("WEBS_VALUE", "webs-value");
        hood.ok(&["secret", "set", "WEBS_SECRET", "--from-env", "WEBS_VALUE"]);
        let listed: Value = serde_json::from_str(&hood.ok(&["ls", "--json"])).unwrap();
        let all = listed.as_array().unwrap();
        let it = all.iter().find(|one| one["name"] == "webs-box").unwrap();
        let session = it["currentSessionId"].as_str().unwrap().to_owned();
        hood.unset("FUMEHOOD_PROJECT");
        let server = format!("http://{address}");
        Self {
            description: serde_json::from_str(&curl(&[&format!("{server}/openapi.json")])).unwrap(),
            server,
            marks: [
                session.clone(),
                command.clone(),
                snapshot.clone(),
                "webs-".into(),
                "WEBS_".into(),
            ],
            things: vec![
                ("/sandboxes/sid", session.clone()),
                ("/sessions/sid", session),
                ("/cmd/cid", command.clone()),
                ("/{sid}/cid", command),
                ("/sandboxes/name", "webs-box".into()),
                ("/snapshots/id", snapshot),
                ("/drives/name", "webs-drive".into()),
                ("/secrets/name", "WEBS_SECRET".into()),
                ("/tokens/id", tokens[0]["id"].as_str().unwrap().to_owned()),
            ],
        }
    }

    fn tells(&self, said: &str) -> bool {
        self.marks.iter().any(|mark| said.contains(mark.as_str()))
    }

    fn routes(&self) -> Vec<Route> {
        let paths = self.description["paths"].as_object().unwrap().iter();
        let all = paths.flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(|(method, operation)| Route {
                method: method.clone(),
                path: path.clone(),
                operation: operation.clone(),
            })
        });
        let mut all: Vec<_> = all.collect();
        // Who has made a thing of the same name would end that.
        all.sort_by_key(|route| (route.is_of(&MAKING), route.ends_a_thing()));
        all
    }

    fn url(&self, route: &Route, query: &str) -> String {
        let mut path = route.path.clone();
        for (place, thing) in &self.things {
            let (before, name) = place.rsplit_once('/').unwrap();
            if route.path.contains(&format!("{before}/{{{name}}}")) {
                path = path.replace(&format!("{{{name}}}"), thing);
            }
        }
        assert!(!path.contains('{'), "say in `things` what {path} is about");
        let mut url = format!("{}{path}?{query}", self.server);
        for parameter in route.operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            if parameter["in"] == "query" && parameter["required"] == true {
                let is_number = parameter["schema"]["type"] == "integer";
                url += &format!("&{name}={}", if is_number { "1" } else { "default" });
            }
        }
        url
    }

    /// A body that is as it should be, with nothing that may be left out.
    fn body(&self, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            return self.body(&self.description["components"]["schemas"][name]);
        }
        if let Some(first) = schema["enum"].get(0).or_else(|| schema["anyOf"].get(0)) {
            return if schema["enum"].is_array() { first.clone() } else { self.body(first) };
        }
        let required = schema["required"].as_array().into_iter().flatten();
        match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
            Some("string") => json!("x"),
            Some("integer" | "number") => json!(1000),
            Some("boolean") => json!(false),
            Some("array") => json!([]),
            Some(_) | None => required
                .map(|name| name.as_str().unwrap())
                .map(|name| (name.to_owned(), self.body(&schema["properties"][name])))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// The status and the text of a request.
    fn ask(&self, token: Option<&str>, route: &Route, query: &str) -> (u16, String) {
        let url = self.url(route, query);
        let method = route.method.to_uppercase();
        let bearer = format!("authorization: Bearer {}", token.unwrap_or_default());
        let mut args = vec!["-X", &method, "-w", "\n%{http_code}", &url];
        if token.is_some() {
            args.extend(["-H", &bearer]);
        }
        if route.operation["responses"]["101"].is_object() {
            for header in ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"]
            {
                args.extend(["-H", header]);
            }
            args.extend(["-H", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", "-m", "5"]);
        }
        let content = &route.operation["requestBody"]["content"]["application/json"]["schema"];
        let body = content.is_object().then(|| self.body(content).to_string());
        args.extend(body.iter().flat_map(|body| ["-d", body]));
        let said = curl(&args);
        let (text, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), text.to_owned())
    }
}

/// Whoever answers before it has all of a request closes the connection on a client that still writes.
#[test]
fn a_request_is_answered_once_all_of_it_is_there() {
    let hood = Hood::new();
    hood.ok(&["ls"]);
    let mut socket = UnixStream::connect(hood.state().join("api.sock")).unwrap();
    let head = "POST /v2/sandboxes/sessions/none/stop HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 2\r\n\r\n";
    let mut answer = [0; 4096];
    for _ in 0..2 {
        socket.write_all(head.as_bytes()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let early = socket.read(&mut answer).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::WouldBlock, "it is answered too early");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"{}").unwrap();
        let length = socket.read(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(text.starts_with("HTTP/1.1 404"), "{text}");
    }
}

#[test]
fn a_token_sees_the_things_of_its_project_alone_on_every_route() {
    let mut hood = Hood::new();
    let (_server, address, _) = serve(&hood, &[]);
    let token = |project: &str, scope: &str| {
        hood.ok(&["--project", project, "token", "create", "--scope", scope])
    };
    let [web, reader, other] =
        [("web", "full"), ("web", "read"), ("other", "full")].map(|(a, b)| token(a, b));
    let world = World::new(&mut hood, &address);
    let routes = world.routes();
    assert!(30 < routes.len());

    for route in &routes {
        let what = format!("{} {}", route.method, route.path);
        assert_eq!(world.ask(None, route, "").0, 401, "{what} without a token");

        let named = world.ask(Some(&other), route, "projectId=web");
        assert_eq!(named.0, 404, "{what} of a project that is named: {named:?}");
        if !route.is_of(&SHARED) {
            let (status, said) = world.ask(Some(&other), route, "");
            let refused = if route.is_the_administrators() { 403 } else { 404 };
            if !route.is_of(&MAKING) && (route.names_a_thing() || route.is_the_administrators()) {
                assert_eq!(status, refused, "{what}: {said}");
            }
            // What is not found may be called what it was asked for.
            let may_tell = status == 404 || route.is_of(&MAKING);
            assert!(may_tell || !world.tells(&said), "{what} tells: {said}");
            assert!(status < 500, "{what}: {said}");
        }

        let changes = (route.method != "get" && !route.ends_with(&READING))
            || route.ends_with(&STARTING)
            || route.is_the_administrators();
        let (status, said) = world.ask(Some(&reader), route, "projectId=web");
        assert_eq!(status == 403, changes, "{what} with a token that reads: {status} {said}");
    }
    // What was asked for is there, for who may see it.
    for route in routes.iter().filter(|route| route.names_a_thing()) {
        if !route.is_the_administrators() && !route.ends_with(&STARTING) {
            let (status, said) = world.ask(Some(&web), route, "");
            let gone = route.ends_a_thing() && [404, 410].contains(&status);
            let unseen = status == 404 && said.contains("project");
            assert!(gone || !(unseen || [401, 403].contains(&status)), "{status} {said}");
        }
    }
    hood.set("FUMEHOOD_PROJECT", "other");
    assert!(!hood.ok(&["secret", "ls"]).contains("webs-value"));
    for project in ["other", "web"] {
        hood.set("FUMEHOOD_PROJECT", project);
        let made: Value = serde_json::from_str(&hood.ok(&["ls", "-a", "--json"])).unwrap();
        for sandbox in made.as_array().unwrap() {
            hood.ok(&["rm", "-f", sandbox["name"].as_str().unwrap()]);
        }
    }
    hood.assert_nothing_left();
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_field() {
    let hood = Hood::new();
    hood.ok(&["ls"]);
    let refused = |method: &str, path: &str, body: Value, field: &str| {
        let (status, reply) = hood.api(method, path, &body);
        let said = reply["error"]["message"].as_str().unwrap_or_default();
        let names_it = said.contains(&format!("`{field}"));
        assert!(status == 400 && names_it, "{method} {path} {body}: {status} {reply}");
    };
    for (body, field) in [
        (json!({"networkId": 5}), "networkId`"),
        (json!({"networkId": "a b"}), "networkId`"),
        (json!({"region": 5}), "region`"),
        (json!({"region": "Mars"}), "region`"),
        (json!({"failoverRegions": "iad1"}), "failoverRegions`"),
        (json!({"region": "iad1", "failoverRegions": ["iad1"]}), "failoverRegions`"),
        (json!({"resources": []}), "resources`"),
        (json!({"keepLastSnapshots": [1]}), "keepLastSnapshots`"),
        (json!({"mounts": {"/a": ["d"]}}), "mounts"),
        (json!({"image": ""}), "image`"),
        (json!({"image": "a b"}), "image`"),
    ] {
        refused("POST", "/v3/sandboxes", body.clone(), field);
        refused("POST", "/v2/sandboxes", body, field);
    }
    let lists = ["", "/sessions", "/snapshots", "/drives"];
    for (list, cursor) in lists.iter().flat_map(|list| [(list, "zzz"), (list, "")]) {
        let path = format!("/v2/sandboxes{list}?cursor={cursor}");
        refused("GET", &path, Value::Null, "cursor`");
    }
    for (query, field) in [
        ("?sortBy=name&cursor=a.b", "cursor`"),
        ("?sortBy=currentSnapshotId&cursor=zzz", "cursor`"),
        ("?tags=novalue", "tags`"),
        ("/drives?sortBy=name&cursor=a.b", "cursor`"),
        ("/snapshots/tree", "snapshotId`"),
        ("/snapshots/tree?snapshotId=", "snapshotId`"),
    ] {
        refused("GET", &format!("/v2/sandboxes{query}"), Value::Null, field);
    }
    refused("POST", "/v2/sandboxes/drives/d", json!({"region": "Mars"}), "region`");
    hood.assert_nothing_left();
}

#[test]
fn where_a_sandbox_is_asked_to_be_is_told_again() {
    let hood = Hood::new();
    hood.ok(&["ls"]);
    let asked = json!({"name": "box", "resources": {"memory": 512}, "region": "sfo1",
        "failoverRegions": ["iad1", "fra1"], "networkId": "net_1"});
    let (status, made) = hood.api("POST", "/v3/sandboxes", &asked);
    assert_eq!(status, 200, "{made}");
    for field in ["region", "failoverRegions", "networkId"] {
        assert_eq!(made["sandbox"][field], asked[field], "{made}");
    }
    assert_eq!(made["session"]["region"], "sfo1");
    let body = json!({"name": "fork", "region": "cdg1", "networkId": "net_2"});
    let (status, fork) = hood.api("POST", "/v2/sandboxes/box/fork", &body);
    assert_eq!((status, &fork["sandbox"]["region"]), (200, &json!("cdg1")), "{fork}");
    assert_eq!(fork["sandbox"]["failoverRegions"], asked["failoverRegions"]);
    assert_eq!(fork["sandbox"]["networkId"], "net_2");
    for body in [json!({"networkId": 7}), json!({"region": 7}), json!({"failoverRegions": 7})] {
        let (status, reply) = hood.api("POST", "/v2/sandboxes/box/fork", &body);
        let field = body.as_object().unwrap().keys().next().unwrap();
        let said = reply["error"]["message"].as_str().unwrap();
        assert!(status == 400 && said.contains(&format!("`{field}`")), "{body}: {reply}");
    }

    // A session stays where it began.
    let body = json!({"region": "iad1", "failoverRegions": [], "networkId": null});
    let (status, changed) = hood.api("PATCH", "/v2/sandboxes/box", &body);
    assert_eq!((status, &changed["sandbox"]["region"]), (200, &json!("iad1")), "{changed}");
    assert_eq!(changed["sandbox"]["failoverRegions"], json!([]));
    assert_eq!(changed["sandbox"]["networkId"], Value::Null);
    assert_eq!(changed["session"]["region"], "sfo1");
    hood.ok(&["rm", "-f", "box", "fork"]);
    hood.assert_nothing_left();
}

/// Some thousand requests, made by schemathesis from the description: whatever is in a field, the
/// answer is no fault of ours.
#[test]
fn garbage_in_any_field_is_no_fault_of_ours() {
    let hood = Hood::new();
    let (_server, address, administrator) = serve(&hood, &[]);
    hood.create(&["--name", "fuzzed", "--timeout", "30m"]);
    let command = hood.ok(&["exec", "-d", "fuzzed", "--", "true"]);
    let listed: Value = serde_json::from_str(&hood.ok(&["ls", "--json"])).unwrap();
    let session = listed[0]["currentSessionId"].as_str().unwrap();
    let settings = hood.state().join("schemathesis.toml");
    let text = format!(
        "headers = {{ Authorization = \"Bearer {administrator}\" }}\n[parameters]\n\
         \"path.sid\" = \"{session}\"\n\"path.cid\" = \"{command}\"\n\"path.name\" = \"fuzzed\"\n\
         \"query.follow\" = \"false\"\n\"query.wait\" = \"false\"\n"
    );
    fs::write(&settings, text).unwrap();
    let ask = |seed: u32, seconds: &str, which: &[&str]| {
        let output = Command::new(api_tools().join("bin/schemathesis"))
            .args(["--config-file", settings.to_str().unwrap(), "run"])
            .arg(format!("http://{address}/openapi.json"))
            .args(["--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--no-color"])
            .args(["--seed", &seed.to_string(), "--workers", "1", "-n", "5"])
            .args(["--max-time", seconds])
            .args(["--request-timeout", "60", "--warnings", "off"])
            .args(which)
            .current_dir(hood.state())
            .env_remove("PYTHONPATH")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let count = said.lines().find_map(|line| line.split_once(" generated, "));
        let count = count.and_then(|(count, _)| count.trim().replace(',', "").parse::<u32>().ok());
        count.unwrap_or_else(|| panic!("{said}"))
    };
    // A busy computer asks less in the same time.
    let ask_until = |enough: u32, seconds: &str, which: &[&str]| {
        let mut asked = 0;
        let is_enough = (1..=6).any(|seed| {
            asked += ask(seed, seconds, which);
            enough < asked
        });
        assert!(is_enough, "{asked} requests");
    };
    // Each of these that is as it should be makes a machine.
    let making = ["post_v1_sandboxes", "post_v2_sandboxes"];
    ask_until(20, "8", &making.map(|id| ["--include-operation-id", id]).concat());
    // What would end the sandbox, the server or what others have; what waits, or works for minutes; what
    // may make a hundred machines.
    let left_out = "/(stop|handover|rotate-key|prune|attach|tunnel|pull|push|save|commit|\
                    fumehood/sandboxes/.+/fork)$";
    let mut which = making.map(|id| ["--exclude-operation-id", id]).concat();
    which.extend(["--exclude-method", "DELETE", "--exclude-path-regex", left_out]);
    ask_until(200, "12", &which);
}
