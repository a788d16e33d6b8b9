//! What a guest's port carries with no protocol on it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::bench::{
    guest::{Guest, Recipe},
    place::{Place, clocked},
};

/// As much as the server reads at once.
const CHUNK: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// The guest, until it is dropped.
pub(super) struct Raw {
    qemu: Child,
    port: UnixStream,
}

/// Which way bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Out,
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
            modules: &[],
        };
        let guest = Guest::prepare(&folder, &place.cache, &recipe)?;
        let socket = folder.join("port.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket)?;
        let chardev = format!("socket,id=port,path={}", socket.display());
        let qemu = guest
            .qemu("")
            .args(["-chardev", &chardev])
            .args(["-device", "virtio-serial-pci,disable-legacy=on,max_ports=2"])
            .args(["-device", "virtserialport,nr=1,chardev=port,name=bench"])
            .stdout(Stdio::null())
            .spawn()
            .context("QEMU cannot be started")?;
        let (port, _) = listener.accept()?;
        port.set_read_timeout(Some(PATIENCE))?;
        let mut raw = Self { qemu, port };
        raw.port.read_exact(&mut [0]).context("the guest says nothing")?;
        Ok(raw)
    }

    /// How long it takes until so many bytes have passed.
    pub(super) fn pass(&mut self, direction: Direction, bytes: usize) -> Result<Duration> {
        let word = match direction {
            Direction::Out => b'O',
            Direction::In => b'I',
            Direction::Echo => b'E',
        };
        let head = [&[word][..], &(bytes as u64).to_be_bytes()].concat();
        let mut chunk = vec![0; CHUNK];
        let ((), time) = clocked(|| {
            self.port.write_all(&head)?;
            let mut left = bytes;
            match direction {
                Direction::Out => {
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
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}
