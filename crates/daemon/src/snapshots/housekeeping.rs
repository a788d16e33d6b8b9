//! What time does to snapshots: they expire, and those that are long deleted are forgotten.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::Snapshots;
use crate::{
    clock,
    context::Context,
    ids::SnapshotId,
    limits,
    store::{Change, SnapshotRecord, StoreError},
};

const EVERY: Duration = Duration::from_secs(60);
/// Rounds; templates are kept for a day at least.
const BASES_EVERY: u64 = 60;
/// How long a deleted snapshot is remembered.
const TOMBSTONE_MS: u64 = 30 * 24 * 3600 * 1000;

/// Goes on for as long as the server.
pub(crate) async fn keep_house(context: Arc<Context>) {
    for round in 0_u64.. {
        if round.is_multiple_of(BASES_EVERY) {
            context.snapshots.note_bases();
        }
        if let Err(error) = context.snapshots.grow_old(clock::now_ms()).await {
            tracing::warn!(error = crate::causes(&error), "snapshots were not looked after");
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Snapshots {
    /// Deletes those whose time is over, and forgets those that were deleted long ago.
    pub(super) async fn grow_old(&self, now: u64) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let in_use = self.in_use();
        let all = self.list();
        let expired = all.iter().filter(|one| {
            one.expires_at().is_some_and(|at| at <= now) && !in_use.contains(&one.id)
        });
        let expired: Vec<SnapshotRecord> = expired.map(|one| one.clone().deleted(now)).collect();
        for one in &expired {
            tracing::info!(id = %one.id, sandbox = %one.sandbox, "a snapshot has expired");
        }
        self.put(expired).await?;
        self.delete_doomed(now).await?;
        self.sweep_memories();
        let forgotten = forgotten(&all, now);
        if forgotten.is_empty() {
            return Ok(());
        }
        let changes = forgotten.iter().cloned().map(Change::ForgetSnapshot).collect();
        self.store.commit(changes).await?;
        self.known().records.retain(|id, _| !forgotten.contains(id));
        Ok(())
    }

    /// Those that a session stands on: they are being used.
    fn in_use(&self) -> BTreeSet<SnapshotId> {
        self.known().stood.values().filter_map(|stand| stand.snapshot.clone()).collect()
    }
}

/// The deleted ones that are too old to be remembered, or too many.
fn forgotten(all: &[SnapshotRecord], now: u64) -> BTreeSet<SnapshotId> {
    let mut deleted: Vec<(u64, &SnapshotId)> =
        all.iter().filter_map(|one| Some((one.deleted_at?, &one.id))).collect();
    deleted.sort_unstable();
    let too_many = deleted.len().saturating_sub(limits::TOMBSTONES_MAX);
    let old = deleted
        .iter()
        .enumerate()
        .filter(|(index, (at, _))| *index < too_many || at.saturating_add(TOMBSTONE_MS) <= now);
    old.map(|(_, (_, id))| SnapshotId::clone(id)).collect()
}
