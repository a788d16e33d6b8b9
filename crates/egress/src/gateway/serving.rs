//! What comes off the guest's link, handed to who deals with it.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_local,
    time::Instant,
};

use super::{
    connection::{Gateway, Peer, carry},
    dns::{Dns, Memory, Transport},
    link::{Arrival, News, Question, Refusal, Refused},
    packet::{Junk, is_gateway},
    resolver::Resolver,
    traffic::Traffic,
};
use crate::{
    clock,
    event::{Decision, Event, Kind},
    policy::Why,
};

const DNS_PORT: u16 = 53;
/// A guest believes an answer for five minutes at most (`dns`); some programs for a little longer.
const RECALL: Duration = Duration::from_secs(600);
/// Questions that are being answered, most of them at once; others wait on the link, whose queue is
/// bounded.
const QUESTIONS_MAX: usize = 512;

/// Deals with everything that comes from one link.
pub(super) struct Serving {
    gateway: Rc<Gateway>,
    dns: Rc<Dns>,
    memory: Rc<RefCell<Memory>>,
    traffic: Traffic,
    /// Until then the guest may hold addresses that a gateway before this one has given out.
    recall_until: Instant,
}

/// Whether a gateway has served this guest before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nobody,
    Another,
}

impl Serving {
    pub(super) fn new(gateway: Rc<Gateway>, resolver: Rc<Resolver>, before: Before) -> Self {
        let memory = Rc::new(RefCell::new(Memory::default()));
        let dns = Dns::new(Rc::clone(&gateway), resolver, Rc::clone(&memory));
        let recall_until = match before {
            Before::Nobody => Instant::now(),
            Before::Another => Instant::now() + RECALL,
        };
        Self { gateway, dns: Rc::new(dns), memory, traffic: Traffic::default(), recall_until }
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// Serves until the link is gone.
    pub(super) async fn run(self: Rc<Self>, news: News) {
        let News { mut arrivals, mut questions, mut refused, .. } = news;
        let asking = Arc::new(Semaphore::new(QUESTIONS_MAX));
        loop {
            // The next question is not taken before it can be answered, and keeps nobody else waiting.
            let question = async {
                let permit = Arc::clone(&asking).acquire_owned().await.ok()?;
                Some((questions.recv().await?, permit))
            };
            tokio::select! {
                Some(arrival) = arrivals.recv() => self.connect(arrival),
                Some((question, permit)) = question => self.ask(question, permit),
                Some(refused) = refused.recv() => self.tell(refused),
                else => return,
            }
        }
    }

    fn connect(self: &Rc<Self>, arrival: Arrival) {
        let address = arrival.to();
        if is_gateway(address.ip()) && address.port() == DNS_PORT {
            let dns = Rc::clone(&self.dns);
            if let Ok(flow) = arrival.accept() {
                spawn_local(async move { dns.serve(flow).await });
            }
            return;
        }
        let is_known = self.memory.borrow().knows(address.ip());
        if is_known || self.recall_until <= Instant::now() {
            return self.decide(arrival);
        }
        let serving = Rc::clone(self);
        spawn_local(async move {
            serving.dns.recall(address.ip()).await;
            serving.decide(arrival);
        });
    }

    fn decide(&self, arrival: Arrival) {
        let address = arrival.to();
        let names = self.memory.borrow().names_of(address.ip());
        let peer = Peer { address, names, source_port: arrival.guest_port() };
        let gateway = Rc::clone(&self.gateway);
        if !gateway.admits(&peer) {
            return arrival.refuse();
        }
        let traffic = self.traffic.clone();
        let accept = move || arrival.accept().ok().map(|flow| traffic.count(flow));
        spawn_local(carry(accept, peer, gateway));
    }

    fn ask(&self, question: Question, permit: OwnedSemaphorePermit) {
        let dns = Rc::clone(&self.dns);
        spawn_local(async move {
            if let Some(reply) = dns.answer(&question.bytes, Transport::Udp).await {
                question.answer(&reply);
            }
            drop(permit);
        });
    }

    fn tell(&self, refused: Refused) {
        let (kind, reason) = match refused.what {
            Refusal::TooManyConnections => (Kind::Tcp, Why::TooManyConnections.to_string()),
            Refusal::Udp => (Kind::Udp, Why::Udp.to_string()),
            Refusal::Junk(junk) => (kind_of(junk), junk.to_string()),
        };
        let mut event = Event::new(clock::now_ms(), Decision::Deny, kind, "default");
        event.reason = Some(reason);
        event.address = refused.to.map(|to| SocketAddr::new(to, refused.port.unwrap_or(0)));
        event.source_port = refused.from_port;
        self.gateway.recorder.tell(event);
    }
}

fn kind_of(junk: Junk) -> Kind {
    match junk {
        Junk::Echo(_) | Junk::Icmp(_) => Kind::Icmp,
        Junk::Stranger
        | Junk::Malformed
        | Junk::Chatter
        | Junk::EtherType(_)
        | Junk::Source(_)
        | Junk::Fragment(_)
        | Junk::Options(_)
        | Junk::Multicast(_)
        | Junk::Protocol(..) => Kind::Other,
    }
}
