//! Which accelerator works here, found by trying.

use std::{io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::UnixStream};

use crate::{
    BootFailure, BootSpec, MachineId, Platform, Ram, Retry, Root, Shape, boot_until_ready,
};

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

const DEVICE: &str = "/dev/kvm";
const SHAPE: Shape = Shape { vcpus: 1, memory_mib: 256 };

/// Where KVM works a guest is up in a fraction of this.
const ONCE: Retry =
    Retry { attempts: 1, attempt: Duration::from_secs(10), deadline: Duration::from_secs(10) };

/// An answer that was found, and what it was found for.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    host: String,
    state: KvmState,
}

/// Boots the platform's kernel and initramfs under KVM (whatever `platform.accel` says) and waits
/// for a byte on the agent's port. The answer is kept in `cache`, a small file, and asked again
/// when QEMU, the guest kernel or the host kernel change. `scratch` is a folder for the machine
/// that is tried; it is removed.
pub async fn probe_kvm(platform: &Platform, cache: &Path, scratch: &Path) -> KvmState {
    match std::fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return KvmState::NotPermitted;
        }
        Err(_) => return KvmState::Absent,
    }
    let host = host(platform);
    if let Some(state) = kept(cache, &host) {
        return state;
    }
    let state = boot_under_kvm(platform, scratch).await;
    // A folder that is left behind, or an answer that is not kept, costs another trial.
    if let Err(error) = std::fs::remove_dir_all(scratch) {
        tracing::debug!(%error, "the folder of the KVM trial stays");
    }
    if let Err(error) = keep(cache, &Answer { host, state: state.clone() }) {
        tracing::warn!(%error, "what was found out about KVM cannot be kept");
    }
    state
}

async fn boot_under_kvm(platform: &Platform, scratch: &Path) -> KvmState {
    let platform = Platform { accel: Accel::Kvm, ..platform.clone() };
    let spec = |_| BootSpec {
        id: MachineId::random(),
        folder: scratch.to_owned(),
        shape: SHAPE,
        root: Root::Blank,
        ram: Ram::Private,
    };
    let first_byte = async |mut stream: UnixStream| stream.read_u8().await;
    match boot_until_ready(&platform, ONCE, spec, first_byte).await {
        Ok((machine, _)) => {
            machine.kill().await;
            KvmState::Works
        }
        Err(failures) => {
            let why = failures.last().map(why).unwrap_or_default();
            KvmState::OpensButDoesNotBoot { why }
        }
    }
}

fn why(failure: &BootFailure) -> String {
    let mut why = failure.why.clone();
    if let Some(state) = &failure.run_state {
        why.push_str(&format!("; QEMU's state is {state:?}"));
    }
    if failure.console.is_empty() {
        why.push_str("; the guest wrote nothing");
    }
    if let Some(line) = failure.qemu_log.lines().next() {
        why.push_str(&format!("; QEMU says: {line}"));
    }
    why
}

/// What the answer depends on.
fn host(platform: &Platform) -> String {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    format!("{} | {} | {release}", platform.qemu.build(), platform.kernel.digest())
}

fn kept(cache: &Path, host: &str) -> Option<KvmState> {
    let answer: Answer = serde_json::from_slice(&std::fs::read(cache).ok()?).ok()?;
    (answer.host == host).then_some(answer.state)
}

fn keep(cache: &Path, answer: &Answer) -> io::Result<()> {
    if let Some(folder) = cache.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(cache, serde_json::to_vec_pretty(answer)?)
}
