//! What of a sandbox outlives its sessions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    network::Network,
    route::{Route, Subdomain},
    store::SandboxRecord,
};

/// What is stored of a sandbox beside its sessions, as it stands now and as its next session finds it.
#[derive(Debug)]
pub(crate) struct Durable {
    parts: Mutex<Parts>,
    /// Held by who changes what is stored.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Parts {
    record: SandboxRecord,
    /// None if it was made by a version whose sandboxes had none.
    network: Option<Network>,
    is_removed: bool,
}

/// The sandbox is removed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the sandbox has been removed")]
pub(crate) struct Removed;

/// The right to change what is stored of a sandbox: one has it at a time.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    durable: &'a Durable,
    _held: tokio::sync::MutexGuard<'a, ()>,
}

impl Durable {
    pub(crate) fn new(record: SandboxRecord, network: Option<Network>) -> Self {
        let parts = Parts { record, network, is_removed: false };
        Self { parts: Mutex::new(parts), turn: tokio::sync::Mutex::default() }
    }

    pub(crate) fn record(&self) -> SandboxRecord {
        self.parts().record.clone()
    }

    /// Its route of this name.
    pub(crate) fn route(&self, subdomain: &Subdomain) -> Option<Route> {
        self.parts().record.routes.iter().find(|route| route.subdomain == *subdomain).cloned()
    }

    pub(crate) fn network(&self) -> Option<Network> {
        self.parts().network.clone()
    }

    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Removed> {
        let held = self.turn.lock().await;
        if self.parts().is_removed { Err(Removed) } else { Ok(Turn { durable: self, _held: held }) }
    }

    /// Once it is stored.
    pub(super) fn set_network(&self, network: Network) {
        self.parts().network = Some(network);
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    pub(crate) fn record(&self) -> SandboxRecord {
        self.durable.record()
    }

    /// Once it is stored.
    pub(crate) fn set(&self, record: SandboxRecord) {
        self.durable.parts().record = record;
    }

    /// Once it is stored.
    pub(crate) fn set_network(&self, network: Network) {
        self.durable.set_network(network);
    }

    /// Once it is not stored any more.
    pub(crate) fn set_removed(&self) {
        self.durable.parts().is_removed = true;
    }
}
