//! The last recorded run of each benchmark: `bench/results.json`.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    place::Place,
    row::{Row, ratio},
};

/// By the name of the benchmark.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Record(pub(crate) BTreeMap<String, Run>);

/// One run of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) on: Computer,
    pub(crate) rows: Vec<Row>,
}

/// When and where it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Computer {
    /// In UTC.
    pub(crate) date: String,
    /// What was checked out.
    pub(crate) commit: String,
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// What the guests run by.
    pub(crate) accelerator: String,
    pub(crate) qemu: String,
    /// How many threads wanted to run, on average over the minute before.
    pub(crate) load: f64,
}

impl Record {
    /// Empty where there is none.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not a record of benchmarks", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// How many times its value in the run before a row's is: of ratios to a peer where there is one, else of memory. Times of two runs
/// are of two computers, or of one that had other things to do, and are not compared.
pub(crate) fn change(row: &Row, rows: &[Row], before: Option<&Run>) -> Option<f64> {
    let before = before?;
    let old = before.rows.iter().find(|old| old.name == row.name && old.unit == row.unit)?;
    if let (Some(now), Some(then)) = (ratio(row, rows), ratio(old, &before.rows)) {
        return (row.peer == old.peer && then != 0.0).then(|| now / then);
    }
    (row.unit.is_of_memory() && old.p50 != 0.0).then(|| row.p50 / old.p50)
}

impl Computer {
    pub(crate) fn this(place: &Place) -> Result<Self> {
        let said = |program: &str, words: &[&str]| {
            let output = Command::new(program).args(words).output().ok();
            let text =
                output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            text.unwrap_or_default()
        };
        let (cpuinfo, meminfo) =
            (fs::read_to_string("/proc/cpuinfo")?, fs::read_to_string("/proc/meminfo")?);
        let load = fs::read_to_string("/proc/loadavg")?;
        let qemu = said(&place.qemu.display().to_string(), &["--version"]);
        let doctor = place.server("doctor", 0).command(&["doctor"]).output()?;
        let is_kvm =
            String::from_utf8_lossy(&doctor.stdout).contains("a guest boots with hardware");
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M"]),
            commit: said("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
            processors: std::thread::available_parallelism()?.get(),
            processor: field(&cpuinfo, "model name").unwrap_or_default().to_owned(),
            memory_mib: field(&meminfo, "MemTotal")
                .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
                .unwrap_or_default()
                >> 10,
            kernel: said("uname", &["-r"]),
            accelerator: if is_kvm { "KVM" } else { "TCG" }.to_owned(),
            qemu: version(&qemu),
            load: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default(),
        })
    }

    /// In a sentence.
    pub(crate) fn in_words(&self) -> String {
        let Self {
            date, processors, processor, memory_mib, accelerator, qemu, commit, load, ..
        } = self;
        format!(
            "{date} UTC, at {commit}, on {processors} × {processor} with {} GiB, guests under {accelerator} by QEMU {qemu}; load before: {load}",
            memory_mib.div_ceil(1024)
        )
    }
}

/// Out of `QEMU emulator version 10.0.13 (fumehood, Debian 1:10.0.13+ds-0+deb13u1)`.
fn version(said: &str) -> String {
    let mut words = said.lines().next().unwrap_or_default().split(' ').skip(3);
    let number = words.next().unwrap_or_default();
    match words.next() {
        Some("(fumehood,") => format!("{number} of our own build"),
        _ => number.to_owned(),
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::{super::row::Unit, *};

    #[test]
    fn a_build_of_our_own_is_called_so() {
        let own =
            "QEMU emulator version 10.0.13 (fumehood, Debian 1:10.0.13+ds-0+deb13u1)\nCopyright";
        assert_eq!(version(own), "10.0.13 of our own build");
        let debians = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)";
        assert_eq!(version(debians), "10.0.2");
        assert_eq!(version(""), "");
    }

    fn rows(ours: f64, theirs: f64, memory: f64) -> Vec<Row> {
        vec![
            Row::new("ours", Unit::Milliseconds, vec![ours]).beside("theirs"),
            Row::new("theirs", Unit::Milliseconds, vec![theirs]),
            Row::new("memory", Unit::Mebibytes, vec![memory]),
        ]
    }

    #[test]
    fn ratios_and_memory_are_compared_and_times_are_not() {
        let before = Run { on: Computer::default(), rows: rows(10.0, 20.0, 30.0) };
        let now = rows(300.0, 300.0, 15.0);
        let changes: Vec<_> = now.iter().map(|row| change(row, &now, Some(&before))).collect();
        assert_eq!(changes, [Some(2.0), None, Some(0.5)]);
        assert_eq!(change(&now[0], &now, None), None);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        assert_eq!(Record::read(&path).unwrap(), Record::default());
        let run = Run { on: Computer::default(), rows: rows(1.5, 2.0, 3.0) };
        let record = Record([("start".to_owned(), run)].into());
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
        fs::write(&path, "{").unwrap();
        assert!(Record::read(&path).is_err());
    }
}
