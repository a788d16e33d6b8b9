//! Drives plugged into a running machine.

use std::fs::OpenOptions;

use serde_json::Value;

use super::*;
use crate::{
    Drive,
    arguments::{SLOTS, disk_device},
    disk::{Mode, single_node},
};

impl Machine {
    /// Plugs a drive into a free slot. The guest needs some time to see it.
    ///
    /// The file is opened here and handed over: the process may open none that it was not started
    /// with.
    pub async fn plug_drive(&self, drive: &Drive) -> Result<(), ControlError> {
        let (layer, serial, mode) = drive.parts();
        let slot = self.free_slot().await?;
        let name = format!("drive{slot}");
        let file = OpenOptions::new().read(true).write(mode == Mode::Writable).open(&layer.path)?;
        let set = json!({ "fdset-id": slot + 1 });
        self.qmp.ask_with("add-fd", set.clone(), Some(file.into())).await?;
        let path = PathBuf::from(format!("/dev/fdset/{}", slot + 1));
        let node = single_node(&name, layer.format, &path, mode);
        let added = self.qmp.ask("blockdev-add", node).await;
        // The node has its own copy by now, or never will.
        self.qmp.ask("remove-fd", set).await?;
        added?;
        let device = disk_device(&name, serial, &format!("rp{slot}"), "00.0");
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
