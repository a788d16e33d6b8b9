//! A gateway process, with the driver at the guest's end of its link.

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

use egress::{
    address::{GATEWAY_V4, MTU},
    control::{Configuration, FromGateway, ToGateway, VERSION},
    gateway::{
        authority,
        peer::{Peer, PeerFlow},
    },
    policy::{Action, Cidr, Domain, Edits, HostPattern, Match, Policy, Rule, Subnets},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Result,
    origin::{NAME, Origin},
};

/// Each way of a connection at the guest's end.
const BUFFER_BYTES: usize = 1 << 20;
const DNS_PORT: u16 = 53;
/// In which the kernel tells of processor time, for every program on Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// What the gateway does with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Spliced,
    Opened,
}

/// What the process has in memory, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Its own, that it shares with nobody: `RssAnon`.
    pub(crate) own: u64,
    /// With the pages of its program, which all gateways have in common: `VmRSS`.
    pub(crate) resident: u64,
}

impl Memory {
    pub(crate) fn most(self, other: Self) -> Self {
        Self { own: self.own.max(other.own), resident: self.resident.max(other.resident) }
    }
}

/// It ends when this is dropped.
pub(crate) struct Gateway {
    child: Child,
    peer: Peer,
    /// What the guest trusts, if its connections are opened: DER.
    pub(crate) authority: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts it, and has it tell where the origin is.
    pub(crate) async fn start(
        program: &Path,
        origin: &Origin,
        treatment: Treatment,
    ) -> Result<Self> {
        let kind = SocketType::SEQPACKET;
        let (card, guest) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let folder = tempfile::tempdir()?;
        let child = spawn(program, folder.path(), card)?;
        let guest = UnixStream::from(guest);
        guest.set_nonblocking(true)?;
        let guest = tokio::net::UnixStream::from_std(guest)?;
        let peer = Peer::new(guest, usize::from(MTU), BUFFER_BYTES)?;
        tokio::task::spawn_local(peer.clone().run());
        let authority = authority::make()?;
        let gateway =
            Self { child, peer, authority: authority.certificate.clone(), _folder: folder };
        let configuration = Configuration {
            revision: 1,
            policy: policy(origin, treatment)?,
            secrets: [].into(),
            authority,
            extra_roots: vec![origin.root.clone()],
            proxy: None,
        };
        configure(&gateway._folder.path().join(CONTROL), configuration)?;
        gateway.ask_for_name().await?;
        Ok(gateway)
    }

    /// A connection of the guest.
    pub(crate) async fn connect(&self, origin: &Origin) -> io::Result<PeerFlow> {
        self.peer.connect(origin.address).await
    }

    /// Has its DNS give out the origin's address for the name, so that the name decides.
    async fn ask_for_name(&self) -> Result<()> {
        let mut flow = self.peer.connect((GATEWAY_V4, DNS_PORT).into()).await?;
        let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.push(u8::try_from(NAME.len())?);
        question.extend(NAME.bytes());
        // The root; type A; class IN.
        question.extend([0, 0, 1, 0, 1]);
        flow.write_u16(u16::try_from(question.len())?).await?;
        flow.write_all(&question).await?;
        let mut reply = vec![0; usize::from(flow.read_u16().await?)];
        flow.read_exact(&mut reply).await?;
        match reply[..] {
            [_, _, _, flags, _, _, high, low, ..] if flags & 15 == 0 && (high, low) != (0, 0) => {
                Ok(())
            }
            _ => Err("the gateway does not know the name".into()),
        }
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let number = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        match (number("RssAnon:"), number("VmRSS:")) {
            (Some(own), Some(resident)) => Ok(Memory { own, resident }),
            _ => Err("the gateway is gone".into()),
        }
    }

    /// Seconds of processor time that it has used.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program is in brackets and may hold anything; the third field follows it.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = rest.split_whitespace().skip(11).map(str::parse::<f64>);
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) / TICKS_A_SECOND),
            _ => Err("/proc/PID/stat is not as it should be".into()),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const CONTROL: &str = "gateway.sock";

fn spawn(program: &Path, folder: &Path, card: OwnedFd) -> Result<Child> {
    let listener = UnixListener::bind(folder.join(CONTROL))?;
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
    Ok(child)
}

/// The origin's name alone, on its port; opened where a rule looks inside that changes nothing.
fn policy(origin: &Origin, treatment: Treatment) -> Result<Policy> {
    let rules = match treatment {
        Treatment::Spliced => Vec::new(),
        Treatment::Opened => {
            vec![Rule { when: Match::default(), then: Action::Send(Edits::default()) }]
        }
    };
    let pattern = HostPattern::parse(NAME)?;
    let domain = Domain { pattern, port: Some(origin.address.port()), rules, preset: None };
    let here = Cidr { address: origin.address.ip(), prefix: 32 };
    let subnets = Subnets { allow: vec![here], deny: Vec::new() };
    Ok(Policy { domains: vec![domain], subnets, ..Policy::default() })
}

fn configure(socket: &Path, configuration: Configuration) -> Result<()> {
    let mut control = UnixStream::connect(socket)?;
    say(&mut control, &ToGateway::Hello { version: VERSION })?;
    hear(&mut control)?;
    say(&mut control, &ToGateway::Configure(Box::new(configuration)))?;
    let reply = hear(&mut control)?;
    if reply != (FromGateway::Applied { revision: 1 }) {
        return Err(format!("the gateway said {reply:?}").into());
    }
    // It goes on telling of traffic, and is listened to until it ends.
    std::thread::spawn(move || drop(io::copy(&mut control, &mut io::sink())));
    Ok(())
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
