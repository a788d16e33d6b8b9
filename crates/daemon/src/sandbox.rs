//! A sandbox: what a user names. It outlives its sessions, each of which is one run of its machine.

mod activity;
mod aside;
mod asked;
mod commands;
mod drives;
mod durable;
mod ending;
mod forking;
mod lost_connections;
mod memory;
mod merging;
mod meter;
mod owner;
mod parked;
mod pausing;
mod policy;
mod prepare;
mod rehearsal;
mod releasing;
mod saving;
mod session;
mod source;
mod state;
pub(crate) mod trust;
mod waking;
mod watched;

use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use activity::{Activity, Use};
pub(crate) use commands::{Command, CommandError, Commands, FeedError, Launch, Lost, Piece};
pub(crate) use durable::{Durable, Removed};
pub(crate) use ending::end_of_state;
pub(crate) use forking::{Moment, Purpose, Split, SplitError, Taken, stand_of};
pub(crate) use memory::MemoryPlace;
pub(crate) use owner::{Adopted, Owner, Remembered};
pub(crate) use parked::Parked;
pub(crate) use pausing::PauseError;
pub(crate) use policy::PolicyError;
pub(crate) use prepare::{Beginning, PrepareError, machine_folder, overlay_of, remove_if_there};
pub(crate) use saving::SnapshotError;
pub(crate) use session::{ExtendError, NotRunning, Session, View};
pub(crate) use source::{Address, Credential, FetchError, Kind, Source};
use state::Disk;
pub(crate) use state::EndReason;
pub(crate) use waking::WakingError;

use crate::{ids::SandboxKey, limits, store::Usage};

/// A sandbox and its sessions that are remembered.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Never changes.
    pub(crate) key: SandboxKey,
    pub(crate) durable: Arc<Durable>,
    sessions: Mutex<Sessions>,
    /// Held by who starts a session, or sees to it that none starts.
    pub(crate) starting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Sessions {
    current: Arc<Session>,
    /// Those before, the oldest first.
    earlier: Vec<Arc<Session>>,
}

impl Sandbox {
    pub(crate) fn new(
        durable: Arc<Durable>,
        earlier: Vec<Arc<Session>>,
        current: Arc<Session>,
    ) -> Arc<Self> {
        let key = durable.record().key();
        let sessions = Mutex::new(Sessions { current, earlier });
        Arc::new(Self { key, durable, sessions, starting: tokio::sync::Mutex::default() })
    }

    /// The oldest of its sessions, those that are too many once there is one more.
    pub(crate) fn too_many(&self) -> Vec<Arc<Session>> {
        let mut all = self.sessions();
        all.truncate((all.len() + 1).saturating_sub(limits::SESSIONS_MAX));
        all
    }

    /// Makes a session the current one, and forgets the oldest.
    pub(crate) fn push(&self, session: Arc<Session>, forgotten: usize) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut sessions.current, session);
        sessions.earlier.push(before);
        sessions.earlier.drain(..forgotten);
    }

    /// Its newest session.
    pub(crate) fn current(&self) -> Arc<Session> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&sessions.current)
    }

    /// What its sessions have used, those that are forgotten too.
    pub(crate) fn usage(&self) -> Usage {
        let before = self.durable.record().used_before;
        self.sessions().iter().fold(before, |sum, session| sum.and(session.usage()))
    }

    /// All that are remembered, the oldest first.
    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.earlier.iter().chain([&sessions.current]).cloned().collect()
    }
}
