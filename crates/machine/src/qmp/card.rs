//! Whether QEMU listens yet where the guest's network card leads.

use serde_json::json;
use tokio::time::{Duration, sleep, timeout};

use super::Qmp;
use crate::ControlError;

const POLL: Duration = Duration::from_millis(1);
/// QEMU listens in a thread of its own, at its start.
const LISTENING: Duration = Duration::from_secs(20);
/// What it says of a socket on which it does not listen yet, in its text for people; it has no other.
const NOT_YET: &str = "initializing";

impl Qmp {
    /// Waits until a guest may send. Until QEMU (10.0) listens it takes the card's cable for plugged in,
    /// and ends with a segmentation fault at the first frame, for which it has no connection.
    pub(crate) async fn card_listens(&self) -> Result<(), ControlError> {
        const COMMAND: &str = "human-monitor-command";
        let listens = async {
            loop {
                let told = self.ask(COMMAND, json!({ "command-line": "info network" })).await?;
                if !told.as_str().is_some_and(|text| text.contains(NOT_YET)) {
                    return Ok(());
                }
                sleep(POLL).await;
            }
        };
        let late = || ControlError::Timeout { command: COMMAND.to_owned() };
        timeout(LISTENING, listens).await.unwrap_or_else(|_elapsed| Err(late()))
    }
}
