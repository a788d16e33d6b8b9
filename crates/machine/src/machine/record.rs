//! `machine.json`: what is written down so that a machine is found again whatever happens to us.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::MachineId;

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

    /// None if there is no record.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(folder.join(NAME)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
