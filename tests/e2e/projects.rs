//! Several people on one server: tokens of projects, and contexts to use them with.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use crate::{
    hood::Hood,
    remote::{curl, serve},
};

/// The status of a request, and its body.
pub(crate) fn ask(token: &str, method: &str, url: &str, body: Option<&str>) -> (u16, String) {
    let bearer = format!("authorization: Bearer {token}");
    let mut args = vec!["-X", method, "-H", &bearer, "-w", "\n%{http_code}", url];
    args.extend(body.iter().flat_map(|body| ["-d", body]));
    let said = curl(&args);
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn a_token_lets_in_for_its_project_until_its_end() {
    let mut hood = Hood::new();
    let (_server, address, administrator) = serve(&hood, &[]);
    let url = format!("http://{address}");
    let web = hood.ok(&["--project", "web", "token", "create"]);
    let other = hood.ok(&["token", "create", "--project", "other", "--expires", "1h"]);
    let reader = hood.ok(&["token", "create", "--project", "web", "--scope", "read"]);
    assert!(web.starts_with("eyJ"), "a JWT: {web}");

    hood.set("FUMEHOOD_SERVER", &url);
    hood.set("FUMEHOOD_TOKEN", &web);
    hood.create(&["--name", "box"]);
    assert_eq!(hood.ok(&["exec", "box", "--", "echo", "mine"]), "mine");
    let list = format!("{url}/v2/sandboxes");
    let (status, mine) = ask(&web, "GET", &list, None);
    assert!(status == 200 && mine.contains("\"box\""), "{mine}");
    let listed: serde_json::Value = serde_json::from_str(&mine).unwrap();
    let session = listed["sandboxes"][0]["currentSessionId"].as_str().unwrap();

    // The same name is another sandbox in another project.
    hood.set("FUMEHOOD_TOKEN", &other);
    assert_eq!(hood.run(&["exec", "box", "--", "true"]).code, Some(242));
    hood.create(&["--name", "box"]);
    hood.ok(&["rm", "-f", "box"]);
    assert_eq!(ask(&other, "GET", &format!("{url}/v2/sandboxes/sessions/{session}"), None).0, 404);
    assert_eq!(ask(&other, "GET", &format!("{list}?project=web"), None).0, 404);
    assert_eq!(ask(&other, "POST", &list, Some(r#"{"projectId":"web"}"#)).0, 404);
    assert_eq!(ask(&web, "GET", &format!("{list}?project=a%20b"), None).0, 400);
    assert_eq!(ask(&web, "GET", &format!("{list}?project=web&projectId=b"), None).0, 404);
    assert_eq!(ask(&administrator, "GET", &format!("{list}?project=a&projectId=b"), None).0, 400);
    assert!(ask(&administrator, "GET", &format!("{list}?project=web"), None).1.contains("\"box\""));
    assert!(
        !ask(&administrator, "GET", &list, None).1.contains("\"box\""),
        "no project is `local`"
    );

    hood.set("FUMEHOOD_TOKEN", &reader);
    assert!(hood.ok(&["ls"]).contains("box"));
    for refused in [&["exec", "box", "--", "true"][..], &["stop", "box"], &["token", "ls"]] {
        let ran = hood.run(refused);
        assert_eq!(ran.code, Some(246), "{refused:?}: {ran:?}");
    }
    assert_eq!(ask(&web, "GET", &format!("{url}/v1/fumehood/tokens"), None).0, 403);

    // Every end is one.
    hood.unset("FUMEHOOD_SERVER");
    hood.unset("FUMEHOOD_TOKEN");
    let tokens: serde_json::Value =
        serde_json::from_str(&hood.ok(&["token", "ls", "--json"])).unwrap();
    let id = tokens[0]["id"].as_str().unwrap();
    assert_eq!((tokens.as_array().unwrap().len(), &tokens[0]["projectId"]), (3, &"web".into()));
    assert!(!tokens.to_string().contains("eyJ"), "{tokens}");
    hood.ok(&["token", "revoke", id]);
    let (status, said) = ask(&web, "GET", &list, None);
    assert!(status == 401 && said.contains("revoked"), "{said}");
    assert_eq!(hood.run(&["token", "revoke", id]).code, Some(242));
    let brief = hood.ok(&["token", "create", "--project", "web", "--expires", "1s"]);
    crate::hood::wait_until("a token ends", || {
        let (status, said) = ask(&brief, "GET", &list, None);
        status == 401 && said.contains("expired")
    });
    assert_eq!(ask(&other, "GET", &list, None).0, 200);
    hood.ok(&["token", "rotate-key"]);
    assert_eq!(ask(&other, "GET", &list, None).0, 401);
    assert_eq!(ask(&administrator, "GET", &list, None).0, 200);

    hood.ok(&["--project", "web", "rm", "-f", "box"]);
    hood.assert_nothing_left();
}

#[test]
fn a_context_is_a_server_with_its_token() {
    let mut hood = Hood::new();
    let (_server, address, _) = serve(&hood, &[]);
    let url = format!("http://{address}");
    let token = hood.state().join("web");
    fs::write(&token, hood.ok(&["token", "create", "--project", "web"])).unwrap();
    let file = token.to_str().unwrap();
    hood.ok(&["context", "add", "lab", "--server", &url, "--token-file", file]);
    let kept = hood.state().join("config/contexts.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&token).unwrap();
    fs::remove_file(&token).unwrap();
    for shown in [hood.ok(&["context", "ls"]), hood.ok(&["context", "ls", "--json"])] {
        assert!(shown.contains(&url) && !shown.contains(text.trim()), "{shown}");
    }

    hood.ok(&["--project", "web", "create", "--name", "here"]);
    assert_eq!(hood.ok(&["--context", "lab", "exec", "here", "--", "echo", "far"]), "far");
    assert_eq!(hood.run(&["exec", "here", "--", "true"]).code, Some(242), "nothing is in use yet");
    hood.ok(&["context", "use", "lab"]);
    assert!(hood.ok(&["ls"]).contains("here"));
    assert!(!hood.ok(&["--context", "local", "ls"]).contains("here"));
    hood.set("FUMEHOOD_CONTEXT", "lab");
    assert_eq!(hood.run(&["--server", &url, "ls"]).code, Some(241));
    hood.unset("FUMEHOOD_CONTEXT");
    hood.ok(&["rm", "-f", "here"]);
    hood.ok(&["context", "rm", "lab"]);
    assert_eq!(hood.run(&["--context", "lab", "ls"]).code, Some(242));
    assert_eq!(hood.run(&["context", "add", "x", "--server", "ftp://x"]).code, Some(241));
    hood.ok(&["ls"]);
    hood.assert_nothing_left();
}

#[test]
fn a_token_of_a_project_opens_nothing_of_the_hosts() {
    let hood = Hood::new();
    let (_server, address, administrator) = serve(&hood, &[]);
    let web = hood.ok(&["token", "create", "--project", "web"]);
    let local = hood.ok(&["token", "create"]);
    // A secret that nobody has stored: who may open what is asked for is refused for that.
    let names = json!({"example.com": [{"credential": {"secret": "NOBODYS"}}]});
    let url = format!("http://{address}/v2/sandboxes");
    for policy in [
        json!({"allow": names, "hostPorts": [5432]}),
        json!({"allow": names, "subnets": {"allow": ["127.0.0.1/32"]}}),
        json!({"allow": names, "subnets": {"allow": ["0.0.0.0/0"]}}),
    ] {
        let body = json!({"networkPolicy": policy}).to_string();
        let (status, said) = ask(&web, "POST", &url, Some(&body));
        assert!(status == 403 && said.contains("--projects-reach-host"), "{body}: {said}");
        for token in [&local, &administrator] {
            let (status, said) = ask(token, "POST", &url, Some(&body));
            assert!(status == 400 && said.contains("NOBODYS"), "{body}: {status} {said}");
        }
    }
    let url = format!("http://{address}/v1/fumehood/images/pull");
    for image in ["localhost:1/x", "127.0.0.1:1/x", "10.0.0.1/x"] {
        let body = format!(r#"{{"image":"{image}"}}"#);
        let (status, said) = ask(&web, "POST", &url, Some(&body));
        assert!(status == 403 && said.contains(image.split('/').next().unwrap()), "{said}");
    }
    hood.assert_nothing_left();
}
