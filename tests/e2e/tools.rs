//! What is around the sandboxes: doctor, images, completions, man pages, the server's log.

use std::{fs, process::Command};

use serde_json::Value;

use crate::hood::{Hood, entries};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn doctor_says_what_this_computer_can_do() {
    let hood = Hood::new();
    let told = json(&hood.ok(&["doctor", "--json"]));
    let findings = told["findings"].as_array().unwrap();
    for name in ["qemu", "kernel", "kvm", "template", "image", "room", "limits", "walls"] {
        let finding = findings.iter().find(|finding| finding["name"] == name);
        let finding = finding.unwrap_or_else(|| panic!("{name} in {told}"));
        assert_ne!(finding["health"], "bad", "{finding}");
        assert!(finding["health"] == "good" || finding["advice"].is_string(), "{finding}");
    }
    assert!(hood.ok(&["doctor"]).lines().any(|line| line.starts_with("ok       qemu")));
}

/// Nothing but QEMU is there: everything says that the set-up comes first.
#[test]
fn a_computer_that_is_not_set_up() {
    let mut hood = Hood::new();
    let cache = tempfile::tempdir().unwrap();
    hood.set("FUMEHOOD_CACHE_DIR", cache.path().to_str().unwrap());
    let ran = hood.run(&["doctor"]);
    assert_eq!(ran.code, Some(241), "{ran:?}");
    assert!(ran.stdout.contains("bad      kernel") && ran.stdout.contains("fumehood setup"));
    let ran = hood.run(&["run", "--", "true"]);
    assert_eq!(ran.code, Some(241), "{ran:?}");
    assert!(ran.stderr.contains("fumehood setup") && ran.stdout.is_empty(), "{ran:?}");
    // Without QEMU too, and then that is what is said.
    hood.set("PATH", "/nonexistent");
    let ran = hood.run(&["doctor"]);
    assert_eq!(ran.code, Some(241), "{ran:?}");
    assert!(ran.stdout.contains("bad      qemu") && !ran.stdout.contains("kernel"), "{ran:?}");
}

/// One that is named is used, or nothing is.
#[test]
fn an_emulator_is_named() {
    let mut hood = Hood::new();
    hood.set("FUMEHOOD_QEMU", "/nonexistent/qemu");
    let ran = hood.run(&["doctor"]);
    assert_eq!(ran.code, Some(241), "{ran:?}");
    assert!(ran.stdout.contains("/nonexistent/qemu was not found"), "{ran:?}");
    hood.set("FUMEHOOD_QEMU", "qemu");
    let ran = hood.run(&["doctor"]);
    assert_eq!(ran.code, Some(241), "{ran:?}");
    assert!(ran.stderr.contains("FUMEHOOD_QEMU is no absolute path: qemu"), "{ran:?}");
}

#[test]
fn images_and_versions_are_told_to_scripts() {
    let hood = Hood::new();
    let images = json(&hood.ok(&["image", "ls", "--json"]));
    // Other tests keep images on the same shelf, and other versions their default one.
    let is_default = |image: &Value| image["name"] == "default";
    assert!(images.as_array().unwrap().iter().any(is_default), "{images}");
    let table = hood.ok(&["image", "ls"]);
    assert!(table.lines().skip(1).any(|line| line.starts_with("default ")), "{table}");
    let version = json(&hood.ok(&["version", "--json"]));
    let told = format!("fumehood {}", version["version"].as_str().unwrap());
    assert_eq!(hood.ok(&["version"]), told);
    assert_eq!(hood.ok(&["--version"]), told);
}

#[test]
fn completions_complete_and_every_command_has_a_page() {
    let hood = Hood::new();
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("fumehood.bash");
    fs::write(&script, hood.ok(&["completions", "bash"])).unwrap();
    let complete = r#". "$1"; COMP_WORDS=(fumehood log); COMP_CWORD=1
        _fumehood fumehood log fumehood; printf '%s\n' "${COMPREPLY[@]}""#;
    let bash = Command::new("bash").args(["-c", complete, "bash"]).arg(&script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout), "logs\n", "{bash:?}");
    for shell in ["zsh", "fish"] {
        assert!(hood.ok(&["completions", shell]).contains("logs"));
    }

    let folder = place.path().join("man");
    hood.ok(&["man", folder.to_str().unwrap()]);
    let pages: Vec<_> = entries(&folder)
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let help = hood.ok(&["--help"]);
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 15, "{help}");
    for command in commands {
        assert!(pages.contains(&format!("fumehood-{command}.1")), "{command} in {pages:?}");
    }
    let page = fs::read_to_string(folder.join("fumehood-run.1")).unwrap();
    assert!(page.contains("241") && page.contains("wrong usage"), "exit codes are on it: {page}");
}

/// The id in a reply leads to its lines in the log.
#[test]
fn requests_are_known_by_an_id() {
    let hood = Hood::new();
    hood.ok(&["ls"]);
    let socket = hood.state().join("api.sock");
    let reply = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-D", "-", "--unix-socket"])
        .arg(&socket)
        .arg("http://localhost/v2/sandboxes/nobody")
        .output()
        .unwrap();
    let head = String::from_utf8(reply.stdout).unwrap();
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    let log = fs::read_to_string(hood.state().join("server.log")).unwrap();
    let line = log.lines().find(|line| line.contains(id)).unwrap();
    assert!(line.contains("/v2/sandboxes/nobody") && line.contains("status=404"), "{line}");
}
