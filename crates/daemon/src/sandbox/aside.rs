//! Memory that the guest has freed is not kept when its machine is taken down: the guest sets aside what
//! is free of the blocks that it has written, and tells which that are once nothing in it goes on.

use std::time::Duration;

use machine::FreeBlocks;
use protocol::{Request, Response};

use crate::{agent::Agent, causes};

/// The guest goes on meanwhile.
const DEADLINE: Duration = Duration::from_secs(5);

/// Gives what seems to be free. That it cannot costs room alone.
pub(super) async fn set_aside(agent: &Agent, blocks: &[u32]) -> FreeBlocks {
    if blocks.is_empty() {
        return FreeBlocks::default();
    }
    let blocks = blocks.to_vec();
    match agent.request(Request::SetAside { blocks }, DEADLINE).await {
        Ok(Response::Aside { free }) => free.into_iter().collect(),
        Ok(_) => FreeBlocks::default(),
        Err(error) => {
            tracing::warn!(
                error = causes(&error),
                "free memory is not set aside, and will be kept"
            );
            FreeBlocks::default()
        }
    }
}
