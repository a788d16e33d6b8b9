//! Creates that are asked for again, since the first answer did not arrive, or by several at once: they
//! are one sandbox.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{sync::OwnedMutexGuard, time::Instant};

use super::{Registry, lock};
use crate::{ids::SandboxKey, sandbox::Sandbox, store::Phase};

/// Clients ask again within some seconds.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a create asked for, as a digest: the request may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark([u8; 32]);

impl Mark {
    pub(crate) fn of(request: &api::CreateSandbox) -> Self {
        let text = serde_json::to_vec(request).expect("our own types are always JSON");
        Self(Sha256::digest(text).into())
    }
}

/// The latest creates.
#[derive(Debug, Default)]
pub(super) struct Retries {
    made: BTreeMap<SandboxKey, Made>,
    underway: BTreeMap<(SandboxKey, Mark), Weak<tokio::sync::Mutex<()>>>,
}

/// The right to make what is asked for: whoever asks for the very same waits for it.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) came: Came,
    _guard: OwnedMutexGuard<()>,
}

/// Whether another was making the very same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    First,
    Meanwhile,
}

#[derive(Debug)]
struct Made {
    mark: Mark,
    at: Instant,
    sandbox: Weak<Sandbox>,
}

impl Retries {
    fn lock_of(&mut self, key: &SandboxKey, mark: Mark) -> Arc<tokio::sync::Mutex<()>> {
        self.underway.retain(|_, lock| lock.strong_count() > 0);
        let known = self.underway.entry((key.clone(), mark)).or_default();
        known.upgrade().unwrap_or_else(|| {
            let lock = Arc::default();
            *known = Arc::downgrade(&lock);
            lock
        })
    }

    fn note(&mut self, sandbox: &Arc<Sandbox>, mark: Mark) {
        self.made.retain(|_, made| made.at.elapsed() < REMEMBERED);
        let made = Made { mark, at: Instant::now(), sandbox: Arc::downgrade(sandbox) };
        self.made.insert(sandbox.key.clone(), made);
    }

    fn find(&self, key: &SandboxKey, mark: Mark) -> Option<Arc<Sandbox>> {
        let made = self.made.get(key)?;
        let is_it = made.mark == mark && made.at.elapsed() < REMEMBERED;
        made.sandbox.upgrade().filter(|_| is_it)
    }
}

impl Registry {
    /// Waits until nobody makes the very same under this name.
    pub(crate) async fn turn(&self, key: &SandboxKey, mark: Mark) -> Turn {
        let lock = lock(&self.retries).lock_of(key, mark);
        match Arc::clone(&lock).try_lock_owned() {
            Ok(guard) => Turn { came: Came::First, _guard: guard },
            Err(_) => Turn { came: Came::Meanwhile, _guard: lock.lock_owned().await },
        }
    }

    /// Remembers what was asked for when a sandbox was made under a name that its client chose.
    pub(crate) fn note_create(&self, sandbox: &Arc<Sandbox>, mark: Mark) {
        lock(&self.retries).note(sandbox, mark);
    }

    /// The sandbox that the very same request has made just now, if it runs. If nobody has used it yet: who
    /// asks did not hear of it; or if it was made while this one waited.
    pub(crate) fn made_just_now(
        &self,
        key: &SandboxKey,
        mark: Mark,
        came: Came,
    ) -> Option<Arc<Sandbox>> {
        let made = lock(&self.retries).find(key, mark)?;
        let now = self.find(key)?;
        let session = now.current();
        let is_unused = || now.sessions().len() == 1 && session.commands.list().is_empty();
        let is_its = Arc::ptr_eq(&made, &now)
            && session.phase() != Phase::Stopped
            && (came == Came::Meanwhile || is_unused());
        is_its.then_some(now)
    }
}
