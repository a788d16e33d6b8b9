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
        format!("/vercel/sandbox\n## {branch}\n{content}\n{url}\nvercel-sandbox\nvercel-sandbox")
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
    let script = "pwd; id -un; touch here; stat -c %U . here; node --version | cut -d. -f1; npm config get prefix; \
        npm root -g | xargs test -w && sudo node --version | cut -d. -f1; python --version; pip --version | cut -c1-3";
    for (runtime, node) in [("node22", "22"), ("node24", "24"), ("node26", "26")] {
        let said = api.says(&json!({"runtime": runtime}), script);
        let expected = format!(
            "/vercel/sandbox\n{user}\n{user}\n{user}\nv{node}\n/vercel/runtimes/{runtime}\nv{node}\nPython 3.13.5\npip",
            user = "vercel-sandbox"
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

/// Makes a package of each kind, installs them without sudo, and runs what they bring.
const INSTALLS: &str = r#"mkdir /tmp/tool; cd /tmp/tool
printf '#!/usr/bin/env node\nconsole.log("from npm")' > run.js; chmod +x run.js
echo '{"name": "tool", "version": "1.0.0", "bin": {"of-npm": "run.js"}}' > package.json
npm install --global --no-audit --no-fund --silent $(npm pack --silent); of-npm
python - <<'END'
import zipfile
named = lambda name: f"tool-1.0.dist-info/{name}"
with zipfile.ZipFile("tool-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("of_pip.py", "def main(): print('from pip')")
    wheel.writestr(named("METADATA"), "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    wheel.writestr(named("WHEEL"), "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(named("entry_points.txt"), "[console_scripts]\nof-pip = of_pip:main\n")
    wheel.writestr(named("RECORD"), "")
END
pip install --quiet --no-index ./tool-1.0-py3-none-any.whl; of-pip
stat -c %G $(which of-npm) $(which of-pip)"#;

/// Both of the default image's users are as users are, and the runtimes are theirs.
#[test]
fn a_runtime_has_the_user_that_scripts_know() {
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let url = format!("http://{address}/v2/sandboxes");
    let api = Api { hood: &hood, url, token };
    for (name, body, user) in [
        ("hosted", json!({"name": "hosted", "runtime": "node26"}), "vercel-sandbox"),
        ("plain", json!({"name": "plain"}), "fumehood"),
    ] {
        let (status, made) = api.create(&body);
        assert_eq!(status, 200, "{made}");
        let sh = |script: &str| hood.ok(&["exec", name, "--", "bash", "-euc", script]);
        let who = "id -un; id -gn; echo $USER $LOGNAME $HOME; stat -c %U ~; sudo -n id -un";
        let expected = format!("{user}\n{user}\n{user} {user} /home/{user}\n{user}\nroot");
        assert_eq!(sh(who), expected);
        if user == "vercel-sandbox" {
            assert_eq!(sh(INSTALLS), "from npm\nfrom pip\nvercel-sandbox\nvercel-sandbox");
        }
        let places = "/vercel/runtimes/node24/{bin,lib/node_modules}/mine /vercel/runtimes/python3.13/bin/mine";
        assert_eq!(sh(&format!("touch {places}; stat -c %G {places} | uniq")), "vercel-sandbox");
        assert_eq!(sh("cd /vercel/sandbox; git init -q; git rev-parse --git-dir"), ".git");
        let others = "sudo chown vercel-sandbox:vercel-sandbox /opt; stat -c %U:%G /opt; \
                      echo ~vercel-sandbox; sudo su vercel-sandbox -c whoami";
        let expected = "vercel-sandbox:vercel-sandbox\n/home/vercel-sandbox\nvercel-sandbox";
        assert_eq!(sh(others), expected);
    }

    // Who starts from its disk is the same user.
    let snapshot = hood.ok(&["snapshot", "hosted"]);
    let (status, made) = api.create(&json!({
        "name": "again",
        "source": {"type": "snapshot", "snapshotId": snapshot},
    }));
    assert_eq!(status, 200, "{made}");
    // With its runtime, unless another is asked for.
    let other =
        json!({"runtime": "node22", "source": {"type": "snapshot", "snapshotId": snapshot}});
    assert!(api.says(&other, "node --version").starts_with("v22."));
    for name in ["hosted", "again"] {
        let said = hood.ok(&[
            "exec",
            name,
            "--",
            "sh",
            "-c",
            "id -un; pwd; of-npm; node --version | cut -d. -f1",
        ]);
        assert_eq!(said, "vercel-sandbox\n/vercel/sandbox\nfrom npm\nv26");
    }
    hood.ok(&["rm", "-f", "hosted", "plain", "again"]);
    hood.ok(&["snapshot", "rm", &snapshot]);
    hood.assert_nothing_left();
}
