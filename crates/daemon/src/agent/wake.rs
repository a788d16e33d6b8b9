//! How those who read and write streams call the task that owns the connection.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use protocol::StreamId;
use tokio::sync::Notify;

/// Streams that the task has to look at again.
#[derive(Debug, Default)]
pub(super) struct Wake {
    streams: Mutex<BTreeSet<StreamId>>,
    notify: Notify,
}

impl Wake {
    pub(super) fn touch(&self, stream: StreamId) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(stream);
        self.notify.notify_one();
    }

    /// Waits for a touch.
    pub(super) async fn touched(&self) {
        self.notify.notified().await;
    }

    pub(super) fn take(&self) -> BTreeSet<StreamId> {
        std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
