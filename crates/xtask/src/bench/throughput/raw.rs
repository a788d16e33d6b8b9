//! What a guest's port carries with no protocol on it, and what its disk does that is a raw file.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::bench::{
    guest::{Guest, Recipe},
    place::{Place, clocked, timed},
};

use super::disk::Work;

/// As much as the server reads at once.
const CHUNK: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(60);
const DISK_BYTES: u64 = 4 << 30;

/// The guest, until it is dropped.
pub(super) struct Raw {
    qemu: Child,
    port: UnixStream,
    program: PathBuf,
}

/// Which way bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Out,
    /// The same of what a program prints.
    Output,
    In,
    /// A question and an answer.
    Echo,
}

impl Raw {
    pub(super) fn start(place: &Place) -> Result<Self> {
        let folder = place.folder.join("raw");
        std::fs::create_dir(&folder)?;
        let recipe = Recipe {
            init: include_str!("init.sh"),
            program: include_str!("mover.rs"),
            modules: &["virtio_blk"],
            programs: &[],
        };
        let guest = Guest::prepare(&folder, &place.cache, &recipe)?;
        let disk = folder.join("disk.ext4");
        std::fs::File::create(&disk)?.set_len(DISK_BYTES)?;
        timed(Command::new("mkfs.ext4").arg("-q").arg(&disk))
            .context("mkfs.ext4 is missing: apt install e2fsprogs")?;
        let socket = folder.join("port.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket)?;
        let chardev = format!("socket,id=port,path={}", socket.display());
        let qemu = guest
            .qemu(&place.qemu, "")
            .args(["-chardev", &chardev])
            .args(["-device", "virtio-serial-pci,disable-legacy=on,max_ports=2"])
            .args(["-device", "virtserialport,nr=1,chardev=port,name=bench"])
            .args([
                "-blockdev",
                &format!("raw,node-name=disk,file.driver=file,file.filename={}", disk.display()),
            ])
            .args(["-device", "virtio-blk-pci,disable-legacy=on,drive=disk"])
            .stdout(Stdio::null())
            .spawn()
            .context("QEMU cannot be started")?;
        let (port, _) = listener.accept()?;
        port.set_read_timeout(Some(PATIENCE))?;
        let program = folder.join("tree/program");
        let mut raw = Self { qemu, port, program };
        raw.port.read_exact(&mut [0]).context("the guest says nothing")?;
        Ok(raw)
    }

    /// How long it takes until so many bytes have passed.
    pub(super) fn pass(&mut self, direction: Direction, bytes: usize) -> Result<Duration> {
        let word = match direction {
            Direction::Out => b'O',
            Direction::Output => b'C',
            Direction::In => b'I',
            Direction::Echo => b'E',
        };
        let head = head(word, bytes);
        let mut chunk = vec![0; CHUNK];
        let ((), time) = clocked(|| {
            self.port.write_all(&head)?;
            let mut left = bytes;
            match direction {
                Direction::Out | Direction::Output => {
                    while 0 < left {
                        let count = self.port.read(&mut chunk[..left.min(CHUNK)])?;
                        left -= count;
                        anyhow::ensure!(count != 0, "the guest is gone");
                    }
                    return Ok(());
                }
                Direction::In => {
                    while 0 < left {
                        left -= self.port.write(&chunk[..left.min(CHUNK)])?;
                    }
                }
                Direction::Echo => {}
            }
            Ok(self.port.read_exact(&mut chunk[..1])?)
        })?;
        Ok(time)
    }

    /// How long the guest works on a file of so many bytes.
    pub(super) fn work(&mut self, work: Work, bytes: usize) -> Result<Duration> {
        self.port.write_all(&head(work.letter(), bytes))?;
        let mut nanoseconds = [0; 8];
        self.port.read_exact(&mut nanoseconds)?;
        Ok(Duration::from_nanos(u64::from_be_bytes(nanoseconds)))
    }

    /// What the guest runs, which does the same in others.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }
}

/// What the guest's program is told.
fn head(what: u8, bytes: usize) -> Vec<u8> {
    [&[what][..], &(bytes as u64).to_be_bytes()].concat()
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}
