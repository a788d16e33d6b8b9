//! What came of what: a snapshot's ancestors and descendants.

use std::collections::BTreeMap;

use crate::{ids::SnapshotId, store::SnapshotRecord};

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    ToAncestors,
    ToDescendants,
}

/// One step of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) snapshot: SnapshotRecord,
    /// The others of the same parent, the oldest first.
    pub(crate) siblings: Vec<SnapshotRecord>,
}

/// The snapshots from this one on, itself first. Where there are several descendants the walk goes to
/// the newest, and the others are its siblings.
pub(crate) fn walk(all: &[SnapshotRecord], from: &SnapshotId, way: Walk) -> Vec<Node> {
    let by_id: BTreeMap<&SnapshotId, &SnapshotRecord> =
        all.iter().map(|record| (&record.id, record)).collect();
    let mut children: BTreeMap<&SnapshotId, Vec<&SnapshotRecord>> = BTreeMap::new();
    for record in all {
        if let Some(parent) = &record.parent {
            children.entry(parent).or_default().push(record);
        }
    }
    for of_one in children.values_mut() {
        of_one.sort_by_key(|record| (record.created_at, record.id.clone()));
    }
    let mut nodes = Vec::new();
    let mut next = by_id.get(from).copied();
    // A snapshot is older than what came of it, so a walk ends; a damaged record does not change that.
    while let Some(record) = next.filter(|_| nodes.len() < all.len()) {
        let of_parent = record.parent.as_ref().and_then(|parent| children.get(parent));
        let siblings = of_parent.into_iter().flatten().filter(|other| other.id != record.id);
        let siblings = siblings.map(|other| SnapshotRecord::clone(other)).collect();
        nodes.push(Node { snapshot: record.clone(), siblings });
        next = match way {
            Walk::ToAncestors => {
                record.parent.as_ref().and_then(|parent| by_id.get(parent).copied())
            }
            Walk::ToDescendants => {
                children.get(&record.id).and_then(|children| children.last().copied())
            }
        };
    }
    nodes
}
