//! Creates that are asked for again, since the first answer did not arrive: they are one sandbox.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Registry, lock};
use crate::{ids::SandboxKey, sandbox::Sandbox};

/// Clients ask again within some seconds.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a create asked for, as a digest: the request may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

#[derive(Debug)]
struct Made {
    mark: Mark,
    at: Instant,
    sandbox: Weak<Sandbox>,
}

impl Retries {
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
    /// Remembers what was asked for when a sandbox was made under a name that its client chose.
    pub(crate) fn note_create(&self, sandbox: &Arc<Sandbox>, mark: Mark) {
        lock(&self.retries).note(sandbox, mark);
    }

    /// The sandbox that the very same request has made just now, if nobody has used it yet: who asks did
    /// not hear of it.
    pub(crate) fn made_just_now(&self, key: &SandboxKey, mark: Mark) -> Option<Arc<Sandbox>> {
        let made = lock(&self.retries).find(key, mark)?;
        let now = self.find(key)?;
        let is_unused = now.sessions().len() == 1 && now.current().commands.list().is_empty();
        (Arc::ptr_eq(&made, &now) && is_unused).then_some(now)
    }
}
