//! Memory that the guest has freed is not kept when its machine is taken down: the guest sets aside what
//! is free of the blocks that it has written, and tells which that are once nothing in it goes on.

use std::time::Duration;

use protocol::Request;

use crate::{agent::Agent, causes};

/// The guest goes on meanwhile.
const DEADLINE: Duration = Duration::from_secs(5);

/// That it cannot costs room alone.
pub(super) async fn set_aside(agent: &Agent, blocks: &[u32]) {
    if blocks.is_empty() {
        return;
    }
    let blocks = blocks.to_vec();
    if let Err(error) = agent.request(Request::SetAside { blocks }, DEADLINE).await {
        tracing::warn!(error = causes(&error), "free memory is not set aside, and will be kept");
    }
}
