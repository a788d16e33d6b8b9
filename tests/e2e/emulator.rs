//! The processor that guests are given: what it makes of an instruction is what this computer's own does.

use std::process::Command;

use crate::{hood::Hood, program::compile};

/// Of all instructions these, since our own QEMU does them otherwise than QEMU.
#[test]
fn strings_are_moved_and_stored_as_by_this_processor() {
    let told = as_by_this_processor("strings", &[]);
    assert_eq!(told.lines().count(), 3100);
}

/// Our own QEMU keeps more of the page tables at a switch than QEMU does.
#[test]
fn processes_that_take_turns_find_their_own_code_and_data() {
    let told = as_by_this_processor("spaces", &[]);
    assert_eq!(told, "0\n".repeat(6));
}

/// Our own QEMU remembers more of where code is, and forgets it for no other page.
#[test]
fn a_process_finds_the_code_that_it_has_mapped_last() {
    let told = as_by_this_processor("pages", &[]);
    assert_eq!(told, "0 calls of 100000 were of other code\n");
}

/// It does some by this computer's own instructions, and none of 256 bits as a whole.
#[test]
fn vectors_are_what_this_processor_makes_of_them() {
    let features = [
        ("ssse3", is_x86_feature_detected!("ssse3")),
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("sha", is_x86_feature_detected!("sha")),
        ("avx2", is_x86_feature_detected!("avx2")),
    ];
    let here: Vec<&str> = features.iter().filter(|it| it.1).map(|it| it.0).collect();
    assert!(
        here.contains(&"avx2"),
        "this computer's processor cannot show what is right: {here:?}"
    );
    let told = as_by_this_processor("vectors", &here);
    assert!(told.lines().count() >= 40 * 40, "{told}");
}

/// What a program says, here and in a guest.
fn as_by_this_processor(name: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(&folder.path().join(name), &format!("emulator/{name}.rs"));
    let host = Command::new(&program).args(arguments).output().unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stderr));
    let host = String::from_utf8(host.stdout).unwrap();

    let hood = Hood::new();
    let sandbox = hood.create(&[]);
    hood.ok(&["cp", program.to_str().unwrap(), &format!("{sandbox}:/tmp/{name}")]);
    let there = format!("/tmp/{name}");
    let ran = hood.run(&[&["exec", &sandbox, "--", &there], arguments].concat());
    for (guest, host) in ran.stdout.lines().zip(host.lines()) {
        assert_eq!(guest, host, "left: in a guest, right: by this computer");
    }
    assert_eq!((ran.stdout.as_str(), ran.code), (host.as_str(), Some(0)), "{}", ran.stderr);
    hood.ok(&["rm", "-f", &sandbox]);
    hood.assert_nothing_left();
    host
}
