//! Bytes that pass between guest and upstream host as they are.

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep},
};

use super::{
    active::Active,
    connection::{Gateway, Peer, event, stays_unseen},
    in_place::InPlace,
};
use crate::{
    event::{Event, Kind, NamedBy, UNDER_WAY},
    host::Host,
    policy::{Grant, Treatment},
};

/// How many bytes have passed; it is read also when the copying was given up.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// From the guest.
    pub(crate) sent: Cell<u64>,
    /// To the guest.
    pub(crate) received: Cell<u64>,
}

/// Passes bytes both ways until both are at their end. The end of one is told to the other, which may
/// still go on.
pub(crate) async fn splice<G, U>(guest: &mut G, upstream: &mut U, passed: &Passed) -> io::Result<()>
where
    G: InPlace,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut out, mut back) = (State::Open, State::Open);
    let mut unflushed = false;
    poll_fn(|context| {
        let there = out.poll(context, &passed.sent, |step, context| match step {
            Step::Pass => {
                let drained = guest.poll_drain(context, upstream);
                unflushed |= drained.is_ready();
                if drained.is_pending() && unflushed {
                    unflushed = Pin::new(&mut *upstream).poll_flush(context)?.is_pending();
                }
                drained
            }
            Step::End => Pin::new(&mut *upstream).poll_shutdown(context).map_ok(|()| 0),
        })?;
        let here = back.poll(context, &passed.received, |step, context| match step {
            Step::Pass => guest.poll_fill(context, upstream),
            Step::End => Pin::new(&mut *guest).poll_shutdown(context).map_ok(|()| 0),
        })?;
        if there.is_ready() && here.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// How far one direction has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The reader is at its end, which the writer has not been told.
    Ending,
    Ended,
}

/// What a direction is to do next.
#[derive(Clone, Copy)]
enum Step {
    /// Some bytes; none is the reader's end.
    Pass,
    /// Tells the writer.
    End,
}

impl State {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        count: &Cell<u64>,
        mut step: impl FnMut(Step, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while *self == Self::Open {
            match ready!(step(Step::Pass, context))? {
                0 => *self = Self::Ending,
                bytes => count.set(count.get() + bytes as u64),
            }
        }
        if *self == Self::Ending {
            ready!(step(Step::End, context))?;
            *self = Self::Ended;
        }
        Poll::Ready(Ok(()))
    }
}

/// A connection whose bytes pass as they are.
#[derive(Debug)]
pub(crate) struct Spliced {
    pub(crate) grant: Grant,
    /// The name that it is for, where that is known.
    pub(crate) host: Option<Host>,
    /// TLS that was judged by its name, or TCP.
    pub(crate) kind: Kind,
}

impl Spliced {
    /// Carries the connection until it is over. `accept` gives the guest's end once the host has been
    /// reached.
    pub(crate) async fn carry<S>(
        self,
        accept: impl FnOnce() -> Option<S>,
        peer: &Peer,
        gateway: &Gateway,
    ) where
        S: InPlace,
    {
        let Some(active) = gateway.active() else { return };
        let passed = Passed::default();
        let reason = Cell::new(None);
        let since = Instant::now();
        let told = Told { gateway, peer, spliced: &self, passed: &passed, reason: &reason, since };
        let carrying = async {
            match gateway.dial(&active, peer, self.host.as_ref()).await {
                Ok(mut wire) => {
                    drop(active);
                    let Some(mut stream) = accept() else { return };
                    // Whoever broke off, both are at their end.
                    let splicing = splice(&mut stream, &mut wire, &passed);
                    let telling = async {
                        sleep(UNDER_WAY).await;
                        told.tell(Event { under_way: true, ..told.so_far() });
                        pending::<()>().await;
                    };
                    tokio::select! {
                        _ = splicing => (),
                        () = telling => (),
                    }
                }
                Err(error) => reason.set(Some(error.to_string())),
            }
        };
        tokio::select! {
            () = carrying => (),
            () = self.cut(peer, gateway) => reason.set(Some("the policy has changed".to_owned())),
        }
    }

    /// Ends when the policy would not let the bytes pass unseen any more.
    async fn cut(&self, peer: &Peer, gateway: &Gateway) {
        // The first news may be from before the connection, which does no harm: then none is missed
        // that came while its first bytes were awaited.
        let mut current = gateway.current.clone();
        while current.changed().await.is_ok() {
            let active = current.borrow_and_update().clone();
            if !active.is_some_and(|active| self.stays(&active, peer, gateway)) {
                return;
            }
        }
    }

    fn stays(&self, active: &Active, peer: &Peer, gateway: &Gateway) -> bool {
        let (address, port) = (peer.address.ip(), peer.address.port());
        let Some(host) = &self.host else {
            return stays_unseen(gateway, active, peer, self.kind);
        };
        let unseen = match active.policy.connect(host, port) {
            Ok(Treatment::Raw(_)) => true,
            Ok(Treatment::Inspect { opened, .. }) => self.kind == Kind::Tls && !opened,
            Err(_) => false,
        };
        unseen && gateway.may_dial(active, address, port, peer.led_by(host))
    }
}

/// Tells of a spliced connection when it is over, also when it is dropped.
struct Told<'a> {
    gateway: &'a Gateway,
    peer: &'a Peer,
    spliced: &'a Spliced,
    passed: &'a Passed,
    reason: &'a Cell<Option<String>>,
    since: Instant,
}

impl Told<'_> {
    fn so_far(&self) -> Event {
        let mut event = event(self.peer, self.spliced.kind, self.spliced.host.as_ref());
        // The address is all that is known of one that said no name.
        event.host = self.spliced.host.as_ref().map(Host::to_string);
        event.named_by =
            self.spliced.host.as_ref().map_or(NamedBy::Known, |host| self.peer.named_by(host));
        event.rule.clone_from(&self.spliced.grant.rule);
        event.sent = Some(self.passed.sent.get());
        event.received = Some(self.passed.received.get());
        event.duration_ms =
            Some(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        event
    }

    fn tell(&self, event: Event) {
        self.gateway.recorder.tell(event);
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.tell(Event { reason: self.reason.take(), ..self.so_far() });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::gateway::in_place::Buffered;

    #[tokio::test]
    async fn each_direction_ends_by_itself_and_bytes_are_counted() {
        let (mut guest, guest_end) = duplex(1000);
        let mut guest_end = Buffered::new(guest_end);
        let (mut host, mut host_end) = duplex(700);
        let passed = Passed::default();
        let up: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let down: Vec<u8> = up.iter().rev().copied().collect();
        let talk = async {
            // The host answers only after the guest has ended, as `rsync` and `nc -N` do.
            guest.write_all(&up).await.unwrap();
            guest.shutdown().await.unwrap();
            let mut got = Vec::new();
            guest.read_to_end(&mut got).await.unwrap();
            got
        };
        let answer = async {
            let mut got = Vec::new();
            host.read_to_end(&mut got).await.unwrap();
            host.write_all(&down).await.unwrap();
            drop(host);
            got
        };
        let (spliced, there, here) =
            tokio::join!(splice(&mut guest_end, &mut host_end, &passed), talk, answer);
        spliced.unwrap();
        assert!(there == down && here == up);
        assert_eq!((passed.sent.get(), passed.received.get()), (800_000, 800_000));
    }

    #[tokio::test]
    async fn a_lost_end_is_an_error_and_what_passed_is_still_known() {
        let (mut guest, guest_end) = duplex(64);
        let mut guest_end = Buffered::new(guest_end);
        let (host, mut host_end) = duplex(64);
        let passed = Passed::default();
        guest.write_all(b"hello").await.unwrap();
        drop(host);
        splice(&mut guest_end, &mut host_end, &passed).await.unwrap_err();
        assert_eq!(passed.sent.get(), 0);
    }
}
