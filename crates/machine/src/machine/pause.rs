//! Pausing a machine: what it is goes into a file and its process away. Another process goes on with it,
//! whenever that is.
//!
//! The file holds the pages that the machine has written since it was cloned, and its devices. The rest
//! of its memory is its template's, and that has to be the very same file then. As with a fork, the guest's
//! processes should stand still already, and nobody should speak on the agent's port.

use std::{
    fs::OpenOptions,
    io::{BufReader, BufWriter, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    time::{Duration, SystemTime},
};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    launch::{Launch, Origin, remove_if_there},
    pages::{PAGE, Space},
    stream::Stream,
    *,
};
use crate::{Key, Platform, arguments::Memory};

/// Saved devices, in the machine's folder.
const DEVICES: &str = "pause-devices";
const MAGIC: [u8; 8] = *b"FUMEMEM1";
const HEADER_MAX: u64 = 64 << 10;
/// Pages that are read at a time.
const AT_ONCE: usize = 512;
/// More takes longer and saves little.
const COMPRESSION: i32 = 1;
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
    pub templates: PathBuf,
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
}

/// A machine that is in a file, and held.
#[derive(Clone, Copy, Debug)]
pub struct Paused {
    /// What it had written of its memory.
    pub written_bytes: u64,
    /// What the file takes.
    pub stored_bytes: u64,
    /// From when the machine was held until all was on the disk.
    pub took: Duration,
}

/// What has to be the same when the machine goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    key: Key,
    shape: Shape,
    ram: PathBuf,
    ram_bytes: u64,
    /// When the template was made, seconds and nanoseconds: one that was made again is another.
    ram_modified: (i64, i64),
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
            let memory = u64::from(spec.shape.memory_mib) << 20;
            let templates = spec.templates.canonicalize()?;
            let space = Space::open(pid, &templates, memory).map_err(PauseError::Memory)?;
            let ram = space.file.metadata()?;
            let header = Header {
                key,
                shape: spec.shape,
                ram: space.file.clone(),
                ram_bytes: ram.len(),
                ram_modified: (ram.mtime(), ram.mtime_nsec()),
            };
            Ok(PauseBegun { spec, space, header })
        };
        blocking(looked).await
    }

    /// Holds the guest and writes what it is. The process is of no more use then, as long as the file is
    /// there.
    pub async fn pause(&self, begun: PauseBegun) -> Result<Paused, PauseError> {
        let began = Instant::now();
        self.stop().await?;
        self.save_devices_in(DEVICES).await?;
        let devices = self.folder.join(DEVICES);
        let (written_bytes, stored_bytes) =
            blocking(move || begun.write(&read_devices(&devices)?)).await?;
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
            memory: Memory::CopyOnWrite(&saved.header.ram),
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

fn pour(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; PIPE_BYTES / 4];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

impl PauseBegun {
    /// Tells how much was written of the memory, and how much that is on the disk.
    fn write(&self, devices: &[u8]) -> Result<(u64, u64), PauseError> {
        let Self { spec, space, header } = self;
        let draft = spec.file.with_extension("draft");
        remove_if_there(&draft)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let header = serde_json::to_vec(header).map_err(io::Error::from)?;
        file.write_all(&MAGIC)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let mut packed = zstd::Encoder::new(BufWriter::new(file), COMPRESSION)?;
        packed.include_checksum(true)?;
        let mut stream = Stream::begin(packed, u64::from(spec.shape.memory_mib) << 20)?;
        let written = space.written().map_err(PauseError::Memory)?;
        let mut buffer = vec![0; AT_ONCE * PAGE];
        for part in written.chunks(AT_ONCE) {
            let bytes = &mut buffer[..part.len() * PAGE];
            space.read_into(part, bytes).map_err(PauseError::Memory)?;
            for (at, page) in part.iter().zip(bytes.as_chunks().0) {
                stream.page(*at, page)?;
            }
        }
        let file = stream.finish(devices)?.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        // What it wrote until it was held, and what it is: both are there, or the file is not.
        File::open(&spec.overlay)?.sync_all()?;
        file.sync_all()?;
        std::fs::rename(&draft, &spec.file)?;
        sync_folder_of(&spec.file)?;
        Ok(((written.len() * PAGE) as u64, file.metadata()?.len()))
    }
}

fn sync_folder_of(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// What a machine was paused with, in a file.
#[derive(Debug)]
pub struct SavedMemory {
    path: PathBuf,
    header: Header,
    /// Where what QEMU reads begins.
    begin: u64,
}

/// Why a machine cannot go on as it was.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    #[error("QEMU, the host's processor or the machine's form is not what it was paused with")]
    Machine,
    #[error("the template that it was cloned from is gone")]
    TemplateGone(#[source] io::Error),
    #[error("the template that it was cloned from was made again")]
    TemplateChanged,
}

impl SavedMemory {
    pub fn open(path: &Path) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "this is no saved memory");
        let mut file = BufReader::new(File::open(path)?);
        let (mut magic, mut len) = ([0; 8], [0; 8]);
        file.read_exact(&mut magic)?;
        file.read_exact(&mut len)?;
        let len = u64::from_le_bytes(len);
        if magic != MAGIC || HEADER_MAX < len {
            return Err(damaged());
        }
        let mut header = Vec::new();
        file.by_ref().take(len).read_to_end(&mut header)?;
        let header = serde_json::from_slice(&header).map_err(|_malformed| damaged())?;
        Ok(Self { path: path.to_owned(), header, begin: 16 + len })
    }

    /// Whether a machine of this platform can go on with it.
    pub fn check(&self, platform: &Platform) -> Result<(), Misfit> {
        let Header { key, shape, ram, ram_bytes, ram_modified } = &self.header;
        if *key != Key::of_paused(platform, *shape) {
            return Err(Misfit::Machine);
        }
        let now = ram.metadata().map_err(Misfit::TemplateGone)?;
        let is_same = now.len() == *ram_bytes && (now.mtime(), now.mtime_nsec()) == *ram_modified;
        if is_same { Ok(()) } else { Err(Misfit::TemplateChanged) }
    }

    /// Notes that its template is needed, as [`crate::Template::note_use`] does.
    pub fn note_use(&self, now: SystemTime) -> io::Result<()> {
        crate::template::note_use_of(&self.header.ram, now)
    }

    fn content(&self) -> io::Result<impl Read + Send + use<>> {
        let mut file = File::open(&self.path)?;
        file.seek(io::SeekFrom::Start(self.begin))?;
        zstd::Decoder::new(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_saved_memory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory");
        assert_eq!(SavedMemory::open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let huge = [&MAGIC[..], &[0xff; 8]].concat();
        let cut = [&MAGIC[..], &[9, 0, 0, 0, 0, 0, 0, 0], b"{}"].concat();
        for bytes in [&b"FUMEMEM0\x02\0\0\0\0\0\0\0{}"[..], &huge, &cut] {
            std::fs::write(&path, bytes).unwrap();
            let refused = SavedMemory::open(&path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        std::fs::write(&path, b"FUME").unwrap();
        assert_eq!(SavedMemory::open(&path).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
