//! What a new sandbox begins with: runtimes of the default image, repositories and archives.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{hood::Hood, projects::ask, remote::serve};

/// A folder that is served on this host's loopback.
struct Shelf {
    folder: TempDir,
    server: Child,
    port: u16,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split_once("port ").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
        Self { folder, server, port }
    }

    fn url(&self, name: &str) -> String {
        format!("http://host.fumehood.internal:{}/{name}", self.port)
    }

    /// Runs a script in the folder.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(self.folder.path());
        for (name, value) in [("NAME", "x"), ("EMAIL", "x@example.com")] {
            command.env(format!("GIT_AUTHOR_{name}"), value);
            command.env(format!("GIT_COMMITTER_{name}"), value);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// A server, and sandboxes made by what clients send it.
struct Api<'a> {
    hood: &'a Hood,
    url: String,
    token: String,
}

impl Api<'_> {
    fn create(&self, body: &Value) -> (u16, Value) {
        let (status, said) = ask(&self.token, "POST", &self.url, Some(&body.to_string()));
        (status, serde_json::from_str(&said).unwrap())
    }

    /// Makes a sandbox of this body, runs a script in it, and gives what that said.
    #[track_caller]
    fn says(&self, body: &Value, script: &str) -> String {
        let (status, made) = self.create(body);
        assert_eq!(status, 200, "{made}");
        let name = made["sandbox"]["name"].as_str().unwrap();
        let said = self.hood.ok(&["exec", name, "--", "sh", "-c", script]);
        self.hood.ok(&["rm", "-f", name]);
        said
    }
}

#[test]
fn a_sandbox_begins_with_its_source() {
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let api = Api { hood: &hood, url: format!("http://{address}/v3/sandboxes"), token };
    let shelf = Shelf::new();
    let first = shelf.sh(
        "git init -qb trunk work; cd work; echo one >file; git add .; git commit -qm one; git rev-parse HEAD",
    );
    shelf.sh(
        "cd work; echo two >file; git commit -qam two; git tag later; git branch other; cd ..; \
         git clone -q --bare work repo.git; cd repo.git; git update-server-info; \
         cd ../work; tar -czf ../archive.tgz file; tar -cf ../archive.tar file",
    );
    let host = json!({"allow": [], "hostPorts": [shelf.port]});
    let git = |more: Value| {
        let mut source = json!({"type": "git", "url": shelf.url("repo.git")});
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"source": source, "networkPolicy": host, "runtime": "node24"})
    };
    let stands = "pwd; git status -sb; cat file; git remote get-url origin; stat -c %U . file";
    let at = |branch: &str, content: &str| {
        let url = shelf.url("repo.git");
        format!("/vercel/sandbox\n## {branch}\n{content}\n{url}\nfumehood\nfumehood")
    };
    assert_eq!(api.says(&git(json!({})), stands), at("trunk...origin/trunk", "two"));
    assert_eq!(
        api.says(&git(json!({"revision": "other"})), stands),
        at("other...origin/other", "two")
    );
    assert_eq!(api.says(&git(json!({"revision": first})), stands), at("HEAD (no branch)", "one"));
    assert_eq!(api.says(&git(json!({"revision": "later"})), stands), at("HEAD (no branch)", "two"));
    for archive in ["archive.tgz", "archive.tar"] {
        let source = json!({"type": "tarball", "url": shelf.url(archive)});
        let body = json!({"source": source, "networkPolicy": host});
        assert_eq!(api.says(&body, "cat file; pwd"), "two\n/home/fumehood");
    }

    // What cannot be fetched leaves nothing, and says why.
    let absent = |path: &str| json!({"type": "tarball", "url": shelf.url(path)});
    for (body, expected) in [
        (git(json!({"revision": "nowhere"})), "nowhere"),
        (json!({"source": absent("absent"), "networkPolicy": host}), "404"),
        (json!({"source": absent("archive.tar")}), "could not be fetched"),
    ] {
        let (status, said) = api.create(&body);
        assert_eq!((status, &said["error"]["code"]), (400, &json!("source_failed")), "{said}");
        assert!(said["error"]["message"].as_str().unwrap().contains(expected), "{said}");
    }
    assert!(Path::new(&hood.state().join("token")).exists());
    assert_eq!(hood.ok(&["ls", "--all", "--json"]), "[]");
    hood.assert_nothing_left();
}

#[test]
fn runtimes_have_their_names() {
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let api = Api { hood: &hood, url: format!("http://{address}/v2/sandboxes"), token };
    let script = "pwd; touch here; node --version | cut -d. -f1; npm config get prefix; \
        npm root -g | xargs test -w && sudo node --version | cut -d. -f1; python --version; pip --version | cut -c1-3";
    for (runtime, node) in [("node22", "22"), ("node24", "24"), ("node26", "26")] {
        let said = api.says(&json!({"runtime": runtime}), script);
        let expected = format!(
            "/vercel/sandbox\nv{node}\n/vercel/runtimes/{runtime}\nv{node}\nPython 3.13.5\npip"
        );
        assert_eq!(said, expected);
    }
    let own = "python -c 'import sys; print(sys.prefix)'; python -m pip config debug >/dev/null && \
        test -w /vercel/runtimes/python3.13/lib/python3.13/site-packages && echo writable";
    assert_eq!(
        api.says(&json!({"runtime": "python3.13"}), own),
        "/vercel/runtimes/python3.13\nwritable"
    );
    let (status, said) = api.create(&json!({"runtime": "node18"}));
    assert!(status == 400 && said.to_string().contains("node18"), "{said}");
    hood.assert_nothing_left();
    drop(fs::metadata(hood.state()));
}
