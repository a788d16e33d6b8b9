//! A boot that did not come to be: everything known about it, and trying again.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::UnixStream,
    time::{Instant, timeout_at},
};

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

/// Boots until `ready` is content with the agent's stream, or gives back every failure. `spec` is
/// asked anew for each attempt; what a failed one left in its memory's file is removed.
pub async fn boot_until_ready<T, E: std::error::Error>(
    platform: &Platform,
    retry: Retry,
    mut spec: impl FnMut(u32) -> BootSpec,
    mut ready: impl AsyncFnMut(UnixStream) -> Result<T, E>,
) -> Result<(Machine, T), Vec<BootFailure>> {
    let deadline = Instant::now() + retry.deadline;
    let mut failures = Vec::new();
    for attempt in 1..=retry.attempts.max(1) {
        let until = deadline.min(Instant::now() + retry.attempt);
        match boot_once(platform, spec(attempt), until, &mut ready).await {
            Ok(booted) => return Ok(booted),
            Err(mut failure) => {
                failure.attempt = attempt;
                tracing::warn!(%failure, attempt, "a boot failed");
                failures.push(*failure);
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(failures)
}

async fn boot_once<T, E: std::error::Error>(
    platform: &Platform,
    spec: BootSpec,
    until: Instant,
    ready: &mut impl AsyncFnMut(UnixStream) -> Result<T, E>,
) -> Result<(Machine, T), Box<BootFailure>> {
    let machine = Machine::boot(platform, spec).await?;
    let leash = machine.leash();
    match agent_ready(&machine, until, ready).await {
        Ok(told) => {
            leash.release();
            Ok((machine, told))
        }
        Err(why) => Err(machine.fail(Step::Guest, why).await),
    }
}

async fn agent_ready<T, E: std::error::Error>(
    machine: &Machine,
    until: Instant,
    ready: &mut impl AsyncFnMut(UnixStream) -> Result<T, E>,
) -> Result<T, String> {
    let (mut events, process) = (machine.events(), machine.process());
    let told = async {
        let stream = machine.agent().await.map_err(|error| format!("no agent port: {error}"))?;
        ready(stream).await.map_err(|error| chain(&error))
    };
    tokio::select! {
        told = timeout_at(until, told) => {
            told.unwrap_or_else(|_| Err("the agent was not ready in time".to_owned()))
        }
        end = crate::machine::guest_end(&mut events) => Err(format!("the guest ended: {end:?}")),
        _ = process.exited() => Err("QEMU exited".to_owned()),
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// How many failures are kept.
const KEPT: usize = 100;

/// Writes a failure as JSON into `folder` and gives the file's path. The newest hundred are kept.
pub fn record_failure(folder: &Path, failure: &BootFailure) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    make_room(folder)?;
    let path = folder.join(format!("{}-{}.json", failure.id, failure.attempt));
    std::fs::write(&path, serde_json::to_vec_pretty(failure)?)?;
    Ok(path)
}

fn make_room(folder: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort();
    let over = (kept.len() + 1).saturating_sub(KEPT);
    kept.iter().take(over).try_for_each(|(_, path)| std::fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_failures_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let failure = || BootFailure {
            id: MachineId::random(),
            folder: "/f".into(),
            step: Step::Spawn,
            why: "w".to_owned(),
            elapsed_ms: 0,
            attempt: 1,
            exit: None,
            run_state: None,
            console: String::new(),
            qemu_log: String::new(),
            arguments: Vec::new(),
        };
        let paths: Vec<_> =
            (0..KEPT + 20).map(|_| record_failure(folder.path(), &failure()).unwrap()).collect();
        let there = paths.iter().filter(|path| path.exists()).count();
        assert_eq!(there, KEPT);
        assert!(paths[KEPT + 19].exists());
    }
}
