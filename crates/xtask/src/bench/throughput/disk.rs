//! What a sandbox's disk does, beside one that is a raw file: the same program on the same file system in both guests.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{rate, raw::Raw};
use crate::bench::{
    place::Server,
    row::{Row, Unit},
};

const NAME: &str = "disk";
const PROGRAM: &str = "/tmp/program";
/// On the disk that a sandbox writes to.
const FILE: &str = "/var/tmp/bench.bin";
/// As the program has it.
const PAGES_READ: f64 = 2000.0;

/// What is done with a file, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// One after another, and made sure of at the end.
    Write,
    /// One after another, with nothing of it in the guest's memory.
    Read,
    /// Pages of 4 KiB here and there, past the guest's memory.
    ReadPages,
}

impl Work {
    const ALL: [Self; 3] = [Self::Write, Self::Read, Self::ReadPages];

    /// As the program knows it.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Write => b'W',
            Self::Read => b'R',
            Self::ReadPages => b'P',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Write => "write and fsync",
            Self::Read => "read",
            Self::ReadPages => "4 KiB here and there, read",
        }
    }

    /// How much it did in so long.
    fn rate(self, bytes: usize, time: Duration) -> f64 {
        match self {
            Self::Write | Self::Read => rate(bytes, time),
            Self::ReadPages => PAGES_READ / time.as_secs_f64(),
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Write | Self::Read => Unit::MebibytesPerSecond,
            Self::ReadPages => Unit::PerSecond,
        }
    }
}

/// A sandbox, and what both disks did.
pub(super) struct Disks {
    server: Server,
    turns: Vec<[Rates; 3]>,
}

/// Of one work.
struct Rates {
    ours: f64,
    raw: f64,
}

impl Disks {
    /// Each has done each work once: the emulator has translated what does it.
    pub(super) fn new(server: &Server, raw: &mut Raw, bytes: usize) -> Result<Self> {
        server.timed(&["create", "--name", NAME, "--timeout", "1h"])?;
        let program = raw.program().to_str().context("its path is text")?.to_owned();
        server.timed(&["cp", &program, &format!("{NAME}:{PROGRAM}")])?;
        let disks = Self { server: server.clone(), turns: Vec::new() };
        disks.once(raw, bytes)?;
        Ok(disks)
    }

    /// Each work once, on one disk and the other, with a file of so many bytes.
    pub(super) fn turn(&mut self, raw: &mut Raw, bytes: usize) -> Result<()> {
        let rates = self.once(raw, bytes)?;
        self.turns.push(rates);
        Ok(())
    }

    fn once(&self, raw: &mut Raw, bytes: usize) -> Result<[Rates; 3]> {
        let mut rates = |work: Work| {
            let (ours, raw) = (self.work(work, bytes)?, raw.work(work, bytes)?);
            anyhow::Ok(Rates { ours: work.rate(bytes, ours), raw: work.rate(bytes, raw) })
        };
        let [write, read, read_pages] = Work::ALL;
        Ok([rates(write)?, rates(read)?, rates(read_pages)?])
    }

    fn work(&self, work: Work, bytes: usize) -> Result<Duration> {
        let letter = char::from(work.letter()).to_string();
        let (sudo, bytes) = ("--sudo", bytes.to_string());
        let words = ["exec", sudo, NAME, "--", PROGRAM, &letter, &bytes, FILE];
        let output = self.server.command(&words).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", work.name());
        let nanoseconds = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let rows = Work::ALL.into_iter().enumerate().map(|(n, work)| {
            let values =
                |of: fn(&Rates) -> f64| self.turns.iter().map(|turn| of(&turn[n])).collect();
            let peer = format!("disk, {}: raw virtio-blk", work.name());
            let ours =
                Row::new(format!("disk, {}", work.name()), work.unit(), values(|it| it.ours));
            [ours.beside(&peer).main(), Row::new(peer, work.unit(), values(|it| it.raw))]
        });
        rows.flatten().collect()
    }
}
