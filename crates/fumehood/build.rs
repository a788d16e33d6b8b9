//! Builds the guest agent, static, and puts it where the binary takes it in.

use std::{env, path::PathBuf, process::Command};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let variable = |name| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let (here, out) = (variable("CARGO_MANIFEST_DIR"), variable("OUT_DIR"));
    let crates = here.parent().expect("it is in crates/");
    for part in ["guest/src", "guest/Cargo.toml", "protocol/src", "protocol/Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", crates.join(part).display());
    }
    println!("cargo:rerun-if-changed={}", crates.join("../Cargo.lock").display());
    // A folder of its own: the one of the outer build is locked by it.
    let target = out.join("agent");
    let status = Command::new(variable("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "guest", "--profile", "agent"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target)
        .current_dir(crates)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the guest agent does not build");
    let built = target.join(TARGET).join("agent/guest");
    std::fs::copy(built, out.join("fumehood-agent")).expect("the agent can be copied");
}
