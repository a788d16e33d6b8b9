//! What changes a key and what does not.

use std::collections::HashSet;

use super::*;
use crate::{Artifact, Qemu};

fn platform() -> Platform {
    let artifact = |name: &str| Artifact::known(format!("/a/{name}").into(), name.to_owned());
    Platform {
        qemu: Qemu::pretended("10.0.2 one"),
        accel: Accel::Tcg,
        kernel: artifact("kernel"),
        initramfs: artifact("initramfs"),
        modules: Some(artifact("modules")),
    }
}

const SHAPE: Shape = Shape { vcpus: 1, memory_mib: 512 };

#[test]
fn every_part_counts() {
    let other = || Artifact::known("/a/kernel".into(), "other".to_owned());
    let changed = [
        platform(),
        Platform { qemu: Qemu::pretended("10.0.2 two"), ..platform() },
        Platform { accel: Accel::Kvm, ..platform() },
        Platform { kernel: other(), ..platform() },
        Platform { initramfs: other(), ..platform() },
        Platform { modules: Some(other()), ..platform() },
        Platform { modules: None, ..platform() },
    ];
    let mut keys: Vec<Key> = changed.iter().map(|one| Key::of(one, SHAPE, None)).collect();
    keys.push(Key::of(&platform(), Shape { vcpus: 2, ..SHAPE }, None));
    keys.push(Key::of(&platform(), Shape { memory_mib: 1024, ..SHAPE }, None));
    keys.push(Key::of(&platform(), SHAPE, Some("image")));
    keys.push(Key::of(&platform(), SHAPE, Some("another image")));
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    assert!(keys.iter().all(|key| key.as_str().len() == 64));
}

#[test]
fn a_paused_machine_has_its_kernel_with_it() {
    let other = || Artifact::known("/a/kernel".into(), "other".to_owned());
    let of = |platform: &Platform| Key::of_paused(platform, SHAPE);
    let same =
        [Platform { kernel: other(), ..platform() }, Platform { initramfs: other(), ..platform() }];
    let changed = [
        Platform { qemu: Qemu::pretended("10.0.2 two"), ..platform() },
        Platform { accel: Accel::Kvm, ..platform() },
        Platform { modules: Some(other()), ..platform() },
        Platform { modules: None, ..platform() },
    ];
    assert!(same.iter().all(|one| of(one) == of(&platform())));
    assert!(changed.iter().all(|one| of(one) != of(&platform())));
    assert_ne!(of(&platform()), Key::of_paused(&platform(), Shape { vcpus: 2, ..SHAPE }));
}

#[test]
fn where_a_file_lies_does_not_count() {
    let moved = Artifact::known("/elsewhere".into(), "kernel".to_owned());
    let moved = Platform { kernel: moved, ..platform() };
    assert_eq!(Key::of(&platform(), SHAPE, None), Key::of(&moved, SHAPE, None));
}
