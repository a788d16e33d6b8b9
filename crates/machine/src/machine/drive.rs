//! Drives plugged into a running machine.

use std::fs::OpenOptions;

use serde_json::Value;

use super::*;
use crate::{
    Drive,
    arguments::{SLOTS, disk_device},
    disk::{Mode, drive_nodes},
};

/// More files than any drive is made of.
const FILES_MAX: usize = 1 << 10;

/// The number of the set that holds a file of a drive.
fn number(slot: u32, at: usize) -> usize {
    usize::try_from(slot).unwrap_or(0) * FILES_MAX + at + 1
}

impl Machine {
    /// Plugs a drive into a free slot. The guest needs some time to see it.
    ///
    /// The files are opened here and handed over: the process may open none that it was not started
    /// with.
    pub async fn plug_drive(&self, drive: &Drive) -> Result<(), ControlError> {
        let slot = self.free_slot().await?;
        let name = format!("drive{slot}");
        // Sets of descriptors are numbered from one.
        let set = |at: usize| json!({ "fdset-id": number(slot, at) });
        let files = drive.files();
        for (at, (path, mode)) in files.iter().enumerate() {
            let writable = *mode == Mode::Writable;
            let file = OpenOptions::new().read(true).write(writable).open(path)?;
            self.qmp.ask_with("add-fd", set(at), Some(file.into())).await?;
        }
        let path_of = |at| PathBuf::from(format!("/dev/fdset/{}", number(slot, at)));
        let added = self.qmp.ask("blockdev-add", drive_nodes(&name, drive, path_of)).await;
        // The nodes have their own copies by now, or never will.
        for at in 0..files.len() {
            self.qmp.ask("remove-fd", set(at)).await?;
        }
        added?;
        let device = disk_device(&name, drive.serial(), &format!("rp{slot}"), "00.0");
        if let Err(error) = self.qmp.ask("device_add", device).await {
            self.qmp.ask("blockdev-del", json!({ "node-name": name })).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Asked of QEMU each time, so that a machine that was adopted needs no memory of it.
    async fn free_slot(&self) -> Result<u32, ControlError> {
        let devices = self.qmp.ask("qom-list", json!({ "path": "/machine/peripheral" })).await?;
        let taken = |slot: &u32| {
            let name = Value::from(format!("drive{slot}"));
            devices.as_array().is_some_and(|list| list.iter().any(|one| one["name"] == name))
        };
        (0..SLOTS).find(|slot| !taken(slot)).ok_or(ControlError::NoFreeSlot)
    }
}
