//! Layers of the root disk that become one with its overlay.

use super::*;
use crate::disk::base_of;

/// What QEMU calls the job.
pub(crate) const MERGE: &str = "merge";

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
}
