//! A machine for a sandbox that nobody has asked for yet: a clone, held still, that has no identity
//! and has run nothing of anybody's.
//!
//! Its session's id is chosen when it is made, so that everything of it is where it will be.

use std::sync::Arc;

use machine::{Leash, Machine};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    prepare::{
        PrepareError, READY_DEADLINE, agent_of, card_of, machine_folder, make, remove_if_there,
    },
    rehearsal::rehearse,
    trust,
};
use crate::{
    agent::Agent,
    context::Context,
    gateway::{Place, Program, Waiting},
    ids::SessionId,
    network::new_authority,
    platform,
    pool::Kind,
    store::AuthorityRecord,
};

/// It ends when this is dropped; its folders are left to the next server then.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) session: SessionId,
    /// Its guest trusts it already.
    pub(crate) authority: Arc<AuthorityRecord>,
    pub(super) machine: Machine,
    pub(super) agent: Agent,
    pub(super) gateway: Waiting,
    pub(super) leash: Leash,
}

impl Parked {
    /// Makes one; none if it was stopped. Then, and on failure, nothing is left.
    pub(crate) async fn make(
        context: &Context,
        kind: &Kind,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, PrepareError> {
        let session = SessionId::random();
        let making = Box::pin(Self::in_its_place(context, kind, session.clone()));
        let parked = stop.run_until_cancelled(making).await.transpose();
        if !matches!(parked, Ok(Some(_))) {
            clear(context, &session).await;
        }
        parked
    }

    async fn in_its_place(
        context: &Context,
        kind: &Kind,
        session: SessionId,
    ) -> Result<Self, PrepareError> {
        let platform = context.platform().await?;
        let image = context.images.recall(kind.into()).await;
        let image = platform::base_image(&image.map_err(Box::new)?);
        let template =
            Box::pin(context.templates.warm(platform, kind.shape, &image, &|_| {})).await?;
        let folder = machine_folder(context, &session);
        let machine = make(context, &template, vec![image.layer.clone()], &folder).await?;
        let leash = machine.leash();
        let agent = agent_of(context, &machine);
        agent.ready(Instant::now() + READY_DEADLINE).await.map_err(PrepareError::Agent)?;
        let authority = new_authority(&context.egress.seal).map_err(PrepareError::Authority)?;
        let roots = context.egress.uplink.roots.as_slice();
        let of_host = if kind.trust_host_ca { roots } else { &[] };
        let trusted = trust::trusted(&authority.certificate, of_host);
        rehearse(&agent, &image, trusted, &folder).await?;
        let place = Place::of(&context.paths, &session);
        let gateway = Waiting::start(&place, &Program::own(), &card_of(&machine)).await;
        let gateway = gateway.map_err(PrepareError::Gateway)?;
        machine.stop().await.map_err(PrepareError::Control)?;
        Ok(Self { session, authority: Arc::new(authority), machine, agent, gateway, leash })
    }

    /// Whether its machine is there.
    pub(crate) fn is_well(&self) -> bool {
        self.machine.exited().borrow().is_none()
    }

    pub(crate) async fn end(self, context: &Context) {
        let Self { session, machine, agent, gateway, leash: _leash, authority: _ } = self;
        tokio::join!(machine.kill(), agent.close(), gateway.end());
        clear(context, &session).await;
    }
}

async fn clear(context: &Context, session: &SessionId) {
    let place = context.paths.sessions().join(session.as_str());
    for folder in [machine_folder(context, session), place] {
        if let Err(error) = remove_if_there(&folder).await {
            tracing::warn!(%error, path = %folder.display(), "a folder was left behind");
        }
    }
}
