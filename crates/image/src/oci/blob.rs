//! Blobs on this machine, each in a file that is named for its digest.
//!
//! ```text
//! ROOT/blobs/sha256/HEX            whole, and checked when it was filed
//! ROOT/blobs/sha256/HEX.partial    what has come of it so far; whoever writes to it holds its lock
//! ROOT/blobs/sha256/.draft-*       of a digest that is not known yet
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::digest::Digest;
use crate::cache::Cache;

const PARTIAL: &str = ".partial";
const DRAFT_PREFIX: &str = ".draft-";
const CHUNK_BYTES: usize = 1 << 17;

/// See the module.
#[derive(Debug, Clone)]
pub struct Blobs {
    folder: PathBuf,
}

/// A blob as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub digest: Digest,
    pub bytes: u64,
    pub filed: SystemTime,
}

/// What became of the wish to write a blob.
#[derive(Debug)]
pub enum Wanted {
    /// It is there.
    Present,
    /// It is not, and nobody else writes it while the writer lives.
    Missing(BlobWriter),
    /// Another writes it.
    Underway,
}

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the blob {digest} is not on this machine")]
    Missing { digest: Digest },
    #[error("the blob {digest} has other bytes than its digest says: they are {found}")]
    Digest { digest: Digest, found: Digest },
    #[error("the blob {digest} should have {expected} bytes and has {found}")]
    Size { digest: Digest, expected: u64, found: u64 },
    #[error("the blob {digest} has more than the {limit} bytes that it may have here")]
    TooLarge { digest: Digest, limit: u64 },
    #[error("could not read what is to become a blob")]
    Read(#[source] io::Error),
}

impl Blobs {
    /// Those in the cache; the folder is made when first needed.
    pub fn of(cache: &Cache) -> Self {
        Self { folder: cache.root().join("blobs").join("sha256") }
    }

    /// The size of a blob that is there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault("look at", &path, error)),
        }
    }

    /// The file of a blob that has to be there, to read from its start.
    pub fn open(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(BlobError::Missing { digest: *digest })
            }
            Err(error) => Err(fault("open", &path, error)),
        }
    }

    /// The whole of a small blob, checked again; an error for one over `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let mut bytes = Vec::new();
        let read = self.open(digest)?.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| fault("read", &self.path(digest), error))?;
        if bytes.len() as u64 > limit {
            return Err(BlobError::TooLarge { digest: *digest, limit });
        }
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(BlobError::Digest { digest: *digest, found }),
        }
    }

    /// Files bytes that are in memory.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        self.take(&mut &*bytes, u64::MAX).map(|(digest, _)| digest)
    }

    /// Files all that `source` gives, whatever its digest, and says its digest and size. At most
    /// `limit` bytes are taken.
    pub fn take(
        &self,
        source: &mut (impl Read + ?Sized),
        limit: u64,
    ) -> Result<(Digest, u64), BlobError> {
        let mut draft = self.draft()?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut bytes = 0;
        loop {
            let got = read_some(source, &mut chunk).map_err(BlobError::Read)?;
            if got == 0 {
                break;
            }
            hash.update(&chunk[..got]);
            bytes += got as u64;
            if bytes > limit {
                return Err(BlobError::TooLarge { digest: Digest::finish(hash), limit });
            }
            let written = draft.write_all(&chunk[..got]);
            written.map_err(|error| fault("write", draft.path(), error))?;
        }
        let digest = Digest::finish(hash);
        self.file(draft, &digest)?;
        Ok((digest, bytes))
    }

    /// Files what `fill` writes; gives what that gives, and the digest and size.
    pub(crate) fn write<T, E: From<BlobError>>(
        &self,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<(T, Digest, u64), E> {
        let draft = self.draft()?;
        let copy = draft.as_file().try_clone();
        let copy = copy.map_err(|error| fault("open", draft.path(), error))?;
        let mut out = Hashed::new(io::BufWriter::with_capacity(CHUNK_BYTES, copy));
        let filled = fill(&mut out)?;
        out.flush().map_err(|error| fault("write", draft.path(), error))?;
        let Hashed { hash, bytes, .. } = out;
        let digest = Digest::finish(hash);
        self.file(draft, &digest)?;
        Ok((filled, digest, bytes))
    }

    /// The right to write a blob, unless it is there or another has it.
    pub fn want(&self, digest: Digest, bytes: u64) -> Result<Wanted, BlobError> {
        self.make_folder()?;
        let path = self.folder.join(format!("{}{PARTIAL}", digest.hex()));
        loop {
            if let Some(found) = self.size(&digest)? {
                return match found == bytes {
                    true => Ok(Wanted::Present),
                    false => Err(BlobError::Size { digest, expected: bytes, found }),
                };
            }
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            let partial = options.open(&path).map_err(|error| fault("open", &path, error))?;
            match partial.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Wanted::Underway),
                Err(TryLockError::Error(error)) => return Err(fault("lock", &path, error)),
            }
            // Whoever had the lock may have filed the blob: this is then no longer its file, or a new
            // one that nobody needs.
            if !is_at(&partial, &path)? {
                continue;
            }
            if self.size(&digest)?.is_some() {
                remove_file(&path)?;
                continue;
            }
            let target = self.path(&digest);
            let goal = Box::new(Goal { path, target, digest, bytes });
            return BlobWriter::resume(partial, goal).map(Wanted::Missing);
        }
    }

    /// Takes a blob away, whole or partial; that it is not there is no fault. One that is being
    /// written goes on.
    pub fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        remove_file(&self.path(digest))?;
        let partial = self.folder.join(format!("{}{PARTIAL}", digest.hex()));
        remove_idle(&partial)
    }

    /// All whole blobs, in the order of their digests.
    pub fn list(&self) -> Result<Vec<Kept>, BlobError> {
        self.named(Digest::from_hex)
    }

    /// What has come of blobs that are not whole, in the order of their digests.
    pub fn partials(&self) -> Result<Vec<Kept>, BlobError> {
        self.named(|name| Digest::from_hex(name.strip_suffix(PARTIAL)?))
    }

    fn named(&self, digest: impl Fn(&str) -> Option<Digest>) -> Result<Vec<Kept>, BlobError> {
        let listing = match fs::read_dir(&self.folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault("list", &self.folder, error)),
        };
        let mut found = Vec::new();
        for item in listing {
            let item = item.map_err(|error| fault("list", &self.folder, error))?;
            let name = item.file_name();
            let Some(digest) = name.to_str().and_then(&digest) else { continue };
            // Another may have removed it by now.
            let Ok(meta) = item.metadata() else { continue };
            let filed = meta.modified().map_err(|error| fault("look at", &item.path(), error))?;
            found.push(Kept { digest, bytes: meta.len(), filed });
        }
        found.sort_by_key(|kept| kept.digest);
        Ok(found)
    }

    /// Whether the bytes are still those of the digest; what is damaged is taken away, so that it
    /// can be fetched anew.
    pub(crate) fn check(&self, digest: &Digest) -> Result<(), BlobError> {
        let mut hash = Sha256::new();
        let mut file = self.open(digest)?;
        feed(&mut hash, &mut file).map_err(|error| fault("read", &self.path(digest), error))?;
        match Digest::finish(hash) {
            found if found == *digest => Ok(()),
            found => {
                self.remove(digest)?;
                Err(BlobError::Digest { digest: *digest, found })
            }
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn make_folder(&self) -> Result<(), BlobError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(&self.folder).map_err(|error| fault("make", &self.folder, error))
    }

    /// An empty file of our own. Locked, so that it is told from those that the dead have left,
    /// which are cleared away.
    fn draft(&self) -> Result<NamedTempFile, BlobError> {
        self.make_folder()?;
        let listing = fs::read_dir(&self.folder);
        for item in listing.map_err(|error| fault("list", &self.folder, error))?.flatten() {
            if item.file_name().as_encoded_bytes().starts_with(DRAFT_PREFIX.as_bytes()) {
                remove_idle(&item.path())?;
            }
        }
        loop {
            let made = tempfile::Builder::new().prefix(DRAFT_PREFIX).tempfile_in(&self.folder);
            let draft = made.map_err(|error| fault("make a file in", &self.folder, error))?;
            let locked = draft.as_file().lock();
            locked.map_err(|error| fault("lock", draft.path(), error))?;
            // Another may have taken it for a dead one's before it was locked.
            if is_at(draft.as_file(), draft.path())? {
                return Ok(draft);
            }
        }
    }

    fn file(&self, draft: NamedTempFile, digest: &Digest) -> Result<(), BlobError> {
        let target = self.path(digest);
        draft.as_file().sync_all().map_err(|error| fault("write out", draft.path(), error))?;
        draft.persist(&target).map_err(|error| fault("file", &target, error.error))?;
        sync_folder(&self.folder)
    }
}

/// Counts and hashes what goes through.
pub(crate) struct Hashed<W> {
    pub(crate) out: W,
    pub(crate) hash: Sha256,
    pub(crate) bytes: u64,
}

impl<W> Hashed<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, hash: Sha256::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where the bytes go, and what they have to be.
#[derive(Debug)]
struct Goal {
    path: PathBuf,
    target: PathBuf,
    digest: Digest,
    bytes: u64,
}

/// A blob on its way in. Dropped before it is whole, it leaves what has come, for the next one.
#[derive(Debug)]
pub struct BlobWriter {
    partial: File,
    goal: Box<Goal>,
    hash: Sha256,
    received: u64,
}

impl BlobWriter {
    /// What is there already is read, so that the digest covers it.
    fn resume(mut partial: File, goal: Box<Goal>) -> Result<Self, BlobError> {
        let mut hash = Sha256::new();
        let fed = feed(&mut hash, &mut partial);
        let received = fed.map_err(|error| fault("read", &goal.path, error))?;
        let mut writer = Self { partial, goal, hash, received };
        if writer.received > writer.goal.bytes {
            writer.restart()?;
        }
        Ok(writer)
    }

    /// How many bytes of the blob are there: where to go on.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Forgets all of them, for a sender who can only begin at the beginning.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        let path = &self.goal.path;
        let emptied = self.partial.set_len(0).and_then(|()| io::Seek::rewind(&mut self.partial));
        emptied.map_err(|error| fault("empty", path, error))?;
        self.hash = Sha256::new();
        self.received = 0;
        Ok(())
    }

    /// Takes the next bytes. More than the blob has is an error, and so is a full disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let Goal { path, digest, bytes: expected, .. } = &*self.goal;
        let found = self.received.saturating_add(bytes.len() as u64);
        if found > *expected {
            return Err(BlobError::Size { digest: *digest, expected: *expected, found });
        }
        let written = self.partial.write_all(bytes);
        written.map_err(|error| fault("write", path, error))?;
        self.hash.update(bytes);
        self.received = found;
        Ok(())
    }

    /// Files the blob. Where bytes are missing, what has come stays; where they are the wrong ones,
    /// nothing does.
    pub fn finish(self) -> Result<(), BlobError> {
        let Self { partial, goal, hash, received } = self;
        let Goal { path, target, digest, bytes: expected } = *goal;
        if received != expected {
            return Err(BlobError::Size { digest, expected, found: received });
        }
        let found = Digest::finish(hash);
        if found != digest {
            fs::remove_file(&path).map_err(|error| fault("remove", &path, error))?;
            return Err(BlobError::Digest { digest, found });
        }
        partial.sync_all().map_err(|error| fault("write out", &path, error))?;
        fs::rename(&path, &target).map_err(|error| fault("file", &target, error))?;
        target.parent().map_or(Ok(()), sync_folder)
    }
}

fn remove_file(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a file, unless somebody has its lock: it is theirs.
fn remove_idle(path: &Path) -> Result<(), BlobError> {
    match File::open(path) {
        Ok(file) => match file.try_lock() {
            Ok(()) if is_at(&file, path)? => remove_file(path),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(fault("lock", path, error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fault("open", path, error)),
    }
}

/// Whether the path still leads to the open file.
fn is_at(file: &File, path: &Path) -> Result<bool, BlobError> {
    let open = file.metadata().map_err(|error| fault("look at", path, error))?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fault("look at", path, error)),
    }
}

/// All that is left of `source`, and how much it was.
fn feed(hash: &mut Sha256, source: &mut impl Read) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match read_some(source, &mut chunk)? {
            0 => return Ok(bytes),
            got => {
                hash.update(&chunk[..got]);
                bytes += got as u64;
            }
        }
    }
}

fn read_some(source: &mut (impl Read + ?Sized), chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn sync_folder(folder: &Path) -> Result<(), BlobError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| fault("write out", folder, error))
}

fn fault(action: &'static str, path: &Path, source: io::Error) -> BlobError {
    BlobError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
