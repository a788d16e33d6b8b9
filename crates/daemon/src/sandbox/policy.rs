//! What an owner does about its sandbox's network once that runs.

use egress::policy::Policy;

use super::{NotRunning, Owner, state::State};
use crate::{
    gateway::{ChangeError, Place},
    network::Network,
    store::StoreError,
};

/// Why a policy does not hold. The one before does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error("the sandbox was made without a network")]
    NoNetwork,
    #[error("the policy could not be stored")]
    Store(#[from] StoreError),
    #[error("the policy could not be given to the gateway")]
    Gateway(#[from] ChangeError),
}

impl Owner {
    /// Stores a policy and makes it hold.
    pub(super) async fn set_policy(&mut self, policy: Policy) -> Result<(), PolicyError> {
        let before = self.network().ok_or(PolicyError::NoNetwork)?;
        let next = before.with_policy(policy);
        if self.gateway.is_none() && self.state != State::Paused {
            return Err(PolicyError::NoNetwork);
        }
        // Stored first: should we die in between, the next server makes it hold.
        self.store_network(&next).await?;
        // The gateway of one that is paused is begun with it.
        if let Some(gateway) = &self.gateway
            && let Err(error) = gateway.change(next.clone()).await
        {
            self.store_network(&before).await?;
            return Err(error.into());
        }
        self.durable.set_network(next.clone());
        self.view.send_modify(|view| view.network = Some(next));
        Ok(())
    }

    /// Gives the gateway all it needs once more.
    pub(super) async fn renew_secrets(&mut self) -> Result<(), PolicyError> {
        match (self.network(), &self.gateway) {
            (Some(network), Some(gateway)) => Ok(gateway.change(network).await?),
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Ends the gateway, once its machine has been told to end or has ended.
    pub(super) async fn end_gateway(&mut self) {
        let place = Place::of(&self.context.paths, &self.session.id);
        if let Some(gateway) = self.gateway.take() {
            gateway.end().await;
            self.session.traffic = self.news.borrow().traffic;
        } else if let Some(traffic) = place.traffic() {
            // What one of an earlier server's wrote down.
            self.session.traffic = traffic;
        }
        let since = self.meter.read_ms().saturating_add(self.news.borrow().cpu_ms);
        let cpu_ms = self.session.paused_cpu_ms.saturating_add(since);
        // An earlier server may have recorded it, of a machine that is gone.
        self.session.cpu_ms = self.session.cpu_ms.max(cpu_ms);
        self.record().await;
        if let Err(error) = place.clear().await {
            tracing::error!(%error, "a gateway's folder was left behind");
        }
    }

    fn network(&self) -> Option<Network> {
        self.view.borrow().network.clone()
    }

    async fn store_network(&self, network: &Network) -> Result<(), StoreError> {
        let change = network.changed(&self.context.egress.seal, &self.session.sandbox)?;
        self.context.store.commit(vec![change]).await
    }
}
