//! Names of snapshots that are being made: nobody else is given them meanwhile.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Snapshots;
use crate::ids::{Project, SnapshotId, SnapshotName};

/// Those that are held.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<BTreeSet<(Project, SnapshotName)>>>);

/// A name for one snapshot of a project. When this is dropped there is one that has it, or none was made.
#[derive(Debug)]
pub(crate) struct HeldName {
    name: (Project, SnapshotName),
    among: Names,
}

/// Another snapshot of the project has the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameTaken {
    #[error("Snapshot '{0}' has this name; delete it, or choose another.")]
    There(SnapshotId),
    #[error("A snapshot that is being made has this name; choose another.")]
    BeingMade,
}

impl Names {
    fn held(&self) -> MutexGuard<'_, BTreeSet<(Project, SnapshotName)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldName {
    pub(crate) fn as_name(&self) -> &SnapshotName {
        &self.name.1
    }
}

impl Drop for HeldName {
    fn drop(&mut self) {
        self.among.held().remove(&self.name);
    }
}

impl Snapshots {
    /// Holds a name for a snapshot that is to be made.
    pub(crate) fn hold_name(
        &self,
        project: &Project,
        name: SnapshotName,
    ) -> Result<HeldName, NameTaken> {
        // Whoever has it holds it until there is one of this name: between the two looks it is not free.
        let mut held = self.names.held();
        if let Some(there) = self.named(project, name.as_str()) {
            return Err(NameTaken::There(there.id));
        }
        let name = (project.clone(), name);
        match held.insert(name.clone()) {
            true => Ok(HeldName { name, among: self.names.clone() }),
            false => Err(NameTaken::BeingMade),
        }
    }
}
