//! A full disk ends nothing that it does not have to.

use std::{fs::OpenOptions, os::unix::fs::symlink};

use crate::hood::{Hood, wait_until};

/// Neither its own words nor those of what it is made of end a server or keep it from starting.
#[test]
fn a_server_whose_log_takes_nothing_serves() {
    let hood = Hood::new();
    symlink("/dev/full", hood.state().join("server.log")).unwrap();
    assert_eq!(hood.ok(&["run", "--", "echo", "on"]), "on");
    assert_eq!(hood.servers().len(), 1);
    hood.stop_server();

    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut server = hood.command(["serve"]).stderr(full).spawn().unwrap();
    wait_until("it listens", || {
        assert!(server.try_wait().unwrap().is_none(), "it has ended");
        hood.state().join("api.sock").exists()
    });
    assert_eq!(hood.ok(&["run", "--", "echo", "on"]), "on");
    assert!(server.try_wait().unwrap().is_none());
    hood.stop_server();
    server.wait().unwrap();
}
