//! A session's drives: plugged into its machine, mounted in its guest, flushed before its end.

use std::time::Duration;

use machine::{ControlError, Machine};
use protocol::{RefusalCode, Request};
use tokio::time::{Instant, sleep};

use crate::{
    agent::{Agent, AgentError},
    drives::Plug,
};

/// How long a guest may take to see a disk.
const SEEN_DEADLINE: Duration = Duration::from_secs(20);
const SEEN_POLL: Duration = Duration::from_millis(20);
/// For one mount, which may play a journal back.
const MOUNT_DEADLINE: Duration = Duration::from_secs(60);
/// A guest that does not write its caches out in this time loses what is in them.
const FLUSH_DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn plug(machine: &Machine, plugs: &[Plug]) -> Result<(), ControlError> {
    for plug in plugs {
        machine.plug_drive(&plug.drive).await?;
    }
    Ok(())
}

/// Mounts what was plugged in; before commands may run.
pub(super) async fn mount(agent: &Agent, plugs: &[Plug]) -> Result<(), AgentError> {
    for plug in plugs {
        let deadline = Instant::now() + SEEN_DEADLINE;
        loop {
            let request = Request::Mount(plug.mount.clone());
            match agent.request(request, MOUNT_DEADLINE).await {
                Err(AgentError::Refused(refusal))
                    if refusal.code == RefusalCode::NotFound && Instant::now() < deadline =>
                {
                    sleep(SEEN_POLL).await;
                }
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
    }
    Ok(())
}

/// Has the guest write everything to its disks.
pub(super) async fn flush(agent: &Agent) {
    if let Err(error) = agent.request(Request::Sync, FLUSH_DEADLINE).await {
        tracing::warn!(%error, "the guest did not write its caches to its drives");
    }
}
