//! `machine.json`: what is written down so that a machine is found again whatever happens to us.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    MachineId,
    identity::{folder_of, id_of},
};

const NAME: &str = "machine.json";

/// Written before the process is started, without it, and again as soon as it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: MachineId,
    pub(crate) process: Option<ProcessRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
}

impl Record {
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let draft = folder.join(".machine.json");
        std::fs::write(&draft, serde_json::to_vec(self)?)?;
        std::fs::rename(&draft, folder.join(NAME))
    }

    /// Whether this process is the machine's. To be asked with the process held or its memory open, so that what is
    /// said of the pid is said of that. The record is where the machine's own QEMU can write: it must not lead to
    /// another machine's.
    pub(crate) fn is_of(&self, pid: u32, folder: &Path) -> bool {
        id_of(pid) == Some(self.id) && folder_of(pid).as_deref() == Some(folder)
    }

    /// None if there is no record.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(folder.join(NAME)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
