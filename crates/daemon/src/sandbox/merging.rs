//! Layers of a disk that become one while its machine runs: no disk stands on ever more of them.

use machine::Event;
use tokio::sync::broadcast;

use super::Owner;
use crate::{causes, limits};

/// The machine's events, while its layers are being merged.
pub(super) type Merging = broadcast::Receiver<Event>;

impl Owner {
    /// Has the machine begin, if its disk stands on many.
    pub(super) async fn merge_layers(&mut self) {
        let Some(machine) = &self.machine else { return };
        if self.session.layers.len() < limits::DISK_LAYERS_MAX {
            return;
        }
        let events = machine.events();
        match machine.merge_layers(limits::MERGE_BYTES_PER_SECOND).await {
            Ok(()) => self.merging = Some(events),
            Err(error) => tracing::warn!(error = causes(&error), "layers stay apart"),
        }
    }

    /// The disk stands on its image alone. Until that is stored the layers are kept.
    pub(super) async fn layers_merged(&mut self) {
        self.merging = None;
        let before = std::mem::take(&mut self.session.layers);
        if let Err(error) = self.store_session().await {
            tracing::warn!(error = causes(&error), "layers are kept that nobody needs");
            self.session.layers = before;
            return;
        }
        self.hold_layers();
        tracing::info!(layers = before.len(), "layers were merged");
    }
}

/// Waits until the layers are merged; for ever if they are not.
pub(super) async fn merged(merging: &mut Option<Merging>) {
    let Some(events) = merging else { return std::future::pending().await };
    loop {
        match events.recv().await {
            Ok(Event::LayersMerged) => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
