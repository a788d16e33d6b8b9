//! A gateway of ours for a QEMU that the benchmark starts, configured to let one port of the host
//! through.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use egress::{
    control::{Configuration, FromGateway, ToGateway, VERSION},
    policy::Policy,
};

/// What a gateway has in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// That it shares with nobody: `RssAnon`.
    pub(super) own_kib: u64,
    /// With the pages of its program, which all gateways have in common: `VmRSS`.
    pub(super) resident_kib: u64,
}

impl Memory {
    pub(super) fn most(self, other: Self) -> Self {
        Self {
            own_kib: self.own_kib.max(other.own_kib),
            resident_kib: self.resident_kib.max(other.resident_kib),
        }
    }
}

/// A gateway process; it ends with the QEMU that it serves, or when this is dropped.
pub(super) struct Gateway {
    child: Child,
    _control: UnixStream,
}

impl Gateway {
    /// Starts it on a connection to the guest's card.
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        card: OwnedFd,
        host_port: u16,
    ) -> Result<Self> {
        let socket = folder.join("gateway.sock");
        let listener = UnixListener::bind(&socket)?;
        let log = |name: &str| -> Result<File> {
            Ok(OpenOptions::new().create(true).read(true).append(true).open(folder.join(name))?)
        };
        let handed: [OwnedFd; 4] =
            [card, listener.into(), log("audit-0.jsonl")?.into(), log("audit-1.jsonl")?.into()];
        for fd in &handed {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        let [card, control, first, second] = handed.each_ref().map(AsRawFd::as_raw_fd);
        let child = Command::new(program)
            .args(["gateway", "--network-fd", &card.to_string()])
            .args(["--control-fd", &control.to_string()])
            .args(["--log-fds", &format!("{first},{second}")])
            .stdin(Stdio::null())
            .spawn()
            .context("the gateway cannot be started")?;
        drop(handed);
        let mut control = UnixStream::connect(&socket)?;
        say(&mut control, &ToGateway::Hello { version: VERSION })?;
        hear(&mut control)?;
        let policy = Policy { host_ports: [host_port].into(), ..Policy::default() };
        let configuration = Configuration {
            revision: 1,
            policy,
            secrets: [].into(),
            authority: egress::gateway::authority::make()?,
            extra_roots: Vec::new(),
            proxy: None,
        };
        say(&mut control, &ToGateway::Configure(Box::new(configuration)))?;
        let reply = hear(&mut control)?;
        ensure!(reply == FromGateway::Applied { revision: 1 }, "the gateway said {reply:?}");
        Ok(Self { child, _control: control })
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.with_context(|| format!("{name} is in /proc/PID/status"))
        };
        Ok(Memory { own_kib: number("RssAnon:")?, resident_kib: number("VmRSS:")? })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn say(control: &mut UnixStream, message: &ToGateway) -> Result<()> {
    let bytes = postcard::to_allocvec(message)?;
    control.write_all(&u32::try_from(bytes.len())?.to_be_bytes())?;
    Ok(control.write_all(&bytes)?)
}

fn hear(control: &mut UnixStream) -> Result<FromGateway> {
    let mut length = [0; 4];
    control.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    control.read_exact(&mut bytes)?;
    Ok(postcard::from_bytes(&bytes)?)
}
