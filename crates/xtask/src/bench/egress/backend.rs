//! A guest that does nothing but measure, on any network backend: the same kernel, the same machine,
//! the same program.
#![expect(clippy::disallowed_methods, reason = "it waits for another program")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use egress::{
    control::Configuration,
    gateway::{
        authority,
        lone::{Lone, Memory},
    },
    policy::Policy,
};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::bench::{
    guest::{Guest, Recipe},
    place::Place,
    root,
};

/// The card's, as our gateway expects it: `egress::address::GUEST_MAC`.
const MAC: &str = "02:66:75:6d:65:02";

/// What stands behind the guest's network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// Our gateway.
    Gateway,
    /// QEMU's own user networking (libslirp).
    User,
    Passt,
}

/// How a guest has its card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    /// As the kernel has it.
    Plain,
    /// As our agent has it: docs/decisions/0021.
    Ours,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) backend: Backend,
    pub(super) mtu: u16,
    pub(super) card: Card,
}

impl Setup {
    /// In words, with what is measured of it.
    pub(super) fn name(self, what: &str) -> String {
        let Self { backend, mtu, card } = self;
        let card = match (backend, card) {
            (Backend::Gateway, _) | (_, Card::Plain) => "",
            (_, Card::Ours) => ", card as ours",
        };
        format!("{}{card}, MTU {mtu}: {what}", backend.name())
    }
}

/// The guest, and the program behind its card.
pub(super) struct Bench {
    folder: PathBuf,
    guest: Guest,
    /// The path's: ours has no `-netdev user`.
    qemu: PathBuf,
    fumehood: PathBuf,
}

/// Every value that the guest printed, by name, in order; and the gateway's memory.
pub(super) struct Measured {
    pub(super) values: BTreeMap<String, Vec<f64>>,
    /// The gateway's: idle, and at most.
    pub(super) memory: Option<(Memory, Memory)>,
}

/// The host's loopback as the guest sees it, and the guest's own addresses.
struct Addresses {
    guest: &'static str,
    gateway: &'static str,
}

impl Backend {
    fn addresses(self) -> Addresses {
        match self {
            Self::Gateway => Addresses { guest: "198.18.0.2/30", gateway: "198.18.0.1" },
            Self::User => Addresses { guest: "10.0.2.15/24", gateway: "10.0.2.2" },
            Self::Passt => Addresses { guest: "10.77.0.2/24", gateway: "10.77.0.1" },
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "fumehood gateway",
            Self::User => "QEMU -netdev user",
            Self::Passt => "passt",
        }
    }
}

impl Bench {
    pub(super) fn prepare(place: &Place) -> Result<Self> {
        let card = card_program()?;
        let recipe = Recipe {
            init: include_str!("init.sh"),
            program: include_str!("pump.rs"),
            modules: &["failover", "net_failover", "virtio_net"],
            programs: &[&card],
        };
        let folder = place.folder.join("guest");
        fs::create_dir(&folder)?;
        let guest = Guest::prepare(&folder, &place.cache, &recipe)?;
        Ok(Self { folder, guest, qemu: place.qemu.clone(), fumehood: place.fumehood.clone() })
    }

    /// Boots the guest on the backend and waits for what it prints.
    pub(super) fn measure(&self, setup: Setup, peer_port: u16, megabytes: u32) -> Result<Measured> {
        let Setup { backend, mtu, .. } = setup;
        let folder = tempfile::tempdir_in(&self.folder)?;
        let card = folder.path().join("card.sock");
        let _passt = match backend {
            Backend::Passt => Some(Passt::start(&card, mtu)?),
            Backend::Gateway | Backend::User => None,
        };
        let ours = match backend {
            Backend::Gateway => Some(CardSocket::listen(&card)?),
            Backend::User | Backend::Passt => None,
        };
        let task = Task { setup, peer_port, megabytes };
        let mut qemu = self.guest.qemu(&self.qemu, &task.command_line());
        qemu.args(["-netdev", &task.netdev(&card, ours.as_ref())]);
        qemu.args([
            "-device",
            &format!("virtio-net-pci,netdev=net0,mac={MAC},host_mtu={mtu},romfile="),
        ]);
        let mut qemu = qemu.spawn()?;
        let gateway = match ours {
            Some(ours) => {
                let card = ours.connect()?;
                Some(self.gateway(folder.path(), card, peer_port)?)
            }
            None => None,
        };
        let idle = gateway.as_ref().map(Lone::memory).transpose()?;
        let mut memory = idle.map(|idle| (idle, idle));
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut text = String::new();
        let stdout = qemu.stdout.take().context("QEMU's output is ours")?;
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if let (Some((_, most)), Some(gateway)) = (&mut memory, &gateway) {
                // It may have gone with its guest.
                *most = most.most(gateway.memory().unwrap_or_default());
            }
            if let Some((_, result)) = line.split_once("RESULT ") {
                let mut words = result.split_whitespace();
                if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse))
                {
                    values.entry(name.to_owned()).or_default().push(value);
                }
            }
            text.push_str(&line);
        }
        qemu.wait()?;
        ensure!(values.len() == 6, "{} measured nothing: {text}", backend.name());
        Ok(Measured { values, memory })
    }
}

impl Bench {
    /// One that lets one port of the host through.
    fn gateway(&self, folder: &Path, card: OwnedFd, host_port: u16) -> Result<Lone> {
        let policy = Policy { host_ports: [host_port].into(), ..Policy::default() };
        let authority = authority::make()?;
        Ok(Lone::start(
            &self.fumehood,
            folder,
            card,
            Configuration { policy, ..Lone::closed(authority) },
        )?)
    }
}

/// The agent's way with a card, as a program of its own, static.
fn card_program() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let folder = root().join("target/bench");
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--locked", "-p", "guest", "--example", "card"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(root())
        .status()
        .context("cargo cannot be started")?;
    ensure!(status.success(), "the guest's way with its card does not build: {status}");
    Ok(folder.join(TARGET).join("release/examples/card"))
}

/// What one guest is to do.
struct Task {
    setup: Setup,
    peer_port: u16,
    megabytes: u32,
}

impl Task {
    fn command_line(&self) -> String {
        let Self { setup: Setup { backend, mtu, card }, peer_port, megabytes } = self;
        let Addresses { guest, gateway } = backend.addresses();
        // Our gateway lets through what it was asked the name of.
        let name = match backend {
            Backend::Gateway => egress::address::HOST_NAME,
            Backend::User | Backend::Passt => "",
        };
        let card = match card {
            Card::Plain => "",
            Card::Ours => "ours",
        };
        format!(
            "bench.address={guest} bench.gateway={gateway} bench.mtu={mtu} \
             bench.peer={gateway}:{peer_port} bench.megabytes={megabytes} bench.name={name} bench.card={card}"
        )
    }

    fn netdev(&self, card: &Path, ours: Option<&CardSocket>) -> String {
        match (self.setup.backend, ours) {
            (Backend::Gateway, Some(ours)) => {
                let fd = ours.listener.as_raw_fd();
                format!("stream,id=net0,server=on,addr.type=fd,addr.str={fd}")
            }
            (Backend::Passt, _) => {
                format!("stream,id=net0,server=off,addr.type=unix,addr.path={}", card.display())
            }
            (Backend::User | Backend::Gateway, _) => "user,id=net0".to_owned(),
        }
    }
}

/// The socket of our guest's card, as `machine` makes it: docs/decisions/0004.
struct CardSocket {
    listener: OwnedFd,
    address: SocketAddrUnix,
}

impl CardSocket {
    fn listen(path: &Path) -> Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        // Left open in QEMU.
        let kind = SocketType::SEQPACKET;
        let listener = socket_with(AddressFamily::UNIX, kind, SocketFlags::empty(), None)?;
        bind(&listener, &address)?;
        listen(&listener, 1)?;
        Ok(Self { listener, address })
    }

    fn connect(&self) -> Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &self.address)?;
        Ok(socket)
    }
}

struct Passt(Child);

impl Passt {
    fn start(socket: &Path, mtu: u16) -> Result<Self> {
        let child = Command::new("passt")
            .args(["--foreground", "--quiet", "--runas", "0", "--socket"])
            .arg(socket)
            .args(["-a", "10.77.0.2", "-n", "24", "-g", "10.77.0.1", "-m", &mtu.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("passt is missing: apt install passt")?;
        let mut passt = Self(child);
        while !socket.exists() {
            if let Some(status) = passt.0.try_wait()? {
                bail!("passt ended: {status}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(passt)
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
