//! The arguments as they are given, as snapshots.

use super::*;
use crate::Layer;

fn shown(parts: &Parts<'_>) -> String {
    // One option a line.
    arguments(parts).join("\n").replace("\n-", "\0-").replace('\n', " ").replace('\0', "\n")
}

fn parts<'a>(root: &'a Root, memory: Memory<'a>, begin: Begin<'a>) -> Parts<'a> {
    Parts {
        id: "00000000-0000-4000-8000-000000000000",
        accel: Accel::Tcg,
        shape: Shape { vcpus: 2, memory_mib: 512 },
        modules: Some(Path::new("/k/modules")),
        root,
        memory,
        control: 7,
        agent: 8,
        network: 9,
        begin,
    }
}

fn boot() -> Begin<'static> {
    Begin::Boot {
        kernel: Path::new("/k/vmlinux"),
        initramfs: Path::new("/k/initramfs"),
        tsc_khz: 2_596_126,
    }
}

#[test]
fn a_boot_that_is_to_become_a_template() {
    let memory = Memory::Shared(Path::new("/t/a, b/ram"));
    insta::assert_snapshot!(shown(&parts(&Root::Blank, memory, boot())));
}

#[test]
fn a_clone_with_a_disk() {
    let layers = vec![Layer { path: "/i/debian".into(), format: Format::Raw }];
    let root = Root::Overlay { file: "/m/root.qcow2".into(), layers };
    let memory = Memory::CopyOnWrite(Path::new("/t/ram"));
    insta::assert_snapshot!(shown(&parts(&root, memory, Begin::Restore)));
}

#[test]
fn a_boot_under_kvm() {
    let parts = Parts { accel: Accel::Kvm, ..parts(&Root::Blank, Memory::Private, boot()) };
    insta::assert_snapshot!(shown(&parts));
}

#[test]
fn what_a_path_contains_has_no_meaning() {
    // A quote, a comma and an option's name in a path stay inside it.
    let evil = Path::new("/m/\",readonly=off,x=\"/ram");
    let told = arguments(&parts(&Root::Blank, Memory::CopyOnWrite(evil), Begin::Restore));
    let at = told.iter().position(|word| word == "-object").unwrap();
    let object: Value = serde_json::from_str(&told[at + 1]).unwrap();
    assert_eq!(object["mem-path"], evil.to_str().unwrap());
    assert_eq!(object["readonly"], true);
}

#[test]
fn a_clone_has_the_devices_of_its_template() {
    let devices = |parts: &Parts<'_>| {
        let told = arguments(parts);
        let pairs = told.windows(2).filter(|pair| pair[0] == "-device" || pair[0] == "-machine");
        pairs.map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    let overlay = Root::Overlay { file: "/m/root.qcow2".into(), layers: Vec::new() };
    let template = parts(&Root::Blank, Memory::Shared(Path::new("/t/ram")), boot());
    let clone = parts(&overlay, Memory::CopyOnWrite(Path::new("/t/ram")), Begin::Restore);
    assert_eq!(devices(&template), devices(&clone));
}
