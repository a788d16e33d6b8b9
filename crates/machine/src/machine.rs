//! A machine: one QEMU process and the guest in it.
use std::path::{Path, PathBuf};

use tokio::{
    net::UnixStream,
    sync::{broadcast, watch},
};

use crate::{
    BootFailure, Draft, Drive, Event, Exit, MachineId, Platform, Root, RunState, Shape, Step,
    Template,
};

/// Where a machine's memory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ram {
    /// In the process; gone with it.
    Private,
    /// In this file: the machine can become a template ([`Draft::ram`]).
    Shared(PathBuf),
}

/// What a cold boot needs to know.
#[derive(Clone, Debug)]
pub struct BootSpec {
    pub id: MachineId,
    /// The machine's own folder; made if it is not there.
    pub folder: PathBuf,
    pub shape: Shape,
    pub root: Root,
    pub ram: Ram,
}

/// Whether a clone runs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Running,
    /// Restored and stopped, until [`Machine::cont`].
    Parked,
}

/// What a clone needs to know beyond its template.
#[derive(Clone, Debug)]
pub struct CloneSpec {
    pub id: MachineId,
    pub folder: PathBuf,
    pub root: Root,
    pub start: Start,
}

/// A running machine. Dropping it does not end it: machines outlive the server.
#[derive(Debug)]
#[must_use = "a machine goes on running when it is dropped"]
pub struct Machine {
    id: MachineId,
    folder: PathBuf,
}

/// What looking for a recorded machine showed.
#[derive(Debug)]
pub enum Adoption {
    Adopted(Box<Machine>),
    /// No such process any more (or never, or the host was restarted).
    Gone,
}

#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("the machine's record cannot be read")]
    Record(#[source] std::io::Error),
    #[error("the machine's process {pid} runs but its control socket does not answer")]
    Control { pid: u32, source: ControlError },
}

/// A word to QEMU that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the machine is gone")]
    Gone,
    #[error("QEMU did not answer {command} in time")]
    Timeout { command: String },
    #[error("QEMU refused {command}: {why}")]
    Refused { command: String, why: String },
    #[error("all drive slots of this machine are taken")]
    NoFreeSlot,
    #[error("the machine's folder cannot be used")]
    Io(#[from] std::io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("QEMU could not save the machine")]
    Control(#[from] ControlError),
    #[error("saving ended as {status}: {why}")]
    Failed { status: String, why: String },
    #[error("the template cannot be put in place")]
    Io(#[from] std::io::Error),
}

impl Machine {
    /// Starts QEMU and lets the guest go. Whether the guest is well is for the caller to find out
    /// over [`Machine::agent`]; see [`crate::boot_until_ready`].
    pub async fn boot(_platform: &Platform, _spec: BootSpec) -> Result<Self, Box<BootFailure>> {
        todo!()
    }

    /// Starts a machine on the memory of a template, which it reads and can never change.
    pub async fn clone_from(
        _platform: &Platform,
        _template: &Template,
        _spec: CloneSpec,
    ) -> Result<Self, Box<BootFailure>> {
        todo!()
    }

    /// Starts a machine on a *copy* of a template's memory, in `draft`, so that it can be changed
    /// and saved as another template.
    pub async fn thaw(
        _platform: &Platform,
        _template: &Template,
        _draft: &Draft,
        _spec: CloneSpec,
    ) -> Result<Self, Box<BootFailure>> {
        todo!()
    }

    /// Finds the machine that is recorded in `folder`.
    pub async fn adopt(_folder: &Path) -> Result<Adoption, AdoptError> {
        todo!()
    }

    /// Freezes the machine into a template and ends it. Its RAM must be the draft's.
    pub async fn save_template(self, _draft: Draft) -> Result<Template, SaveError> {
        todo!()
    }

    #[must_use]
    pub fn id(&self) -> MachineId {
        self.id
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// A new connection to the agent's port. One is served at a time: the next one is served when
    /// the one before is closed.
    pub async fn agent(&self) -> std::io::Result<UnixStream> {
        todo!()
    }

    /// The guest's console: what it wrote is kept, bounded, in this file (and `console.log.1`).
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// The last of what the guest wrote to its console.
    #[must_use]
    pub fn console_tail(&self, _bytes: usize) -> Vec<u8> {
        todo!()
    }

    /// How many bytes the guest has written to its console since this process watches it; changes
    /// are news for who follows the log.
    #[must_use]
    pub fn console_written(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// None while the process lives.
    #[must_use]
    pub fn exited(&self) -> watch::Receiver<Option<Exit>> {
        todo!()
    }

    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        todo!()
    }

    pub async fn run_state(&self) -> Result<RunState, ControlError> {
        todo!()
    }

    /// Holds the guest's processors.
    pub async fn stop(&self) -> Result<(), ControlError> {
        todo!()
    }

    /// Lets the guest's processors go on.
    pub async fn cont(&self) -> Result<(), ControlError> {
        todo!()
    }

    /// Plugs a drive into a free slot. The guest needs some time to see it.
    pub async fn plug_drive(&self, _drive: &Drive) -> Result<(), ControlError> {
        todo!()
    }

    /// Ends the process at once and waits until it is gone.
    pub async fn kill(self) -> Exit {
        todo!()
    }

    /// Ends the process and tells all that is known of it.
    pub async fn fail(self, _step: Step, _why: String) -> Box<BootFailure> {
        todo!()
    }
}
