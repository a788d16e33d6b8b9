//! A stream on its way out, shared by the one who writes and the task that owns the connection.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use protocol::{Ack, Outbox, StreamId, Violation, WINDOW, Way};
use tokio::sync::Notify;

use super::{lent::Lending, link::Link, wake::Wake};

/// The receiver takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

#[derive(Debug)]
pub(super) struct Outgoing {
    wake: Arc<Wake>,
    stream: StreamId,
    state: Mutex<State>,
    /// There is room, or the stream is closed.
    changed: Notify,
    /// The same for the one who polls.
    poller: AtomicWaker,
}

#[derive(Debug)]
enum State {
    /// A stream of an earlier process: the agent has not yet said where it stands.
    Unknown {
        then: Then,
    },
    Open(Outbox),
    /// All is written, and under way.
    Ended(Outbox),
    /// The agent takes no more, or has all of it.
    Closed,
    /// The writer gave it up.
    Left,
}

/// What follows once it is known where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Writing,
    End,
}

impl Outgoing {
    pub(super) fn new(wake: Arc<Wake>, stream: StreamId) -> Arc<Self> {
        Self::with(wake, stream, State::Open(Outbox::new(stream)))
    }

    pub(super) fn adopted(wake: Arc<Wake>, stream: StreamId) -> Arc<Self> {
        Self::with(wake, stream, State::Unknown { then: Then::Writing })
    }

    fn with(wake: Arc<Wake>, stream: StreamId, state: State) -> Arc<Self> {
        let (state, changed) = (Mutex::new(state), Notify::new());
        Arc::new(Self { wake, stream, state, changed, poller: AtomicWaker::new() })
    }

    fn wake_writers(&self) {
        self.changed.notify_waiters();
        self.poller.wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side of the task that owns the connection.
impl Outgoing {
    pub(super) fn is_ready(&self) -> bool {
        match &*self.state() {
            State::Open(outbox) | State::Ended(outbox) => outbox.is_ready(),
            State::Unknown { .. } | State::Closed | State::Left => false,
        }
    }

    pub(super) fn put_frame(&self, link: &mut Link, lending: &mut Lending) -> Option<()> {
        match &mut *self.state() {
            State::Open(outbox) | State::Ended(outbox) => {
                let frame = match outbox.next_chunk().and_then(|bytes| lending.fill(bytes)) {
                    Some(slot) => outbox.next_filled(link.epoch(), slot)?,
                    None => outbox.next_frame(link.epoch(), Way::Along)?,
                };
                lending.on_sent(frame.len());
                link.put(frame);
                Some(())
            }
            State::Unknown { .. } | State::Closed | State::Left => None,
        }
    }

    pub(super) fn on_ack(&self, ack: &Ack) -> Result<(), Violation> {
        let mut state = self.state();
        match &mut *state {
            State::Unknown { then } => *state = taken_over(self.stream, ack, *then)?,
            State::Open(outbox) | State::Ended(outbox) => {
                outbox.on_ack(ack)?;
                if outbox.is_done() {
                    *state = State::Closed;
                }
            }
            State::Closed | State::Left => {}
        }
        self.wake_writers();
        Ok(())
    }

    pub(super) fn on_epoch(&self) {
        match &mut *self.state() {
            State::Open(outbox) | State::Ended(outbox) => outbox.on_epoch(),
            State::Unknown { .. } | State::Closed | State::Left => {}
        }
    }

    /// The agent has told where all streams stand that it knows. This one it does not know, if it
    /// still waits: then it has received nothing, and what was sent before is sent again. If it
    /// does know it, it passes over what it has.
    pub(super) fn on_all_told(&self) {
        let mut state = self.state();
        match &mut *state {
            State::Unknown { .. } => *state = State::Closed,
            State::Open(outbox) | State::Ended(outbox) => {
                let offset = outbox.acked();
                let limit = offset.saturating_add(WINDOW);
                let ack = Ack { stream: self.stream, offset, limit, last: false };
                outbox.on_ack(&ack).expect("it repeats what was said before");
            }
            State::Closed | State::Left => {}
        }
        self.wake_writers();
    }

    /// The agent takes no more.
    pub(super) fn close(&self) {
        *self.state() = State::Closed;
        self.wake_writers();
    }

    pub(super) fn was_left(&self) -> bool {
        matches!(*self.state(), State::Left)
    }
}

/// The writer's side.
impl Outgoing {
    /// Waits for room for all of it.
    pub(super) async fn write(&self, mut bytes: Bytes) -> Result<(), Closed> {
        while !bytes.is_empty() {
            self.wait(|state| match state {
                State::Open(outbox) if outbox.room() == 0 => None,
                State::Open(outbox) => {
                    outbox.push(bytes.split_to(bytes.len().min(outbox.room())));
                    Some(Ok(()))
                }
                State::Unknown { .. } => None,
                State::Ended(_) | State::Closed | State::Left => Some(Err(Closed)),
            })
            .await?;
            self.wake.touch(self.stream);
        }
        Ok(())
    }

    /// Takes what there is room for. For one writer, who is woken once there is some.
    pub(super) fn poll_write(
        &self,
        context: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Closed>> {
        self.poller.register(context.waker());
        let written = match &mut *self.state() {
            State::Open(outbox) if outbox.room() == 0 => return Poll::Pending,
            State::Open(outbox) => {
                let count = bytes.len().min(outbox.room());
                outbox.push(&bytes[..count]);
                count
            }
            State::Unknown { .. } => return Poll::Pending,
            State::Ended(_) | State::Closed | State::Left => return Poll::Ready(Err(Closed)),
        };
        self.wake.touch(self.stream);
        Poll::Ready(Ok(written))
    }

    /// Ends it, and waits until all of it has arrived or nothing more will.
    pub(super) fn poll_end(&self, context: &Context<'_>) -> Poll<()> {
        self.poller.register(context.waker());
        match &*self.state() {
            State::Closed | State::Left => return Poll::Ready(()),
            State::Ended(_) => return Poll::Pending,
            State::Open(_) | State::Unknown { .. } => {}
        }
        self.end();
        Poll::Pending
    }

    /// No more follows.
    pub(super) fn end(&self) {
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Closed) {
            State::Unknown { .. } => State::Unknown { then: Then::End },
            State::Open(mut outbox) | State::Ended(mut outbox) => {
                outbox.end();
                State::Ended(outbox)
            }
            State::Closed => State::Closed,
            State::Left => State::Left,
        };
        drop(state);
        self.wake.touch(self.stream);
    }

    /// How much has arrived.
    pub(super) async fn acknowledged(&self) -> Result<u64, Closed> {
        self.wait(|state| match state {
            State::Open(outbox) | State::Ended(outbox) => Some(Ok(outbox.acked())),
            State::Unknown { .. } => None,
            State::Closed | State::Left => Some(Err(Closed)),
        })
        .await
    }

    /// Where the next byte written will stand.
    pub(super) async fn written(&self) -> Result<u64, Closed> {
        self.wait(|state| match state {
            State::Open(outbox) | State::Ended(outbox) => Some(Ok(outbox.written())),
            State::Unknown { .. } => None,
            State::Closed | State::Left => Some(Err(Closed)),
        })
        .await
    }

    pub(super) fn leave(&self) {
        *self.state() = State::Left;
        self.wake.touch(self.stream);
    }

    async fn wait<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = ready(&mut self.state()) {
                return value;
            }
            changed.await;
        }
    }
}

/// The offset is the agent's word: one that leaves no room to count on is refused.
fn taken_over(stream: StreamId, ack: &Ack, then: Then) -> Result<State, Violation> {
    if ack.last {
        return Ok(State::Closed);
    }
    if u64::MAX / 2 < ack.offset {
        return Err(Violation::AckOfUnsent);
    }
    let mut outbox = Outbox::resume(stream, ack.offset);
    outbox.on_ack(ack)?;
    Ok(match then {
        Then::Writing => State::Open(outbox),
        Then::End => {
            outbox.end();
            State::Ended(outbox)
        }
    })
}
