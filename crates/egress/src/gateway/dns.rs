//! The guest's name server. A name that is not allowed does not exist, and nobody is asked about
//! it; of one that is allowed, only addresses that may be reached are told, and they are remembered,
//! so that a connection can be held to the name.

mod limits;
mod memory;
pub mod message;

use std::{cell::RefCell, net::IpAddr, rc::Rc, time::Duration};

use futures_util::future::join_all;
use hickory_resolver::proto::{
    op::Query,
    rr::{RData, Record, RecordType},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

pub(crate) use self::{memory::Memory, message::Transport};

use self::{
    limits::NameLimits,
    message::{NoQuestion, Question, Said},
};
use super::{
    active::Active,
    connection::Gateway,
    resolver::{LookupError, Resolver, address_of},
};
use crate::{
    address::{self, GATEWAY_V4, GATEWAY_V6, HOST_NAME},
    clock,
    event::{Decision, Event, Kind},
    host::Host,
    policy::{Denial, HostPattern, Why},
};

/// What is told is believed by the guest for so long at least and at most, in seconds.
const TTL: std::ops::RangeInclusive<u32> = 1..=300;
const STAND_IN_TTL: u32 = 5;
/// Answers to one question.
const ANSWERS_MAX: usize = 32;
/// Names that are looked up to recall an address, and how long.
const RECALL_MAX: usize = 128;
const RECALL_PATIENCE: Duration = Duration::from_secs(3);
/// Longest question; a name has 255 bytes at most.
const QUESTION_BYTES_MAX: usize = 1024;
/// Longest time that a connection waits for its next question.
const IDLE: Duration = Duration::from_secs(10);

/// Answers questions.
#[derive(Debug)]
pub(crate) struct Dns {
    gateway: Rc<Gateway>,
    resolver: Rc<Resolver>,
    memory: Rc<RefCell<Memory>>,
    limits: NameLimits,
}

impl Dns {
    pub(crate) fn new(
        gateway: Rc<Gateway>,
        resolver: Rc<Resolver>,
        memory: Rc<RefCell<Memory>>,
    ) -> Self {
        Self { gateway, resolver, memory, limits: NameLimits::default() }
    }

    /// The reply to a question; none to what is not even a header.
    pub(crate) async fn answer(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = match Question::parse(question) {
            Ok(question) => question,
            Err(NoQuestion::Refused(reply)) => return Some(reply),
            Err(NoQuestion::Silence) => return None,
        };
        let said = self.say(question.query()).await;
        question.reply(said, transport)
    }

    /// Finds the names that a gateway before this one may have given the address out for: those that
    /// the policy spells out and that lead there. Names that a pattern allows are not guessed.
    pub(crate) async fn recall(&self, address: IpAddr) {
        let Some(active) = self.gateway.active() else { return };
        let hosts = active.policy.domains.iter().filter_map(|domain| match &domain.pattern {
            HostPattern::Exact(host) => Some(host),
            HostPattern::Any | HostPattern::Wild(_) => None,
        });
        let asking = hosts.take(RECALL_MAX).map(async |host| {
            let found = self.resolver.addresses(host).await.unwrap_or_default();
            let is_there = found.contains(&address) || active.policy.stands_in(address, host);
            if is_there && self.gateway.may_tell(&active, address, host).is_ok() {
                self.memory.borrow_mut().remember(address, host);
            }
        });
        // A name server that does not answer keeps nobody waiting for long.
        drop(timeout(RECALL_PATIENCE, join_all(asking)).await);
    }

    /// Serves a connection of questions, one after another.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        let mut question = vec![0; QUESTION_BYTES_MAX];
        loop {
            let read = async {
                let length = usize::from(stream.read_u16().await?);
                let question =
                    question.get_mut(..length).ok_or(std::io::ErrorKind::InvalidInput)?;
                stream.read_exact(question).await
            };
            let Ok(Ok(length)) = timeout(IDLE, read).await else { return };
            let Some(reply) = self.answer(&question[..length], Transport::Tcp).await else {
                return;
            };
            let Ok(bytes) = u16::try_from(reply.len()) else { return };
            let framed = [&bytes.to_be_bytes()[..], &reply].concat();
            if !matches!(timeout(IDLE, stream.write_all(&framed)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn say(&self, query: &Query) -> Said {
        let Some(active) = self.gateway.active() else { return Said::Failed };
        let mut text = query.name.to_ascii();
        let judged = match Host::parse(&text) {
            Ok(host) => {
                // In one case, so that the same name again is the same.
                host.as_str().clone_into(&mut text);
                self.judge(&active, &host).map(|rule| (host, rule))
            }
            Err(_) => Err(Denial {
                rule: "default".to_owned(),
                why: Why::Malformed("it is no host name"),
            }),
        };
        let (host, rule) = match judged {
            Ok(allowed) => allowed,
            Err(denial) => {
                self.tell(Decision::Deny, &denial.rule, &text, Some(denial.why.to_string()));
                return Said::Nothing;
            }
        };
        if host.as_str() == HOST_NAME {
            return Said::Records(self.host_itself(query));
        }
        const ADDRESSES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];
        const OTHERS: [RecordType; 3] = [RecordType::TXT, RecordType::SRV, RecordType::MX];
        if ADDRESSES.contains(&query.query_type) {
            self.addresses(&active, query, &host, &rule).await
        } else if OTHERS.contains(&query.query_type) {
            self.tell(Decision::Allow, &rule, &text, None);
            self.records(query, &host).await
        } else {
            // What would tell of other ways in (HTTPS and SVCB carry keys that hide names) is not
            // there, and neither is what nobody needs.
            Said::Records(Vec::new())
        }
    }

    /// The rule by which the name may be sent on.
    fn judge(&self, active: &Active, host: &Host) -> Result<String, Denial> {
        let grant = active.policy.resolve(host)?;
        let policy = &active.policy;
        if policy.spells_out(host) || (!policy.is_too_long(host) && self.limits.allow(host)) {
            Ok(grant.rule)
        } else {
            Err(Denial { rule: grant.rule, why: Why::DnsLimit })
        }
    }

    fn host_itself(&self, query: &Query) -> Vec<Record> {
        let ours: [(RecordType, IpAddr); 2] =
            [(RecordType::A, GATEWAY_V4.into()), (RecordType::AAAA, GATEWAY_V6.into())];
        let Some((_, address)) = ours.into_iter().find(|(kind, _)| *kind == query.query_type)
        else {
            return Vec::new();
        };
        if let Ok(host) = Host::parse(HOST_NAME) {
            self.memory.borrow_mut().remember(address, &host);
        }
        vec![Record::from_rdata(query.name.clone(), *TTL.end(), RData::from(address))]
    }

    async fn addresses(&self, active: &Active, query: &Query, host: &Host, rule: &str) -> Said {
        let answers = active.policy.answers(host);
        let found = match self.resolver.records(host, query.query_type).await {
            Ok(found) => found,
            Err(_) if answers => return self.stand_in(query, host, rule),
            Err(error) => return self.failed(host, rule, &error),
        };
        let mut told = Vec::new();
        let mut hidden = None;
        for record in found.iter().take(ANSWERS_MAX) {
            let Some(address) = address_of(&record.data) else { continue };
            match self.gateway.may_tell(active, address, host) {
                Ok(()) => {
                    self.memory.borrow_mut().remember(address, host);
                    let ttl = record.ttl.clamp(*TTL.start(), *TTL.end());
                    told.push(Record::from_rdata(query.name.clone(), ttl, record.data.clone()));
                }
                Err(denial) => hidden = Some((denial, address)),
            }
        }
        match hidden {
            Some(_) if told.is_empty() && answers => return self.stand_in(query, host, rule),
            Some((denial, address)) if told.is_empty() => {
                let reason = format!("it leads to {address}: {}", denial.why);
                self.tell(Decision::Deny, &denial.rule, host.as_str(), Some(reason));
                return Said::Nothing;
            }
            Some(_) | None => self.tell(Decision::Allow, rule, host.as_str(), None),
        }
        Said::Records(told)
    }

    /// What is told of a name that leads nowhere, for whose requests that does not matter. Not for long:
    /// it may lead somewhere next.
    fn stand_in(&self, query: &Query, host: &Host, rule: &str) -> Said {
        let reason = "it leads nowhere, and rules answer for it".to_owned();
        self.tell(Decision::Allow, rule, host.as_str(), Some(reason));
        let address = address::stand_in(host);
        if query.query_type != RecordType::A {
            return Said::Records(Vec::new());
        }
        self.memory.borrow_mut().remember(address, host);
        let record = Record::from_rdata(query.name.clone(), STAND_IN_TTL, RData::from(address));
        Said::Records(vec![record])
    }

    async fn records(&self, query: &Query, host: &Host) -> Said {
        match self.resolver.records(host, query.query_type).await {
            Ok(found) => Said::Records(
                found
                    .into_iter()
                    .filter(|record| record.record_type() == query.query_type)
                    .take(ANSWERS_MAX)
                    .map(|record| {
                        let ttl = record.ttl.clamp(*TTL.start(), *TTL.end());
                        Record::from_rdata(query.name.clone(), ttl, record.data)
                    })
                    .collect(),
            ),
            Err(LookupError::NoSuchName | LookupError::NoName) => Said::Nothing,
            Err(LookupError::Failed(_) | LookupError::Busy) => Said::Failed,
        }
    }

    fn failed(&self, host: &Host, rule: &str, error: &LookupError) -> Said {
        self.tell(Decision::Allow, rule, host.as_str(), Some(error.to_string()));
        match error {
            LookupError::NoSuchName | LookupError::NoName => Said::Nothing,
            LookupError::Failed(_) | LookupError::Busy => Said::Failed,
        }
    }

    fn tell(&self, decision: Decision, rule: &str, name: &str, reason: Option<String>) {
        let mut event = Event::new(clock::now_ms(), decision, Kind::Dns, rule);
        event.host = Some(name.trim_end_matches('.').chars().take(255).collect());
        event.reason = reason;
        self.gateway.recorder.tell(event);
    }
}

#[cfg(test)]
mod tests;
