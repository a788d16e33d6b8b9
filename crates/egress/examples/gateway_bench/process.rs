//! A gateway process, with the driver at the guest's end of its link.

use std::{io, os::unix::net::UnixStream, path::Path};

use egress::{
    address::{GATEWAY_V4, MTU},
    control::Configuration,
    gateway::{
        authority,
        lone::{Lone, Memory},
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

/// What the gateway does with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Spliced,
    Opened,
}

/// It ends when this is dropped.
pub(crate) struct Gateway {
    process: Lone,
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
        let guest = UnixStream::from(guest);
        guest.set_nonblocking(true)?;
        let guest = tokio::net::UnixStream::from_std(guest)?;
        let peer = Peer::new(guest, usize::from(MTU), BUFFER_BYTES)?;
        tokio::task::spawn_local(peer.clone().run());
        let made = authority::make()?;
        let authority = made.certificate.clone();
        let configuration = Configuration {
            policy: policy(origin, treatment)?,
            identities: [].into(),
            extra_roots: vec![origin.root.clone()],
            ..Lone::closed(made)
        };
        let process = Lone::start(program, folder.path(), card, configuration)?;
        let gateway = Self { process, peer, authority, _folder: folder };
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
        Ok(self.process.memory()?)
    }

    /// Seconds of processor time that it has used.
    pub(crate) fn cpu(&self) -> Result<f64> {
        Ok(self.process.cpu()?)
    }
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
