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
}

#[derive(Debug)]
struct Parts {
    record: SandboxRecord,
    /// None if it was made by a version whose sandboxes had none.
    network: Option<Network>,
}

impl Durable {
    pub(crate) fn new(record: SandboxRecord, network: Option<Network>) -> Self {
        Self { parts: Mutex::new(Parts { record, network }) }
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

    /// Once it is stored.
    pub(super) fn set_network(&self, network: Network) {
        self.parts().network = Some(network);
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
