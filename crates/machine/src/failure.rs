//! A boot that did not come to be: everything known about it, and trying again.
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::{BootSpec, Exit, Machine, MachineId, Platform, RunState};

/// How far a boot came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Folder, record, confinement, starting the process.
    Spawn,
    /// The process ran and its control socket did not answer.
    Control,
    /// The saved state was not taken.
    Restore,
    /// The guest ran and the agent did not get ready.
    Guest,
}

/// All that is known about a machine that did not boot.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("the machine did not boot ({step:?} after {elapsed_ms} ms): {why}")]
pub struct BootFailure {
    pub id: MachineId,
    pub folder: PathBuf,
    pub step: Step,
    pub why: String,
    pub elapsed_ms: u64,
    pub attempt: u32,
    pub exit: Option<Exit>,
    pub run_state: Option<RunState>,
    /// The last of what the guest wrote to its console.
    pub console: String,
    /// The last of what QEMU wrote to its log.
    pub qemu_log: String,
    pub arguments: Vec<String>,
}

/// How often a boot is tried, and for how long in all.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub attempts: u32,
    /// For one attempt.
    pub attempt: Duration,
    /// For all of them together.
    pub deadline: Duration,
}

/// Boots until `ready` is content with the agent's stream, or gives back every failure.
/// `spec` is asked anew for each attempt (a failed one's folder is emptied by the caller).
pub async fn boot_until_ready<T, E: std::error::Error>(
    platform: &Platform,
    retry: Retry,
    mut spec: impl FnMut(u32) -> BootSpec,
    mut ready: impl AsyncFnMut(UnixStream) -> Result<T, E>,
) -> Result<(Machine, T), Vec<BootFailure>> {
    let _ = (platform, retry, spec(0));
    let _ = &mut ready;
    todo!()
}

/// Writes a failure as JSON into `folder` and gives the file's path.
pub fn record_failure(folder: &Path, failure: &BootFailure) -> io::Result<PathBuf> {
    let _ = (folder, failure);
    todo!()
}
