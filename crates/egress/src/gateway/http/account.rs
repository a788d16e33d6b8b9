//! What is told of one request when it is over, and before that if it takes long.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use http::{HeaderMap, Method, Uri, request::Parts};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{AbortHandle, spawn_local},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    event::{Decision, Event, Kind, UNDER_WAY},
    gateway::Recorder,
    policy::{Denial, Head},
};

/// Longest path that is told, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// Held by everything that still works on the request; when the last lets go, the event is told.
#[derive(Debug)]
pub(crate) struct Account {
    event: RefCell<Event>,
    recorder: Recorder,
    since: Instant,
    /// Bytes of the body from the guest, and of that to it.
    pub(crate) sent: Cell<u64>,
    pub(crate) received: Cell<u64>,
    /// The request's head as it was judged, so that it can be judged again.
    judged: RefCell<Option<Judged>>,
    /// Cancelled when the request may go on no longer.
    pub(crate) cut: CancellationToken,
    /// One of as many requests as may run at a time.
    _permit: Option<OwnedSemaphorePermit>,
    /// Tells that it is under way.
    watch: OnceCell<AbortHandle>,
}

#[derive(Debug)]
struct Judged {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Account {
    pub(crate) fn open(
        event: Event,
        recorder: Recorder,
        cut: CancellationToken,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Rc<Self> {
        let account = Rc::new(Self {
            event: RefCell::new(event),
            recorder,
            since: Instant::now(),
            sent: Cell::new(0),
            received: Cell::new(0),
            judged: RefCell::new(None),
            cut,
            _permit: permit,
            watch: OnceCell::new(),
        });
        let watched = Rc::downgrade(&account);
        let watch = spawn_local(async move {
            sleep(UNDER_WAY).await;
            if let Some(account) = watched.upgrade() {
                account.tell_under_way();
            }
        });
        account.watch.get_or_init(|| watch.abort_handle());
        account
    }

    fn tell_under_way(&self) {
        let event = self.event.borrow();
        if event.decision == Decision::Allow {
            self.recorder.tell(Event { under_way: true, ..self.so_far(event.clone()) });
        }
    }

    fn so_far(&self, mut event: Event) -> Event {
        event.sent = Some(self.sent.get());
        event.received = Some(self.received.get());
        let ms = self.since.elapsed().as_millis();
        event.duration_ms = Some(u64::try_from(ms).unwrap_or(u64::MAX));
        event
    }

    /// What a request's event begins with.
    pub(crate) fn event(parts: &Parts) -> Event {
        let mut event = Event::new(clock::now_ms(), Decision::Deny, Kind::Http, "default");
        event.method = Some(parts.method.as_str().chars().take(32).collect());
        event.path = Some(shortened(parts.uri.path()));
        event
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Event)) {
        change(&mut self.event.borrow_mut());
    }

    pub(crate) fn allow(&self, rule: &str) {
        self.change(|event| {
            event.decision = Decision::Allow;
            rule.clone_into(&mut event.rule);
        });
    }

    pub(crate) fn deny(&self, denial: &Denial) {
        self.change(|event| {
            event.decision = Decision::Deny;
            denial.rule.clone_into(&mut event.rule);
            event.reason = Some(denial.why.to_string());
        });
    }

    /// What failed; the first failure is told.
    pub(crate) fn fail(&self, reason: impl Into<String>) {
        self.change(|event| {
            event.reason.get_or_insert_with(|| reason.into());
        });
    }

    pub(crate) fn keep_head(&self, parts: &Parts) {
        *self.judged.borrow_mut() = Some(Judged {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
        });
    }

    /// Asks about the head that was kept; nothing if none was.
    pub(crate) fn judge_again<T>(&self, ask: impl FnOnce(&Head<'_>) -> T) -> Option<T> {
        self.judged.borrow().as_ref().map(|judged| {
            ask(&Head {
                method: judged.method.as_str(),
                path: judged.uri.path(),
                query: judged.uri.query(),
                headers: &judged.headers,
            })
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
        self.recorder.tell(self.so_far(self.event.borrow().clone()));
    }
}

fn shortened(path: &str) -> String {
    path[..path.floor_char_boundary(PATH_BYTES_MAX)].to_owned()
}
