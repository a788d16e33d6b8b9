//! `run`: streams, exit codes, stdin, what a newcomer tries first.

use crate::hood::{Hood, PATIENCE, entries};

#[test]
fn a_command_runs_under_the_guests_kernel() {
    let hood = Hood::new();
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let guest = hood.ok(&["run", "--", "uname", "-r"]);
    assert_ne!(guest.trim(), host.trim());
    assert!(guest.contains("cloud-amd64"), "{guest}");
    hood.assert_nothing_left();
}

#[test]
fn streams_stay_apart_and_the_exit_code_passes_through() {
    let hood = Hood::new();
    let ran = hood.run(&["run", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "out\n"), "{ran:?}");
    assert_eq!(ran.stderr, "err\n");
    let ran = hood.run(&["run", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(ran.code, Some(128 + 15), "{ran:?}");
}

#[test]
fn stdin_passes_through() {
    let hood = Hood::new();
    let ran = hood.run_with_input(&["run", "-i", "--", "cat"], b"hi\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "hi\n"), "{ran:?}");
    // Without -i the command reads end-of-file, and our own stdin is left alone.
    let ran = hood.run_with_input(&["run", "--", "cat"], b"hi\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    let bytes: Vec<u8> =
        (0..2_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
    let ran = hood.run_with_input(&["run", "-i", "--", "sha256sum"], &bytes);
    assert!(ran.stdout.starts_with(&sha256(&bytes)), "{ran:?}");
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_default_image_has_what_people_expect() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    assert!(hood.ok(&["exec", &name, "--", "node", "-v"]).starts_with("v24."));
    assert!(hood.ok(&["exec", &name, "--", "npm", "--version"]).starts_with(char::is_numeric));
    assert_eq!(hood.ok(&["exec", &name, "--", "python3", "-c", "print(1)"]), "1");
    assert!(hood.ok(&["exec", &name, "--", "cat", "/etc/debian_version"]).starts_with("13"));
    for tool in ["bash", "find", "tar", "git", "curl", "sudo", "ps", "modprobe"] {
        hood.ok(&[
            "exec",
            &name,
            "--",
            "sh",
            "-c",
            &format!("command -v {tool} || test -x /usr/sbin/{tool}"),
        ]);
    }
    assert_eq!(hood.ok(&["exec", &name, "--", "id"]).split(' ').next(), Some("uid=1000(fumehood)"));
    assert_eq!(hood.ok(&["exec", &name, "--", "pwd"]), "/home/fumehood");
    assert_eq!(hood.ok(&["exec", &name, "--", "sh", "-c", "echo $HOME"]), "/home/fumehood");
    assert_eq!(hood.ok(&["exec", &name, "--", "sudo", "-n", "id", "-u"]), "0");
    assert_eq!(hood.ok(&["exec", "--sudo", &name, "--", "id", "-u"]), "0");
    assert_eq!(hood.ok(&["exec", "--sudo", &name, "--", "modprobe", "overlay"]), "");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn what_cannot_run_is_said_before_anything_starts() {
    let hood = Hood::new();
    let ran = hood.run(&["run", "--", "no-such-program"]);
    assert_eq!(ran.code, Some(127), "{ran:?}");
    assert!(ran.stderr.contains("executable file not found in $PATH: no-such-program"), "{ran:?}");
    let ran = hood.run(&["run", "--", "/etc/passwd"]);
    assert_eq!(ran.code, Some(126), "{ran:?}");
    let ran = hood.run(&["run", "-w", "/no/such/folder", "--", "true"]);
    assert!(
        ran.code.is_some_and(|code| code > 240) && ran.stderr.contains("/no/such/folder"),
        "{ran:?}"
    );
    let ran = hood.run(&["create", "--user", "nobody-here"]);
    assert_eq!(ran.code, Some(246), "{ran:?}");
    assert!(ran.stderr.contains("no user nobody-here"), "{ran:?}");
    assert!(entries(&hood.state().join("failures")).is_empty(), "no fault of the machine's");
    let ran = hood.run(&["run", "--pull", "never", "--image", "no-such-image", "--", "true"]);
    assert_eq!(ran.code, Some(242), "{ran:?}");
    let ran = hood.run(&["run", "--memory", "1000000", "--", "true"]);
    assert!(ran.code.is_some_and(|code| code > 240), "{ran:?}");
    let ran = hood.run(&["run", "--memory", "262144", "--", "true"]);
    assert_eq!(ran.code, Some(243), "more than this machine can bear: {ran:?}");
    let ran = hood.run(&["exec", "nobody", "--", "true"]);
    assert_eq!(ran.code, Some(242), "{ran:?}");
    hood.assert_nothing_left();
}

#[test]
fn environment_and_folder_reach_the_command() {
    let mut hood = Hood::new();
    hood.set("FROM_OUTSIDE", "taken over");
    let ran = hood.run(&[
        "run",
        "-e",
        "A=1 2",
        "-e",
        "FROM_OUTSIDE",
        "-w",
        "/tmp",
        "--",
        "sh",
        "-c",
        "echo \"$A\"; echo \"$FROM_OUTSIDE\"; pwd; env | grep -c FUMEHOOD_STATE || true",
    ]);
    assert_eq!(ran.stdout, "1 2\ntaken over\n/tmp\n0\n", "{ran:?}");
}

#[test]
fn a_guest_that_is_denied_all_reaches_nothing() {
    let hood = Hood::new();
    let script = "getent hosts example.com; curl -sS -m 9 http://203.0.113.9/; echo $?; \
        curl -sS -m 9 https://host.fumehood.internal/; echo $?";
    let ran = hood.run(&["run", "--deny-all", "--", "sh", "-c", script]);
    assert_eq!(ran.stdout, "7\n6\n", "refused, and no such name: {ran:?}");
}

#[test]
fn no_guest_reaches_what_is_private() {
    let hood = Hood::new();
    let script = "for to in 127.0.0.1 169.254.169.254 10.0.0.1 192.168.1.1 192.0.2.1 [fd00::1]; do \
        curl -sS -m 5 http://$to/; echo $?; done";
    let ran = hood.run(&["run", "--", "sh", "-c", script]);
    assert_eq!(ran.stdout, "7\n".repeat(6), "{ran:?}");
}

#[test]
fn a_flood_of_output_arrives_whole() {
    let hood = Hood::new();
    let ran = hood.run(&["run", "--", "seq", "1", "300000"]);
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(
        ran.stdout == expected,
        "{} of {} bytes, {:?}",
        ran.stdout.len(),
        expected.len(),
        PATIENCE
    );
}
