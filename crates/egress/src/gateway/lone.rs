//! A gateway process with no server beside it: for measurements.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    control::{Authority, Configuration, FromGateway, ToGateway, VERSION},
    policy::Policy,
};

/// In which the kernel tells of processor time, for every program on Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// What a gateway has in memory, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Its own, that it shares with nobody: `RssAnon`.
    pub own: u64,
    /// With the pages of its program, which all gateways have in common: `VmRSS`.
    pub resident: u64,
}

impl Memory {
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self { own: self.own.max(other.own), resident: self.resident.max(other.resident) }
    }
}

/// It ends when this is dropped.
#[derive(Debug)]
pub struct Lone {
    child: Child,
}

impl Lone {
    /// Starts `program`, which is `fumehood`, on a connection to the guest's card, with its sockets and logs in `folder`.
    pub fn start(
        program: &Path,
        folder: &Path,
        card: OwnedFd,
        configuration: Configuration,
    ) -> io::Result<Self> {
        let socket = folder.join("gateway.sock");
        let listener = UnixListener::bind(&socket)?;
        let log = |name: &str| -> io::Result<File> {
            OpenOptions::new().create(true).read(true).append(true).open(folder.join(name))
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
            .spawn()?;
        drop(handed);
        let lone = Self { child };
        configure(&socket, configuration)?;
        Ok(lone)
    }

    /// What lets nothing through: to be changed.
    #[must_use]
    pub fn closed(authority: Authority) -> Configuration {
        Configuration {
            revision: 1,
            policy: Policy::default(),
            secrets: [].into(),
            authority,
            identities: [].into(),
            extra_roots: Vec::new(),
            proxy: None,
        }
    }

    pub fn memory(&self) -> io::Result<Memory> {
        let text = self.told("status")?;
        let number = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let memory = number("RssAnon:").zip(number("VmRSS:"));
        let (own, resident) = memory.ok_or(io::ErrorKind::NotFound)?;
        Ok(Memory { own, resident })
    }

    /// Seconds of processor time that it has used.
    pub fn cpu(&self) -> io::Result<f64> {
        let text = self.told("stat")?;
        // The name of the program is in brackets and may hold anything; the third field follows it.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = rest.split_whitespace().skip(11).map(str::parse::<f64>);
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) / TICKS_A_SECOND),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn told(&self, file: &str) -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn configure(socket: &Path, configuration: Configuration) -> io::Result<()> {
    let applied = FromGateway::Applied { revision: configuration.revision };
    let mut control = UnixStream::connect(socket)?;
    say(&mut control, &ToGateway::Hello { version: VERSION })?;
    hear(&mut control)?;
    say(&mut control, &ToGateway::Configure(Box::new(configuration)))?;
    let reply = hear(&mut control)?;
    if reply != applied {
        return Err(io::Error::other(format!("the gateway said {reply:?}")));
    }
    // It goes on telling of traffic, and is listened to until it ends.
    std::thread::spawn(move || drop(io::copy(&mut control, &mut io::sink())));
    Ok(())
}

fn say(control: &mut UnixStream, message: &ToGateway) -> io::Result<()> {
    let bytes = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    control.write_all(&length.to_be_bytes())?;
    control.write_all(&bytes)
}

fn hear(control: &mut UnixStream) -> io::Result<FromGateway> {
    let mut length = [0; 4];
    control.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    control.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}
