//! A machine: one QEMU process and the guest in it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use tokio::{
    net::UnixStream,
    sync::{broadcast, mpsc, watch},
    task::spawn_blocking,
    time::Instant,
};

use crate::{
    AgentPort, BootFailure, Event, Exit, MachineId, NetworkPort, Root, RunState, Shape,
    SocketFolder, Step,
    arguments::Parts,
    console::Console,
    process::{Leash, Process},
    qmp::{Qmp, RawEvent, WeakQmp},
};

mod adopt;
mod blocks;
mod drive;
mod fork;
mod guest_memory;
mod launch;
mod merge;
mod pages;
mod pause;
mod precopy;
mod record;
mod restore;
mod saved;
mod shared;
mod stream;

pub(crate) use merge::MERGE;

pub use adopt::{AdoptError, Adoption};
pub use blocks::FreeBlocks;
pub use fork::{ForkBegun, ForkError, ForkPoint, ForkSpec, ForkTaken};
pub use guest_memory::GuestMemory;
pub use pause::{PauseBegun, PauseError, PauseSpec, Paused};
pub use restore::SaveError;
pub use saved::{Misfit, SavedMemory};

/// The names of the sockets in a machine's folder.
const CONTROL: &str = "control.sock";
pub(crate) const AGENT: &str = "agent.sock";
pub(crate) const NETWORK: &str = "net.sock";
const QEMU_LOG: &str = "qemu.log";

/// Events that are kept for a reader who is slow.
const EVENTS_KEPT: usize = 64;

/// Where a machine's memory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ram {
    /// In the process; gone with it.
    Private,
    /// In this file: the machine can become a template ([`crate::Draft::ram`]).
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
    /// The machine's own folder; made if it is not there.
    pub folder: PathBuf,
    pub root: Root,
    pub start: Start,
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
    #[error("the machine cannot be reached")]
    Io(#[from] io::Error),
}

/// A running machine. Dropping it does not end it: machines outlive the server.
#[derive(Debug)]
#[must_use = "a machine goes on running when it is dropped"]
pub struct Machine {
    id: MachineId,
    folder: PathBuf,
    sockets: SocketFolder,
    process: Process,
    qmp: Qmp,
    console: Arc<Console>,
    events: broadcast::Sender<Event>,
    arguments: Vec<String>,
    started: Instant,
}

impl Machine {
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
        self.process.pid()
    }

    /// A new connection to the agent's port.
    pub async fn agent(&self) -> io::Result<UnixStream> {
        self.agent_port().connect().await
    }

    /// The way to the agent, for who does not hold the machine.
    #[must_use]
    pub fn agent_port(&self) -> AgentPort {
        AgentPort::new(self.sockets.clone())
    }

    /// The way to the guest's network card, for who is to be the rest of its network. While nobody
    /// is connected, what the guest sends is lost.
    #[must_use]
    pub fn network(&self) -> NetworkPort {
        NetworkPort::new(self.sockets.clone())
    }

    /// The file that keeps what the guest wrote to its console, as far as it was fetched; older
    /// parts are in a file beside it whose name has `.1` added.
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.console.log()
    }

    /// Fetches what the guest has written to its console since the last time. What is more than 64
    /// KiB in between is lost.
    pub async fn fetch_console(&self) -> Result<(), ControlError> {
        self.console.fetch(&self.qmp).await
    }

    /// The last of what has been fetched of the guest's console; when the guest ends, the rest is
    /// fetched before the event is told.
    #[must_use]
    pub fn console_tail(&self, bytes: usize) -> Vec<u8> {
        self.console.tail(bytes)
    }

    /// How many bytes have been fetched since this process watches the machine; changes are news
    /// for who follows the log.
    #[must_use]
    pub fn console_written(&self) -> watch::Receiver<u64> {
        self.console.fetched()
    }

    /// None while the process lives.
    #[must_use]
    pub fn exited(&self) -> watch::Receiver<Option<Exit>> {
        self.process.exit()
    }

    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub async fn run_state(&self) -> Result<RunState, ControlError> {
        let status = self.qmp.ask("query-status", json!({})).await?;
        Ok(RunState::from_word(status["status"].as_str().unwrap_or_default()))
    }

    /// Holds the guest's processors.
    pub async fn stop(&self) -> Result<(), ControlError> {
        self.qmp.ask("stop", json!({})).await.map(drop)
    }

    /// Lets the guest's processors go on.
    pub async fn cont(&self) -> Result<(), ControlError> {
        self.qmp.ask("cont", json!({})).await.map(drop)
    }

    /// The process that the machine is, for who watches it and does not hold the machine.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// Held while the machine is made ready.
    pub fn leash(&self) -> Leash {
        Leash::on(&self.process)
    }

    /// Saves the devices, the memory left aside, in this file of the machine's folder.
    async fn save_devices_in(&self, name: &str) -> Result<(), ControlError> {
        let saved = json!({ "filename": name, "live": false });
        self.qmp.ask("xen-save-devices-state", saved).await.map(drop)
    }

    /// Ends the process at once and waits until it is gone.
    pub async fn kill(self) -> Exit {
        self.process.kill().await
    }

    /// Ends the process and tells all that is known of it.
    pub async fn fail(self, step: Step, why: String) -> Box<BootFailure> {
        let run_state = self.run_state().await.ok();
        let exit = match run_state {
            Some(_) => *self.exited().borrow(),
            None => self.process.last_breath().await,
        };
        if let Err(error) = self.fetch_console().await {
            tracing::debug!(%error, "the console of a failed machine cannot be fetched");
        }
        self.process.kill().await;
        let console = self.console_tail(launch::TAIL_BYTES);
        let about = launch::About {
            id: self.id,
            folder: &self.folder,
            arguments: &self.arguments,
            started: self.started,
        };
        Box::new(BootFailure {
            exit,
            run_state,
            console: String::from_utf8_lossy(&console).into_owned(),
            ..about.failure(step, why)
        })
    }
}

/// A guest's devices are some hundred kilobytes; its QEMU may be anybody's.
const DEVICES_MAX: u64 = 64 << 20;

/// Takes saved devices away from where they are.
fn read_devices(path: &Path) -> io::Result<Vec<u8>> {
    let mut saved = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, DEVICES_MAX), &mut saved)?;
    std::fs::remove_file(path)?;
    Ok(saved)
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}

/// Hands QEMU's events on, with the guest's last words fetched before its end is told.
async fn tell_events(
    mut raw: mpsc::Receiver<RawEvent>,
    told: broadcast::Sender<Event>,
    qmp: WeakQmp,
    console: Arc<Console>,
) {
    while let Some(event) = raw.recv().await.as_ref().map(Event::from_raw) {
        let Some(event) = event else { continue };
        if event.is_end()
            && let Some(qmp) = qmp.upgrade()
            && let Err(error) = console.fetch(&qmp).await
        {
            tracing::debug!(%error, "the guest's last words cannot be fetched");
        }
        // Nobody may be listening.
        drop(told.send(event));
    }
}

/// Waits until the guest has ended by itself.
pub(crate) async fn guest_end(events: &mut broadcast::Receiver<Event>) -> Event {
    loop {
        match events.recv().await {
            Ok(event) if event.is_end() => return event,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            // The process is gone, which is told elsewhere.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
