//! Which process is which machine: pid and start time and uuid, never the pid alone.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{arguments::NAME, process::Process};

/// A machine's own name, the `-uuid` of its QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MachineId([u8; 16]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a uuid")]
pub struct InvalidMachineId {
    pub text: String,
}

impl MachineId {
    /// A new random one (a version 4 uuid).
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the kernel has random bytes");
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for MachineId {
    type Err = InvalidMachineId;

    fn from_str(text: &str) -> Result<Self, InvalidMachineId> {
        let invalid = || InvalidMachineId { text: text.to_owned() };
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let mut bytes = [0; 16];
        if digits.len() != 32 {
            return Err(invalid());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (high, low) = (digit(pair[0]), digit(pair[1]));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(invalid)?;
        }
        let id = Self(bytes);
        // Only the one spelling, as it is compared with what a process was started with.
        if id.to_string() == text { Ok(id) } else { Err(invalid()) }
    }
}

impl From<MachineId> for String {
    fn from(id: MachineId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for MachineId {
    type Error = InvalidMachineId;

    fn try_from(text: String) -> Result<Self, InvalidMachineId> {
        text.parse()
    }
}

/// A QEMU process whose machine folder lies under a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub pid: u32,
    pub id: Option<MachineId>,
    pub folder: PathBuf,
    start_time: u64,
}

/// All QEMU processes on this host whose machine folder lies under `root`.
#[must_use]
pub fn strays(root: &Path) -> Vec<Stray> {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stray)
        .filter(|stray| stray.folder.starts_with(&root))
        .collect()
}

/// The process, if it is a machine of ours, whoever's it is.
fn stray(pid: u32) -> Option<Stray> {
    let start_time = start_time(pid).ok()?;
    let id = id_of(pid)?;
    Some(Stray { pid, id: Some(id), folder: folder_of(pid)?, start_time })
}

/// The folder that the process works in.
pub(crate) fn folder_of(pid: u32) -> Option<PathBuf> {
    let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    // What the kernel says of a folder that has been removed under the process.
    let known = folder.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from);
    Some(known.unwrap_or(folder))
}

impl Stray {
    /// Kills it and waits until it is gone.
    pub async fn kill(self) -> io::Result<()> {
        if let Some(process) = Process::find(self.pid, self.start_time)? {
            process.kill().await;
        }
        Ok(())
    }

    pub(crate) fn start_time(&self) -> u64 {
        self.start_time
    }
}

/// The machine that the process was started as, by what follows `-uuid` and `-name`.
pub(crate) fn id_of(pid: u32) -> Option<MachineId> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let after = |flag: &[u8]| {
        let value = words.windows(2).find(|pair| pair[0] == flag)?[1];
        std::str::from_utf8(value).ok()
    };
    let id: MachineId = after(b"-uuid")?.parse().ok()?;
    (after(b"-name")?.strip_prefix(NAME)? == id.to_string()).then_some(id)
}

/// The kernel's ticks as it tells them to programs: on x86-64 and arm64 so many in all its builds.
const TICKS_PER_SECOND: u64 = 100;

/// Times of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When it was started, in the kernel's ticks since boot.
    pub(crate) start: u64,
    /// What it has used of the processors, with its threads, for itself and in the kernel.
    pub(crate) cpu: Duration,
}

impl Times {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::read(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat is not understood"))
    }

    /// Of the line of `/proc/PID/stat`.
    fn read(stat: &str) -> Option<Self> {
        // The second field is a name in parentheses that may hold anything; counted from behind it,
        // these are the 14th, the 15th and the 22nd of all.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let ticks = field(11)?.saturating_add(field(12)?);
        let cpu = Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND));
        Some(Self { start: field(19)?, cpu })
    }
}

/// When the process was started, in the kernel's ticks since boot.
pub(crate) fn start_time(pid: u32) -> io::Result<u64> {
    Times::of(pid).map(|times| times.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_written_and_read_in_one_way() {
        let id = MachineId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 36);
        assert_ne!(id, MachineId::random());
        for text in
            ["", "x", "00000000-0000-4000-8000-00000000000", "00000000000040008000000000000000"]
        {
            assert!(text.parse::<MachineId>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_found_behind_whatever_a_process_calls_itself() {
        let stat = "7 (a) b (1 2)) S 1 7 7 0 -1 4194560 9 0 0 0 31 11 5 5 20 0 4 0 4242 1 2 3";
        let times = Times::read(stat).unwrap();
        assert_eq!((times.start, times.cpu), (4242, Duration::from_millis(420)));
        assert!(Times::read("7 (short) S 1").is_none());
    }

    #[test]
    fn a_start_time_tells_processes_apart() {
        let mine = start_time(std::process::id()).unwrap();
        assert_eq!(start_time(std::process::id()).unwrap(), mine);
        assert!(start_time(1).unwrap() < mine);
    }
}
