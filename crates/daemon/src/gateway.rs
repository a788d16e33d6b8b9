//! The gateway of one session: a process of its own that holds the only way out, started, configured
//! and started again by a task that does nothing else.
//!
//! A gateway outlives the server, as its machine does. While it is gone the sandbox goes on without
//! a network: nothing else is connected to the guest's card. A new server takes up what it finds
//! and configures it anew, so that what was changed just before the last one died holds too.

mod channel;
mod place;
mod process;
mod supervisor;
mod waiting;

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use channel::ChannelError;
pub(crate) use place::Place;
pub(crate) use process::{Program, strays_below};
pub(crate) use waiting::Waiting;

use crate::{
    identity::Whom,
    network::{ConfigureError, Egress, Network},
    store::Traffic,
    tasks::Tasks,
};
use supervisor::{Ask, Supervisor};

/// Asks waiting for the supervisor.
const MAILBOX: usize = 16;

/// Makes connections to the guest's network card.
pub(crate) type Card = Arc<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;

/// What a gateway is started with.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) place: Place,
    pub(crate) program: Program,
    pub(crate) card: Card,
    pub(crate) egress: Arc<Egress>,
    /// Where it is watched.
    pub(crate) tasks: Tasks,
    pub(crate) whom: Whom,
    pub(crate) network: Network,
    /// What has passed the gateways that the session had before it was paused.
    pub(crate) before: Traffic,
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What there is to know of a session's gateways, for who watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Counts up whenever there is more in the audit log.
    pub(crate) logged: u64,
    /// Counts up whenever a gateway has taken the place of one that died, whose connections it does not
    /// know.
    pub(crate) replaced: u64,
    pub(crate) traffic: Traffic,
    /// What they have used of the host's processors; of those that ended before this server was started,
    /// nothing.
    pub(crate) cpu_ms: u64,
}

/// Why no gateway came up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the guest's network card cannot be reached")]
    Card(#[source] io::Error),
    #[error("the gateway's process could not be started")]
    Process(#[source] io::Error),
    #[error("the gateway cannot be spoken with")]
    Channel(#[from] ChannelError),
    #[error("the gateway ended at its start: {0}")]
    Died(String),
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    #[error("the gateway refuses its configuration: {0}")]
    Rejected(String),
}

/// Why a change does not hold. What was before does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    #[error("the gateway refuses its configuration: {0}")]
    Rejected(String),
    #[error("the configuration is larger than a gateway takes")]
    TooLong,
    #[error("the session is ending")]
    Ending,
}

/// A handle to a session's gateway, whichever process that is at the moment. Dropping it ends
/// nothing: gateways outlive the server.
#[derive(Debug)]
#[must_use = "a gateway goes on running when this is dropped"]
pub(crate) struct Gateway {
    asks: mpsc::Sender<Ask>,
}

impl Gateway {
    /// Starts a gateway, or takes the one that waits; it holds to its policy when this returns. On
    /// failure nothing is left running.
    pub(crate) async fn start(
        spec: Spec,
        waiting: Option<Waiting>,
        news: watch::Sender<News>,
    ) -> Result<Self, StartError> {
        let (supervisor, handle) = Self::supervised(spec, news);
        supervisor.start(waiting).await?;
        Ok(handle)
    }

    /// Takes up the gateway of an earlier server, or starts one in its place, in the background.
    pub(crate) fn adopt(spec: Spec, news: watch::Sender<News>) -> Self {
        let (supervisor, handle) = Self::supervised(spec, news);
        supervisor.adopt();
        handle
    }

    fn supervised(spec: Spec, news: watch::Sender<News>) -> (Supervisor, Self) {
        let (asks, asked) = mpsc::channel(MAILBOX);
        (Supervisor::new(spec, news, asked), Self { asks })
    }

    /// Makes the network as it is to be hold, once this returns without an error: a gateway that
    /// does not answer is ended, so that nothing passes that should not.
    pub(crate) async fn change(&self, network: Network) -> Result<(), ChangeError> {
        let (reply, changed) = oneshot::channel();
        let ask = Ask::Change { network: Box::new(network), reply };
        self.asks.send(ask).await.map_err(|_gone| ChangeError::Ending)?;
        changed.await.unwrap_or(Err(ChangeError::Ending))
    }

    /// Lets it end with its machine, and sees to it that it does.
    pub(crate) async fn end(self) {
        let (reply, ended) = oneshot::channel();
        if self.asks.send(Ask::End(reply)).await.is_ok() {
            drop(ended.await);
        }
    }
}

#[cfg(test)]
mod tests;
