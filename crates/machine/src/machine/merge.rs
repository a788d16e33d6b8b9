//! Layers of the root disk that become one with its overlay.

use tokio::time::{Duration, sleep, timeout};

use super::*;
use crate::{disk::base_of, qmp::PROMPT};

/// What QEMU calls the job.
pub(crate) const MERGE: &str = "merge";
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl Machine {
    /// Has QEMU copy into the root disk's overlay what the layers between it and its image hold, while the
    /// guest runs; [`Event::LayersMerged`] tells of the end. A machine that is killed meanwhile has lost
    /// nothing, and its overlay still needs the layers.
    pub async fn merge_layers(&self, bytes_per_second: u64) -> Result<(), ControlError> {
        let asked = json!({
            "job-id": MERGE, "device": "root", "base-node": base_of("root"),
            // The names in files are never gone by.
            "backing-file": "",
            "speed": bytes_per_second, "on-error": "report",
        });
        self.qmp.ask("block-stream", asked).await.map(drop)
    }

    /// Has QEMU stop with it, if it has not ended: the overlay still needs the layers then.
    pub async fn stop_merging(&self) -> Result<(), ControlError> {
        let stopped = self.qmp.ask("block-job-cancel", json!({ "device": MERGE })).await;
        match stopped {
            // There is none.
            Err(ControlError::Refused { .. }) => return Ok(()),
            stopped => stopped?,
        };
        let over = async {
            while self.qmp.ask("query-block-jobs", json!({})).await? != json!([]) {
                sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        let late = |_| Err(ControlError::Timeout { command: "block-job-cancel".to_owned() });
        timeout(PROMPT, over).await.unwrap_or_else(late)
    }
}
