//! What all parts of one server share.

use std::sync::Arc;

use machine::{KvmState, Platform};
use tokio::sync::OnceCell;

use crate::{
    config::{AgentProgram, Paths},
    drives::Drives,
    http::Tickets,
    images::Images,
    network::Egress,
    pass::Passes,
    platform::{self, PlatformError},
    pool::Pool,
    route::IngressUrl,
    snapshots::Snapshots,
    store::Store,
    tasks::Tasks,
    templates::Templates,
    turns::Turns,
};

/// Where visitors of ports come in, and what lets them in at private ones.
#[derive(Debug)]
pub(crate) struct IngressPlace {
    pub(crate) url: IngressUrl,
    pub(crate) passes: Passes,
    pub(crate) tickets: Tickets,
}

/// What all parts of one server share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) paths: Paths,
    pub(crate) store: Store,
    pub(crate) templates: Templates,
    pub(crate) egress: Arc<Egress>,
    pub(crate) images: Images,
    pub(crate) drives: Arc<Drives>,
    pub(crate) pool: Pool,
    pub(crate) turns: Turns,
    pub(crate) ingress: IngressPlace,
    pub(crate) snapshots: Snapshots,
    pub(crate) tasks: Tasks,
    /// The host's boot id.
    pub(crate) host_boot: String,
    agent_program: AgentProgram,
    platform: OnceCell<(Platform, KvmState)>,
}

/// What earlier servers left on the disk.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) store: Store,
    pub(crate) templates: Templates,
    pub(crate) drives: Drives,
    pub(crate) snapshots: Snapshots,
}

impl Context {
    pub(crate) fn new(
        paths: Paths,
        kept: Kept,
        (egress, ingress): (Egress, IngressPlace),
        agent_program: AgentProgram,
        tasks: Tasks,
    ) -> Self {
        let Kept { store, templates, drives, snapshots } = kept;
        let host_boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let images = Images::new(paths.clone(), egress.uplink.clone());
        Self {
            paths,
            store,
            images,
            drives: Arc::new(drives),
            pool: Pool::new(0),
            turns: Turns::new(),
            snapshots,
            tasks,
            templates,
            ingress,
            egress: Arc::new(egress),
            host_boot: host_boot.unwrap_or_default().trim().to_owned(),
            agent_program,
            platform: OnceCell::new(),
        }
    }

    pub(crate) fn with_pool(self, size: usize) -> Self {
        Self { pool: Pool::new(size), ..self }
    }

    /// QEMU, kernel and accelerator; found on first use.
    pub(crate) async fn platform(&self) -> Result<&Platform, PlatformError> {
        let found =
            self.platform.get_or_try_init(|| platform::find(&self.paths, self.agent_program));
        Ok(&found.await?.0)
    }
}
