//! A machine in a file: the pages that it has written since it was cloned, and its devices, compressed.
//!
//! The rest of its memory is its template's, and that has to be the very same file when a machine is
//! made of it again.

use std::{
    fs::OpenOptions,
    io::{BufReader, BufWriter, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{
    launch::remove_if_there,
    pages::PAGE,
    shared::Shared,
    stream::{self, Page, Stream},
    *,
};
use crate::{
    Key, Platform, Template,
    template::{self, OnDisk},
};

const MAGIC: [u8; 8] = *b"FUMEMEM1";
const HEADER_MAX: u64 = 64 << 10;
/// More takes longer and saves little.
const COMPRESSION: i32 = 1;
const AT_ONCE: usize = 256 << 10;
/// Saved devices, beside the file until they are the template's.
const DEVICES: &str = "devices";

/// What has to be the same when a machine is made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) key: Key,
    pub(super) shape: Shape,
    #[serde(flatten)]
    pub(super) base: Base,
}

/// The memory of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) ram: PathBuf,
    ram_bytes: u64,
    /// When the template was made, seconds and nanoseconds: one that was made again is another.
    ram_modified: (i64, i64),
}

impl Base {
    pub(super) fn of(ram: &Path) -> io::Result<Self> {
        let now = ram.metadata()?;
        let ram_modified = (now.mtime(), now.mtime_nsec());
        Ok(Self { ram: ram.to_owned(), ram_bytes: now.len(), ram_modified })
    }

    /// Sees to it that it is on the disk: what stands on it is to outlive the host's power.
    pub(super) fn settle(&self) -> io::Result<()> {
        File::open(&self.ram)?.sync_all()
    }
}

/// A file that is being written. It has its name once all of it is on the disk.
pub(super) struct Draft {
    stream: Stream<zstd::Encoder<'static, BufWriter<File>>>,
    draft: PathBuf,
    file: PathBuf,
}

impl Draft {
    pub(super) fn begin(path: &Path, header: &Header) -> io::Result<Self> {
        let draft = path.with_extension("draft");
        remove_if_there(&draft)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let memory = u64::from(header.shape.memory_mib) << 20;
        let header = serde_json::to_vec(header).map_err(io::Error::from)?;
        file.write_all(&MAGIC)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let mut packed = zstd::Encoder::new(BufWriter::new(file), COMPRESSION)?;
        packed.include_checksum(true)?;
        Ok(Self { stream: Stream::begin(packed, memory)?, draft, file: path.to_owned() })
    }

    /// Adds a page and where it belongs.
    pub(super) fn page(&mut self, at: u64, page: &[u8; PAGE]) -> io::Result<()> {
        self.stream.page(at, page)
    }

    /// Tells how much is on the disk.
    pub(super) fn finish(self, devices: &[u8]) -> io::Result<u64> {
        let Self { stream, draft, file: path } = self;
        let file = stream.finish(devices)?.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

/// A machine that is in a file.
#[derive(Debug)]
pub struct SavedMemory {
    path: PathBuf,
    pub(super) header: Header,
    /// Where what QEMU reads begins.
    begin: u64,
}

/// Why a machine cannot go on as it was.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    #[error("QEMU, the host's processor or the machine's form is not what it was saved with")]
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
        self.check_machine(platform)?;
        self.check_base()
    }

    /// Whether machines of this platform are what it was saved with.
    pub fn check_machine(&self, platform: &Platform) -> Result<(), Misfit> {
        let Header { key, shape, .. } = &self.header;
        let is_same = *key == Key::of_paused(platform, *shape);
        if is_same { Ok(()) } else { Err(Misfit::Machine) }
    }

    /// Whether the rest of its memory is there.
    pub fn check_base(&self) -> Result<(), Misfit> {
        let base = &self.header.base;
        let now = Base::of(&base.ram).map_err(Misfit::TemplateGone)?;
        if now == *base { Ok(()) } else { Err(Misfit::TemplateChanged) }
    }

    #[must_use]
    pub fn shape(&self) -> Shape {
        self.header.shape
    }

    /// Notes that its template is needed, as [`crate::Template::note_use`] does.
    pub fn note_use(&self, now: SystemTime) -> io::Result<()> {
        template::note_use_of(&self.header.base.ram, now)
    }

    /// Makes a template of it, so that any number of machines can start from it and share its pages.
    /// It blocks.
    pub fn unpack(&self, draft: template::Draft) -> io::Result<Template> {
        let memory = u64::from(self.header.shape.memory_mib) << 20;
        let shared = Shared::begin(draft, &self.header.base.ram)?;
        let mut pages =
            stream::Pages::begin(BufReader::with_capacity(AT_ONCE, self.content()?), memory)?;
        while let Some((at, page)) = pages.next()? {
            match page {
                Page::Noughts => shared.clear(at)?,
                Page::Content(bytes) => shared.write(&[at], bytes)?,
            }
        }
        let mut devices = Vec::new();
        // To the end, where the checksum is.
        pages.rest().read_to_end(&mut devices)?;
        let state = self.path.with_extension(DEVICES);
        remove_if_there(&state)?;
        let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&state)?;
        Stream::begin(to, memory)?.finish_with(&devices)?;
        let template = shared.finish(&state, OnDisk::Now)?;
        remove_if_there(&state)?;
        Ok(template)
    }

    pub(super) fn content(&self) -> io::Result<impl Read + Send + use<>> {
        let mut file = File::open(&self.path)?;
        file.seek(io::SeekFrom::Start(self.begin))?;
        zstd::Decoder::new(file)
    }
}

pub(super) fn pour(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; AT_ONCE];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
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
