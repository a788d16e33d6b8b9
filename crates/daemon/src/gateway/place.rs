//! Where a session's gateway is: its folder, and the record by which it is found again.
//!
//! The folder is not the machine's: a QEMU that its guest has taken over can write there, and could
//! put a socket of its own in the place of the one that secrets are sent to.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{config::Paths, ids::SessionId, store::Traffic};

const RECORD: &str = "gateway.json";
const LOG: &str = "gateway.log";
/// A gateway writes little to its own log; one that does not is cut at its next start.
const LOG_BYTES_MAX: u64 = 1 << 20;
pub(super) const CONTROL: &str = "control.sock";

/// The folders of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Holds the audit log, which outlives the gateway.
    session: PathBuf,
    /// The gateway's own.
    pub(super) folder: PathBuf,
}

/// Written before the process is started, without it, and again as soon as it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) process: Option<ProcessRecord>,
    /// What had passed the session's gateways before this one.
    pub(super) before: Traffic,
    /// What this one is known to have let pass.
    pub(super) told: Traffic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRecord {
    pub(super) pid: u32,
    pub(super) start_time: u64,
}

impl Place {
    pub(crate) fn of(paths: &Paths, session: &SessionId) -> Self {
        Self::at(paths.sessions().join(session.as_str()))
    }

    pub(crate) fn at(session: PathBuf) -> Self {
        Self { folder: session.join("gateway"), session }
    }

    /// The two files of the audit log.
    pub(crate) fn logs(&self) -> [PathBuf; 2] {
        ["audit-0.jsonl", "audit-1.jsonl"].map(|name| self.session.join(name))
    }

    /// The files opened, made if they are not there.
    pub(crate) fn open_logs(&self) -> io::Result<[File; 2]> {
        let [first, second] = self.logs();
        let open =
            |path| OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        Ok([open(first)?, open(second)?])
    }

    /// For what the process says of itself.
    pub(super) fn own_log(&self) -> io::Result<File> {
        let path = self.folder.join(LOG);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if LOG_BYTES_MAX < file.metadata()?.len() {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// The end of what the process said of itself, in one line.
    pub(super) fn last_words(&self) -> Option<String> {
        const BYTES_MAX: usize = 500;
        let text = std::fs::read(self.folder.join(LOG)).ok()?;
        let text = &text[text.len().saturating_sub(BYTES_MAX)..];
        let text = String::from_utf8_lossy(text).replace(char::is_control, " ");
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Makes the folders, for this user alone.
    pub(super) fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// What all gateways of the session have let pass, as far as it is written down here.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        self.read().map(|record| record.before.and(record.told))
    }

    /// None if there is no record, or none that can be read: then the process is looked for.
    pub(super) fn read(&self) -> Option<Record> {
        let text = std::fs::read(self.folder.join(RECORD)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let draft = self.folder.join(".gateway.json");
        std::fs::write(&draft, serde_json::to_vec(record)?)?;
        std::fs::rename(&draft, self.folder.join(RECORD))
    }

    /// Takes away what belongs to the gateway; the audit log stays.
    pub(crate) async fn clear(&self) -> io::Result<()> {
        crate::sandbox::remove_if_there(&self.folder).await
    }
}
