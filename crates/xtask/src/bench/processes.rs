//! The processes of a run: found by its folder, looked at, ended.
#![expect(clippy::disallowed_methods, reason = "it waits for other programs")]

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Passes over all processes: each may find what the one before made its parent start.
const PASSES: usize = 200;

/// What a process of a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Machine,
    Gateway,
    Server,
}

/// Those of this folder and kind.
pub(crate) fn of(folder: &Path, kind: Kind) -> Vec<u32> {
    pids().filter(|pid| is_of(*pid, folder) && kind_of(*pid) == Some(kind)).collect()
}

fn kind_of(pid: u32) -> Option<Kind> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0);
    let program = words.next()?;
    match words.next()? {
        b"gateway" => Some(Kind::Gateway),
        b"serve" => Some(Kind::Server),
        _ if contains(program, b"qemu-system-") => Some(Kind::Machine),
        _ => None,
    }
}

/// Ends all that have a word of this folder among their arguments or in their environment, and waits until they are gone.
pub(crate) fn end_all(folder: &Path) {
    for _ in 0..PASSES {
        let ended = pids().filter(|pid| end(*pid, folder)).count();
        if ended == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Says whether there was one to end. It is held before it is looked at: what is said of it is said of the one that is ended.
fn end(pid: u32, folder: &Path) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(held) = pidfd_open(raw, PidfdFlags::empty()) else { return false };
    is_of(pid, folder) && pidfd_send_signal(held, Signal::KILL).is_ok()
}

fn is_of(pid: u32, folder: &Path) -> bool {
    let folder = format!("{}/", folder.display());
    let is_told = |name: &str| {
        let told = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        contains(&told, folder.as_bytes())
    };
    pid != std::process::id() && (is_told("cmdline") || is_told("environ"))
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Nanoseconds of processor time that a process has used.
pub(crate) fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(sum)
}

/// MiB of memory that a process shares with no other.
pub(crate) fn private_mebibytes(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u32>().ok());
        number.with_context(|| format!("{name} is in /proc/PID/smaps_rollup"))
    };
    Ok(f64::from(kib("Private_Dirty:")? + kib("Private_Clean:")?) / 1024.0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn those_of_a_folder_are_ended_and_no_others() {
        let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let start = |folder: &Path| {
            let mut command = Command::new("sleep");
            command.arg("600").env("FOLDER", folder.join("x")).spawn().unwrap()
        };
        let (mut one, mut other) = (start(ours.path()), start(others.path()));
        assert!(cpu_nanoseconds(one.id()).unwrap() > 0);
        // The environment is the new program's once it has begun.
        while !is_of(one.id(), ours.path()) || !is_of(other.id(), others.path()) {
            thread::yield_now();
        }
        // Until it is waited for it is there, with nothing to say of itself.
        end_all(ours.path());
        assert!(!one.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        assert!(private_mebibytes(other.id()).unwrap() < 10.0);
        end_all(others.path());
        assert!(!other.wait().unwrap().success());
    }
}
