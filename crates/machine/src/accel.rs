//! Which accelerator works here, found by trying.
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Platform;

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accel {
    /// The processor itself.
    Kvm,
    /// QEMU's emulator: slower, works everywhere.
    Tcg,
}

/// What trying KVM showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum KvmState {
    /// The guest kernel booted under KVM.
    Works,
    /// `/dev/kvm` opens, but a guest did not boot.
    OpensButDoesNotBoot { why: String },
    /// `/dev/kvm` is there, this user may not open it.
    NotPermitted,
    /// There is no `/dev/kvm`.
    Absent,
}

/// Boots the platform's kernel and initramfs under KVM (whatever `platform.accel` says) and waits
/// for a byte on the agent's port. The answer is kept in `cache`, a small file, and asked again
/// when QEMU, the guest kernel or the host kernel change.
pub async fn probe_kvm(platform: &Platform, cache: &Path, scratch: &Path) -> KvmState {
    let _ = (platform, cache, scratch);
    todo!()
}
