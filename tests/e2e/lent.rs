//! What passes in the guest's memory, as much does, is what was sent, whatever happens meanwhile.

use std::{fs, process::Stdio};

use sha2::{Digest, Sha256};

use crate::{
    basics::sha256,
    hood::{Hood, wait_until},
};

/// No two of its blocks are alike.
fn content(len: usize) -> Vec<u8> {
    let blocks = (0_u64..).flat_map(|n| Sha256::digest(n.to_le_bytes()));
    blocks.take(len).collect()
}

/// How often a guest has lent its memory.
fn times_lent(hood: &Hood) -> usize {
    let log = fs::read_to_string(hood.state().join("server.log")).unwrap();
    log.matches("the guest lends its memory").count()
}

#[test]
fn what_comes_is_what_was_sent() {
    let mut hood = Hood::new();
    hood.set("FUMEHOOD_LOG", "debug");
    let name = hood.create(&["--memory", "512"]);
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    // Above and below what is written past the guest's memory for files, and of odd lengths.
    for len in [(24 << 20) + 12_345, (3 << 20) + 1] {
        let content = content(len);
        fs::write(file("in"), &content).unwrap();
        hood.ok(&["cp", &file("in"), &format!("{name}:file")]);
        let told = hood.ok(&["exec", &name, "--", "sha256sum", "file"]);
        assert_eq!(told.split(' ').next().unwrap(), sha256(&content));
        // With it in the guest's memory, and without.
        for prepare in ["cat file > /dev/null", "sync; echo 3 > /proc/sys/vm/drop_caches"] {
            hood.ok(&["exec", "--sudo", &name, "--", "sh", "-c", prepare]);
            hood.ok(&["cp", &format!("{name}:file"), &file("out")]);
            assert!(fs::read(file("out")).unwrap() == content, "{len} bytes, {prepare}");
            fs::remove_file(file("out")).unwrap();
        }
        let output = hood.command(["exec", &name, "--", "cat", "file"]).output().unwrap();
        assert!(output.stdout == content, "{} bytes for {len}", output.stdout.len());
        let piped = hood.run_with_input(&["exec", "-i", &name, "--", "sha256sum"], &content);
        assert_eq!(piped.stdout.split(' ').next().unwrap(), sha256(&content));
    }
    assert!(times_lent(&hood) > 0);
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

/// Forked, paused, woken and with another server, a command's output is whole.
#[test]
fn what_happens_meanwhile_changes_nothing() {
    let mut hood = Hood::new();
    hood.set("FUMEHOOD_LOG", "debug");
    hood.create(&["--name", "box", "--timeout", "20m", "--memory", "512"]);
    let script = "for n in $(seq 60); do seq 1 60000; sleep 0.05; done";
    let mut follower = hood.command(["exec", "box", "--", "sh", "-c", script]);
    let follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let follower = std::thread::spawn(move || follower.wait_with_output().unwrap());
    wait_until("much has come", || times_lent(&hood) > 0);
    let child = hood.ok(&["fork", "box"]);
    hood.ok(&["pause", "box"]);
    hood.ok(&["resume", "box"]);
    hood.kill_server();
    hood.ok(&["exec", "box", "--", "true"]);
    let output = follower.join().unwrap();
    let expected: String = (1..=60_000).map(|n| format!("{n}\n")).collect();
    assert!(output.status.success());
    assert!(output.stdout == expected.repeat(60).as_bytes(), "{} bytes", output.stdout.len());
    // The fork has what its parent lent, and its own host.
    let told = hood.ok(&["exec", &child, "--", "sh", "-c", "seq 1 500000 | tee file | sha256sum"]);
    let printed = hood.command(["exec", &child, "--", "cat", "file"]).output().unwrap().stdout;
    assert_eq!(told.split(' ').next().unwrap(), sha256(&printed));
    for name in ["box", &child] {
        hood.ok(&["rm", "-f", name]);
    }
    hood.assert_nothing_left();
}
