//! The processor that guests are given: what it makes of an instruction is what this computer's own does.

use std::process::Command;

use crate::{hood::Hood, program::compile};

/// Of all instructions these, since our own QEMU does them otherwise than QEMU.
#[test]
fn strings_are_moved_and_stored_as_by_this_processor() {
    let told = as_by_this_processor("strings");
    assert_eq!(told.lines().count(), 3100);
}

/// Our own QEMU keeps more of the page tables at a switch than QEMU does.
#[test]
fn processes_that_take_turns_find_their_own_code_and_data() {
    let told = as_by_this_processor("spaces");
    assert_eq!(told, "0\n".repeat(6));
}

/// What a program says, here and in a guest.
fn as_by_this_processor(name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(&folder.path().join(name), &format!("emulator/{name}.rs"));
    let host = Command::new(&program).output().unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stderr));
    let host = String::from_utf8(host.stdout).unwrap();

    let hood = Hood::new();
    let sandbox = hood.create(&[]);
    hood.ok(&["cp", program.to_str().unwrap(), &format!("{sandbox}:/tmp/{name}")]);
    let ran = hood.run(&["exec", &sandbox, "--", &format!("/tmp/{name}")]);
    for (guest, host) in ran.stdout.lines().zip(host.lines()) {
        assert_eq!(guest, host, "left: in a guest, right: by this computer");
    }
    assert_eq!((ran.stdout.as_str(), ran.code), (host.as_str(), Some(0)), "{}", ran.stderr);
    hood.ok(&["rm", "-f", &sandbox]);
    hood.assert_nothing_left();
    host
}
