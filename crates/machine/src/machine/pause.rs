//! Pausing a machine: what it is goes into a file and its process away. Another process goes on with it,
//! whenever that is.
//!
//! The file holds the pages that the machine has written since it was cloned, and its devices. The rest
//! of its memory is its template's, and that has to be the very same file then. As with a fork, the guest's
//! processes should stand still already, and nobody should speak on the agent's port.

use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::time::Instant;

use super::{
    launch::{Launch, Origin},
    pages::{PAGE, Space},
    saved::{Base, Draft, Header, SavedMemory, pour},
    *,
};
use crate::{Key, Platform, arguments::Memory};

/// Saved devices, in the machine's folder.
const DEVICES: &str = "pause-devices";
/// Pages that are read at a time.
const AT_ONCE: usize = 512;
const PIPE_BYTES: usize = 1 << 20;
/// By this name QEMU is handed what it reads.
const FILE_NAME: &str = "memory";
/// Gigabytes from a slow disk.
const RECALL: Duration = Duration::from_secs(600);

/// What a pause is made of.
#[derive(Clone, Debug)]
pub struct PauseSpec {
    pub shape: Shape,
    /// Where templates are: the machine's memory must stand on one.
    pub bases: Vec<PathBuf>,
    /// What takes the machine's writes.
    pub overlay: PathBuf,
    /// What is to hold the memory. It is there once all of it is, and on the disk.
    pub file: PathBuf,
}

/// Why a machine is not paused. It is held at most: [`Machine::cont`] lets it go on.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    #[error("QEMU does not do as it is told")]
    Control(#[from] ControlError),
    #[error("the machine's memory cannot be read")]
    Memory(#[source] io::Error),
    #[error("the machine's memory cannot be written to the disk")]
    Io(#[from] io::Error),
}

impl PauseError {
    /// Whether there was no room on the host's disk.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::StorageFull)
    }
}

/// All is ready, and nothing stands still yet.
#[derive(Debug)]
pub struct PauseBegun {
    spec: PauseSpec,
    space: Space,
    header: Header,
    worth_asking: Vec<u32>,
}

/// A machine that is in a file.
#[derive(Clone, Copy, Debug)]
pub struct Paused {
    /// What it had written of its memory.
    pub written_bytes: u64,
    /// What the file takes.
    pub stored_bytes: u64,
    /// Until all was on the disk; a machine that is paused is held from the start of that.
    pub took: Duration,
}

impl Machine {
    /// Does all of a pause that can be done while the guest goes on.
    pub async fn begin_pause(
        &self,
        platform: &Platform,
        spec: PauseSpec,
    ) -> Result<PauseBegun, PauseError> {
        let (pid, key) = (self.pid(), Key::of_paused(platform, spec.shape));
        let looked = move || {
            // What is on the disk now need not be put there while it stands still.
            File::open(&spec.overlay)?.sync_data()?;
            let space = Space::open(pid, &spec.bases, spec.shape).map_err(PauseError::Memory)?;
            let header = Header { key, shape: spec.shape, base: Base::of(&space.file)? };
            header.base.settle()?;
            let written = space.written().map_err(PauseError::Memory)?;
            Ok(PauseBegun { spec, space, header, worth_asking: blocks::worth_asking(&written) })
        };
        blocking(looked).await
    }

    /// Holds the guest and writes what it is, but what is `free`. The process is of no more use then,
    /// as long as the file is there.
    pub async fn pause(&self, begun: PauseBegun, free: FreeBlocks) -> Result<Paused, PauseError> {
        let began = Instant::now();
        self.stop().await?;
        self.save_devices_in(DEVICES).await?;
        let devices = self.folder.join(DEVICES);
        let (written_bytes, stored_bytes) =
            blocking(move || begun.write(&read_devices(&devices)?, &free)).await?;
        Ok(Paused { written_bytes, stored_bytes, took: began.elapsed() })
    }

    /// Starts a process for what was paused, held, without a memory yet; see [`Machine::recall`]. The
    /// folder is the one that the machine had.
    pub async fn launch_paused(
        platform: &Platform,
        saved: &SavedMemory,
        spec: &CloneSpec,
    ) -> Result<Self, Box<BootFailure>> {
        let launch = Launch {
            platform,
            id: spec.id,
            folder: &spec.folder,
            shape: saved.header.shape,
            root: &spec.root,
            memory: Memory::CopyOnWrite(&saved.header.base.ram),
            origin: Origin::Paused,
        };
        launch::start(&launch).await
    }

    /// Gives it the memory and the devices. It stays held until [`Machine::cont`].
    pub async fn recall(&self, saved: &SavedMemory) -> Result<(), SaveError> {
        let mut content = saved.content()?;
        let (from, to) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        // Only a slower one, if not.
        let _is_large = fcntl_setpipe_size(&to, PIPE_BYTES).is_ok();
        self.qmp.ask_with("getfd", json!({ "fdname": FILE_NAME }), Some(from)).await?;
        let poured = blocking(move || pour(&mut content, &mut File::from(to)));
        let uri = format!("fd:{FILE_NAME}");
        let loaded = async {
            self.qmp.ask("migrate-incoming", json!({ "uri": uri })).await?;
            self.migrated(RECALL).await
        };
        let (poured, loaded) = tokio::join!(poured, loaded);
        // What is damaged breaks off, and QEMU says only that.
        poured?;
        loaded
    }
}

impl PauseBegun {
    /// The blocks of which it is worth to know whether the guest needs them, by their numbers.
    #[must_use]
    pub fn worth_asking(&self) -> &[u32] {
        &self.worth_asking
    }

    /// Tells how much was written of the memory, and how much that is on the disk.
    fn write(&self, devices: &[u8], free: &FreeBlocks) -> Result<(u64, u64), PauseError> {
        let Self { spec, space, header, .. } = self;
        let mut draft = Draft::begin(&spec.file, header)?;
        let written = space.needed(free).map_err(PauseError::Memory)?;
        let mut buffer = vec![0; AT_ONCE * PAGE];
        for part in written.chunks(AT_ONCE) {
            let bytes = &mut buffer[..part.len() * PAGE];
            space.read_into(part, bytes).map_err(PauseError::Memory)?;
            for (at, page) in part.iter().zip(bytes.as_chunks().0) {
                draft.page(*at, page)?;
            }
        }
        // What it wrote until it was held, and what it is: both are there, or the file is not.
        File::open(&spec.overlay)?.sync_all()?;
        let stored = draft.finish(devices)?;
        Ok(((written.len() * PAGE) as u64, stored))
    }
}
