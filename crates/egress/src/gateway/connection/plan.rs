//! Whom a connection may be for: by what is known without a byte, and by what its first bytes say.

use super::{Gateway, Peer};
use crate::{
    event::Kind,
    gateway::{
        active::Active,
        client_hello::{ClientHello, Encrypted},
        http::Named,
        spliced::Spliced,
    },
    host::Host,
    policy::{Denial, Grant, Treatment, Why},
};

/// How a connection begins.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Its bytes pass, whatever they say.
    Raw { grant: Grant, host: Option<Host> },
    /// Its first bytes say how it goes on.
    Inspect(Vec<Candidate>),
}

/// Something that the connection may turn out to be for.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(super) whom: Named,
    treatment: Treatment,
}

impl Candidate {
    fn is_raw(&self) -> bool {
        matches!(self.treatment, Treatment::Raw(_))
    }

    pub(super) fn is_raw_name(&self) -> bool {
        self.is_raw() && matches!(self.whom, Named::Host(_))
    }
}

/// What becomes of a TLS connection.
#[derive(Debug)]
pub(super) enum Passage {
    Spliced(Spliced),
    Opened { host: Host, grant: Grant },
}

/// Decides by what is known without a byte: address, port, and the names that it was given out for.
pub(crate) fn plan(gateway: &Gateway, active: &Active, peer: &Peer) -> Result<Plan, Denial> {
    let (address, port) = (peer.address.ip(), peer.address.port());
    let mut candidates = Vec::new();
    let mut denied = None;
    for host in &peer.names {
        let judged = gateway
            .check_dial(active, address, port, Some(host))
            .and_then(|()| active.policy.connect(host, port));
        match judged {
            Ok(treatment) => {
                candidates.push(Candidate { whom: Named::Host(host.clone()), treatment });
            }
            Err(denial) => denied = denied.or(Some(denial)),
        }
    }
    // What may be reached by itself could be before any name was asked for, and which are asked for is
    // the guest's choice: to close it then would hold up nobody but who means no harm.
    let by_itself = gateway
        .check_dial(active, address, port, None)
        .and_then(|()| active.policy.connect_unnamed(address, port, &peer.names));
    match by_itself {
        Ok(treatment) => candidates.push(Candidate { whom: Named::Address(address), treatment }),
        Err(denial) if candidates.is_empty() => return Err(denied.unwrap_or(denial)),
        Err(_) => (),
    }
    // Only if none of them is to be looked into do the bytes pass unseen.
    let all_raw = candidates.iter().all(Candidate::is_raw);
    Ok(match unseen(&candidates).filter(|_| all_raw) {
        Some((grant, host)) => Plan::Raw { grant, host },
        None => Plan::Inspect(candidates),
    })
}

/// What lets bytes pass that say nothing, and the name that they are for. Where several names lead
/// there it may be any of them, and none is claimed.
pub(super) fn unseen(candidates: &[Candidate]) -> Option<(Grant, Option<Host>)> {
    let mut hosts = Vec::new();
    let mut rules: Vec<&str> = Vec::new();
    let mut by_itself = None;
    for one in candidates {
        match (&one.whom, &one.treatment) {
            (_, Treatment::Inspect { .. }) => (),
            (Named::Address(_), Treatment::Raw(grant)) => by_itself = Some(grant),
            (Named::Host(host), Treatment::Raw(grant)) => {
                hosts.push(host);
                if !rules.contains(&grant.rule.as_str()) {
                    rules.push(&grant.rule);
                }
            }
        }
    }
    match &hosts[..] {
        [] => by_itself.map(|grant| (grant.clone(), None)),
        [host] => Some((Grant { rule: rules.join(", ") }, Some((*host).clone()))),
        [_, ..] => Some((Grant { rule: rules.join(", ") }, None)),
    }
}

/// Whether bytes of this kind, which say no name, may still pass unseen.
pub(crate) fn stays_unseen(gateway: &Gateway, active: &Active, peer: &Peer, kind: Kind) -> bool {
    match plan(gateway, active, peer) {
        Ok(Plan::Raw { .. }) => true,
        Ok(Plan::Inspect(candidates)) => candidates.iter().any(|one| match &one.treatment {
            Treatment::Raw(_) => true,
            Treatment::Inspect { opened, .. } => {
                !opened && kind == Kind::Tls && matches!(one.whom, Named::Address(_))
            }
        }),
        Err(_) => false,
    }
}

/// Whom a TLS connection is for, and how it is treated.
pub(super) fn judge_hello(
    active: &Active,
    hello: &ClientHello,
    peer: &Peer,
    mut candidates: Vec<Candidate>,
) -> Result<Passage, Denial> {
    let is_address = |one: &Candidate| matches!(one.whom, Named::Address(_));
    let by_itself = candidates.iter().position(is_address).map(|at| candidates.remove(at));
    let by_itself = by_itself.map(|one| one.treatment);
    let Some(asked) = &hello.server_name else {
        return unnamed(by_itself, hello.encrypted);
    };
    let named = Named::Host(asked.clone());
    if let Some(found) = candidates.into_iter().find(|one| one.whom == named) {
        return Ok(passage(asked, found.treatment, hello.encrypted));
    }
    match (active.policy.connect(asked, peer.address.port()), by_itself) {
        // By an address that may be reached by itself, a name may be said that may be reached too.
        (Ok(treatment), Some(_)) => Ok(passage(asked, treatment, hello.encrypted)),
        (Ok(_), None) => {
            let why = Why::NameMismatch { asked: asked.to_string() };
            Err(Denial { rule: "default".to_owned(), why })
        }
        // Its bytes pass whatever they say, but for a name that a rule denies.
        (
            Err(Denial { why: Why::NotListed(_) | Why::Port(_), .. }),
            Some(Treatment::Raw(grant)),
        ) => Ok(Passage::Spliced(Spliced { grant, host: None, kind: Kind::Tcp })),
        (Err(denial), _) => Err(denial),
    }
}

/// A hello without a name: that of a client that was given an address (RFC 6066, 3). Nobody could
/// verify whom it leads to, so it is never opened.
fn unnamed(by_itself: Option<Treatment>, encrypted: Encrypted) -> Result<Passage, Denial> {
    let denied = |why| Err(Denial { rule: "default".to_owned(), why });
    match (by_itself, encrypted) {
        (Some(Treatment::Raw(grant)), _) => {
            Ok(Passage::Spliced(Spliced { grant, host: None, kind: Kind::Tcp }))
        }
        (Some(Treatment::Inspect { grant, opened: false }), Encrypted::No) => {
            Ok(Passage::Spliced(Spliced { grant, host: None, kind: Kind::Tls }))
        }
        (Some(Treatment::Inspect { opened: false, .. }), _) => denied(Why::HiddenName),
        (Some(Treatment::Inspect { opened: true, .. }) | None, _) => denied(Why::NoSni),
    }
}

/// What may hide another name inside is opened even if no rule asks for it. An encrypted hello and
/// a random one that looks like it cannot be told apart; opened, the random one is overlooked as by
/// any server that does not know it, and the encrypted one leads nowhere: the gateway sends a hello
/// of its own, and the client breaks off.
fn passage(host: &Host, treatment: Treatment, encrypted: Encrypted) -> Passage {
    let spliced = |grant, kind| Passage::Spliced(Spliced { grant, host: Some(host.clone()), kind });
    match (treatment, encrypted) {
        (Treatment::Raw(grant), _) => spliced(grant, Kind::Tcp),
        (Treatment::Inspect { grant, opened: false }, Encrypted::No) => spliced(grant, Kind::Tls),
        (Treatment::Inspect { grant, .. }, _) => Passage::Opened { host: host.clone(), grant },
    }
}
