//! What outlives the server: sandboxes, their sessions and commands, in one SQLite file.
//!
//! The records are JSON in a column of their own; the columns beside it are what is looked up by.
//! All writes go through one thread, each [`Store::commit`] is one transaction, and with a write-ahead
//! log a server that is killed loses nothing that was committed. On a full disk they use the room that
//! is kept for them.

mod ballast;
mod drive;
mod record;
mod schema;
mod snapshot;
mod usage;

use std::{path::Path, sync::mpsc, thread};

use egress::secret::SecretName;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::ids::{Project, SandboxKey, TokenId};

use ballast::Ballast;
pub(crate) use drive::{
    AttachmentRecord, DriveChange, DriveRecord, Hold, LayerForm, LayerRecord, MountRecord,
};
pub(crate) use record::{
    AuthorityRecord, CommandRecord, ExitRecord, ForkFlaw, ForkedRecord, NetworkRecord, Phase,
    Placement, SandboxRecord, SecretRecord, SessionRecord, Stored, TokenRecord,
};
pub(crate) use snapshot::{
    Counted, Evicted, KeepLast, Keeping, KeptNetwork, MemoryRecord, SnapshotMethod, SnapshotPlan,
    SnapshotRecord,
};
pub(crate) use usage::{Traffic, Usage};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store cannot be used")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a record of the store cannot be read")]
    Record(#[from] serde_json::Error),
    #[error("the store is of version {found}, and this program knows versions up to {known}")]
    TooNew { found: u32, known: u32 },
    #[error("the store has closed")]
    Closed,
}

impl StoreError {
    /// Whether there was no room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        // The second is about the index of the write-ahead log, a file of its own.
        let full = [rusqlite::ffi::SQLITE_FULL, rusqlite::ffi::SQLITE_IOERR_SHMSIZE];
        error.sqlite_error().is_some_and(|error| full.contains(&error.extended_code))
    }
}

/// One change to what is stored.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Sandbox(SandboxRecord),
    Session(SessionRecord),
    Command(CommandRecord),
    Snapshot(SnapshotRecord),
    /// One that has ended, with its commands.
    ForgetSession(crate::ids::SessionId),
    /// One that is deleted, for good.
    ForgetSnapshot(crate::ids::SnapshotId),
    /// A command that was recorded and never started.
    RemoveCommand(crate::ids::CommandName),
    /// With all its sessions and their commands, and its authority if it was the last of its
    /// lineage.
    RemoveSandbox(SandboxKey),
    Egress(EgressChange),
    Token(TokenRecord),
    RemoveToken(TokenId),
    Drive(DriveChange),
}

/// One change to what gateways are made with.
#[derive(Clone, Debug)]
pub(crate) enum EgressChange {
    Authority(AuthorityRecord),
    Network(NetworkRecord),
    Secret(SecretRecord),
    RemoveSecret { project: Project, name: SecretName },
}

type Job = (Vec<Change>, oneshot::Sender<Result<(), StoreError>>);

/// A handle to the thread that writes.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    jobs: mpsc::SyncSender<Job>,
}

/// How many commits may wait before who asks for one waits too.
const QUEUE: usize = 1024;

impl Store {
    /// Opens (and makes, or brings up to date) the store and reads all that is in it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Stored), StoreError> {
        let ballast = Ballast::beside(path);
        let (mut connection, stored) = ballast.with_room(|| {
            let mut connection = Connection::open(path)?;
            schema::prepare(&mut connection)?;
            let stored = schema::read(&connection)?;
            Ok((connection, stored))
        })?;
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                ballast.keep_whole();
                for (changes, reply) in queue {
                    let result = ballast.with_room(|| schema::write(&mut connection, &changes));
                    if let Err(error) = &result {
                        tracing::error!(?error, "the store could not write");
                    }
                    // Who asked may have gone meanwhile.
                    drop(reply.send(result));
                    ballast.keep_whole();
                }
            })
            .expect("a thread can be started");
        Ok((Self { jobs }, stored))
    }

    /// Writes the changes as one transaction; done when it returns, or nothing of it.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (reply, result) = oneshot::channel();
        let jobs = self.jobs.clone();
        let job = (changes, reply);
        let job = match jobs.try_send(job) {
            Ok(()) => None,
            Err(mpsc::TrySendError::Full(job)) => Some(job),
            Err(mpsc::TrySendError::Disconnected(_)) => return Err(StoreError::Closed),
        };
        if let Some(job) = job {
            let sent = tokio::task::spawn_blocking(move || jobs.send(job)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(StoreError::Closed);
            }
        }
        result.await.unwrap_or(Err(StoreError::Closed))
    }
}

#[cfg(test)]
mod tests;
