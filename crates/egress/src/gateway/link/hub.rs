//! What the link and the connections on it share: who is connected, what is to be sent, who waits
//! for which moment.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    rc::Rc,
    task::Waker,
    time::Duration,
};

use smoltcp::time::{self, Instant};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    Arrival, LIMITS, Question, Refusal, Refused,
    connection::{Connection, Ends, Moment, Outcome},
    pace,
    share::{Shares, Taken},
};
use crate::gateway::{
    craft::{self, Syn},
    frames::Outbox,
    packet::Segment,
};

/// How long the guest has to answer the answer to its SYN.
const HANDSHAKE: time::Duration = pace::told(Duration::from_secs(30));
/// How long a connection that nobody holds may take to end.
const FAREWELL: time::Duration = pace::told(Duration::from_secs(60));
/// smoltcp may ask to be called at once and then have nothing to do.
const PATIENCE: time::Duration = pace::told(Duration::from_millis(1));

/// Where news of the link go.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) refused: mpsc::Sender<Refused>,
}

#[derive(Debug)]
pub(crate) struct Hub {
    pub(super) out: RefCell<Outbox>,
    table: RefCell<HashMap<Ends, Place>>,
    ready: RefCell<VecDeque<Rc<Connection>>>,
    alarms: RefCell<BTreeSet<(Instant, Ends)>>,
    waiting: Cell<usize>,
    shares: Rc<Shares>,
    waker: RefCell<Option<Waker>>,
    /// Until the link is gone.
    outlets: RefCell<Option<Outlets>>,
    next: Cell<u64>,
    start: tokio::time::Instant,
    closed: Cell<bool>,
}

/// What there is between two ends.
#[derive(Debug)]
enum Place {
    /// The guest asked for a connection, and nobody has decided yet.
    Waiting {
        number: u64,
        syn: Syn,
    },
    Open(Rc<Connection>),
}

impl Hub {
    pub(super) fn new(outlets: Outlets) -> Self {
        Self {
            out: RefCell::default(),
            table: RefCell::default(),
            ready: RefCell::default(),
            alarms: RefCell::default(),
            waiting: Cell::new(0),
            shares: Rc::default(),
            waker: RefCell::new(None),
            outlets: RefCell::new(Some(outlets)),
            next: Cell::new(0),
            start: tokio::time::Instant::now(),
            closed: Cell::new(false),
        }
    }

    pub(super) fn now(&self) -> Instant {
        pace::moment(self.start.elapsed())
    }

    /// When smoltcp's moment is.
    pub(super) fn at(&self, moment: Instant) -> tokio::time::Instant {
        self.start + pace::since_start(moment)
    }

    /// Who is woken when there is something to do.
    pub(super) fn wakes(&self, waker: &Waker) {
        let mut current = self.waker.borrow_mut();
        if current.as_ref().is_none_or(|current| !current.will_wake(waker)) {
            *current = Some(waker.clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Takes a segment of the guest: it belongs to a connection, or asks for one, or is refused.
    pub(super) fn segment(self: &Rc<Self>, segment: &Segment<'_>, now: Instant) {
        let ends = Ends::of(segment);
        let mut table = self.table.borrow_mut();
        match table.get_mut(&ends) {
            Some(Place::Open(connection)) => {
                let connection = Rc::clone(connection);
                drop(table);
                connection.receive(segment, &mut self.out.borrow_mut(), now);
                self.queue(connection);
            }
            Some(Place::Waiting { .. }) if segment.flags.resets() => {
                table.remove(&ends);
                self.waiting.set(self.waiting.get() - 1);
            }
            // The same again, or another one: a guest that gave up says nothing.
            Some(Place::Waiting { syn, .. }) if segment.flags.opens() => *syn = syn_of(segment),
            Some(Place::Waiting { .. }) => {}
            None if segment.flags.opens() => {
                drop(table);
                self.arrive(ends, segment);
            }
            None => craft::reset(&mut self.out.borrow_mut(), segment),
        }
    }

    fn arrive(self: &Rc<Self>, ends: Ends, segment: &Segment<'_>) {
        if LIMITS.connections <= self.waiting.get() + self.shares.taken().connections {
            craft::reset(&mut self.out.borrow_mut(), segment);
            self.refused(Refused {
                what: Refusal::TooManyConnections,
                to: Some(ends.to.ip()),
                port: Some(ends.to.port()),
                from_port: Some(ends.guest_port),
            });
            return;
        }
        // The guest asks again after a second.
        if LIMITS.waiting <= self.waiting.get() {
            return;
        }
        let number = self.next.get();
        let arrival = Arrival::new(Rc::clone(self), ends, number);
        let told = match &*self.outlets.borrow() {
            Some(outlets) => outlets.arrivals.try_send(arrival).map_err(TrySendError::into_inner),
            None => Err(arrival),
        };
        // The guest asks again after a second.
        if let Err(arrival) = told {
            return arrival.forget();
        }
        self.next.set(number + 1);
        self.waiting.set(self.waiting.get() + 1);
        let waiting = Place::Waiting { number, syn: syn_of(segment) };
        self.table.borrow_mut().insert(ends, waiting);
    }

    /// The SYN of an arrival, if the guest still wants to be let in.
    fn withdraw(&self, ends: Ends, number: u64) -> Option<Syn> {
        let mut table = self.table.borrow_mut();
        let Entry::Occupied(entry) = table.entry(ends) else { return None };
        let Place::Waiting { number: current, syn } = *entry.get() else { return None };
        if current != number {
            return None;
        }
        entry.remove();
        self.waiting.set(self.waiting.get() - 1);
        Some(syn)
    }

    pub(super) fn is_waiting(&self, ends: Ends, number: u64) -> bool {
        let table = self.table.borrow();
        matches!(table.get(&ends), Some(Place::Waiting { number: current, .. }) if *current == number)
    }

    pub(super) fn accept(&self, ends: Ends, number: u64) -> Option<Rc<Connection>> {
        // Without randomness there are no connections.
        let seed = getrandom::u64().ok()?;
        let syn = self.withdraw(ends, number)?;
        let share = self.shares.take();
        let now = self.now();
        let mut moment = Moment { now, out: &mut self.out.borrow_mut(), seed };
        let connection = Rc::new(Connection::open(ends, syn, share, &mut moment));
        connection.limit.set(Some(now + HANDSHAKE));
        self.table.borrow_mut().insert(ends, Place::Open(Rc::clone(&connection)));
        self.queue(Rc::clone(&connection));
        self.wake();
        Some(connection)
    }

    pub(super) fn refuse(&self, ends: Ends, number: u64) {
        if let Some(syn) = self.withdraw(ends, number) {
            craft::refuse(&mut self.out.borrow_mut(), ends.to, ends.guest_port, syn.sequence);
            self.wake();
        }
    }

    /// Nobody holds the connection any more.
    pub(super) fn orphan(&self, connection: Rc<Connection>) {
        connection.let_go();
        connection.limit.set(Some(self.now() + FAREWELL));
        self.queue(connection);
        self.wake();
    }

    /// The connection is to be looked at.
    pub(super) fn queue(&self, connection: Rc<Connection>) {
        if !connection.over.get() && !connection.queued.replace(true) {
            self.ready.borrow_mut().push_back(connection);
        }
    }

    /// Whether there is something to send and room for it.
    pub(super) fn can_send(&self) -> bool {
        !self.ready.borrow().is_empty() && self.out.borrow().has_room()
    }

    /// Looks at the connections that wait for it, as long as there is room.
    pub(super) fn send(&self, now: Instant) {
        while self.can_send() {
            let Some(connection) = self.ready.borrow_mut().pop_front() else { return };
            connection.queued.set(false);
            let outcome = connection.send(&mut self.out.borrow_mut(), now);
            match outcome {
                Outcome::Waits(at) => self.alarm(&connection, at.map(|at| at.max(now + PATIENCE))),
                Outcome::Blocked => self.queue(connection),
                Outcome::Over => self.remove(&connection),
            }
        }
    }

    fn remove(&self, connection: &Rc<Connection>) {
        self.alarm(connection, None);
        connection.over.set(true);
        let mut table = self.table.borrow_mut();
        if let Entry::Occupied(entry) = table.entry(connection.ends)
            && matches!(entry.get(), Place::Open(current) if Rc::ptr_eq(current, connection))
        {
            entry.remove();
        }
    }

    /// Sets the one alarm that a connection has. One that comes too early does no harm, and one that
    /// only moves on need not be touched.
    fn alarm(&self, connection: &Rc<Connection>, at: Option<Instant>) {
        let set = connection.alarm.get();
        if set.is_some() && set <= at {
            return;
        }
        let mut alarms = self.alarms.borrow_mut();
        if let Some(set) = set {
            alarms.remove(&(set, connection.ends));
        }
        if let Some(at) = at {
            alarms.insert((at, connection.ends));
        }
        connection.alarm.set(at);
    }

    /// The next moment at which there is something to do.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        self.alarms.borrow().first().map(|&(at, _)| at)
    }

    /// Queues the connections whose moment has come.
    pub(super) fn ring(&self, now: Instant) {
        while self.next_alarm().is_some_and(|at| at <= now) {
            let Some((_, ends)) = self.alarms.borrow_mut().pop_first() else { return };
            let table = self.table.borrow();
            if let Some(Place::Open(connection)) = table.get(&ends) {
                connection.alarm.set(None);
                let connection = Rc::clone(connection);
                drop(table);
                self.queue(connection);
            }
        }
    }

    pub(super) fn refused(&self, refused: Refused) {
        // What nobody has the time to hear is not held for them.
        let outlets = self.outlets.borrow();
        if let Some(outlets) = &*outlets
            && outlets.refused.try_send(refused).is_err()
        {
            tracing::debug!(?refused, "too many refusals to tell of all");
        }
    }

    pub(super) fn question(&self, question: Question) {
        // A resolver asks again.
        let outlets = self.outlets.borrow();
        if let Some(outlets) = &*outlets
            && let Err(refused) = outlets.questions.try_send(question)
        {
            tracing::debug!(%refused, "too many questions to answer all");
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The link is gone, and so is everything on it.
    pub(super) fn close(&self) {
        self.closed.set(true);
        drop(self.outlets.borrow_mut().take());
        let table = std::mem::take(&mut *self.table.borrow_mut());
        self.waiting.set(0);
        self.ready.borrow_mut().clear();
        self.alarms.borrow_mut().clear();
        self.waker.borrow_mut().take();
        for place in table.into_values() {
            if let Place::Open(connection) = place {
                connection.tcp().socket().abort();
            }
        }
    }

    /// How many connections there are, and bytes of their buffers.
    pub(super) fn taken(&self) -> Taken {
        self.shares.taken()
    }
}

fn syn_of(segment: &Segment<'_>) -> Syn {
    Syn { sequence: segment.sequence, window: segment.window, options: segment.syn_options() }
}
