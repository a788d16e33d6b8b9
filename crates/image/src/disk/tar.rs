//! Reads a tar stream into a tree: ustar, GNU and PAX, trusting none of it.
//!
//! Own code rather than a library, since a library that gathers long names and PAX records for its
//! caller lets a hostile stream say how much memory that takes.

use std::fs::File;
use std::io::{self, Read};

use super::path::{PathFault, TreePath};
use super::pax::{Overrides, PaxFault};
use super::sparse::{self, Map, SparseFault};
use super::tree::{Limits, Meta, Special, Time, Tree, TreeError};
use super::whiteout::{self, Said};

mod header;

use header::{EntryKind, Header, HeaderFault};

/// Of a header, and what contents are padded to.
pub(super) const BLOCK_BYTES: usize = 512;

/// Of all extended headers for one entry; the longest of use are some hundred kilobytes.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Padding after the end of the archive that is read, so that the writer gets rid of it.
const PADDING_BYTES_MAX: u64 = 1 << 20;
/// As the kernel has it.
const LINK_TARGET_BYTES_MAX: usize = 4095;

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("could not read the tar stream")]
    Read(#[source] io::Error),
    #[error("the tar stream has a header with a bad {field}")]
    Header { field: &'static str },
    #[error("the tar stream has an extended header that is {fault}")]
    Extension { fault: &'static str },
    #[error("the path {path:?} in the tar stream {fault}")]
    Path { path: String, fault: PathFault },
    #[error("{path}: a sparse file {fault}")]
    Sparse { path: String, fault: &'static str },
    #[error("{path}: {what} in the tar stream, which is not supported")]
    Unsupported { path: String, what: &'static str },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A tree of one tar stream; `spool` is an empty file for the contents.
pub fn tree_from_tar(source: impl Read, spool: File, limits: Limits) -> Result<Tree, TarError> {
    let mut tree = Tree::new(spool, limits);
    lay(source, &mut tree)?;
    Ok(tree)
}

/// Lays a tar stream over `tree`. After an error the tree is of no use.
///
/// Absolute paths mean paths below the root; paths with `..`, or through anything but directories,
/// are errors, as are names that are not UTF-8.
pub fn lay(source: impl Read, tree: &mut Tree) -> Result<(), TarError> {
    lay_at(source, tree, |path| Some(path.to_owned()))
}

/// As [`lay`], but each entry goes where `place` says for its path (`/a/b`), or nowhere. Hard links
/// keep their targets.
pub fn lay_at(
    source: impl Read,
    tree: &mut Tree,
    place: impl Fn(&str) -> Option<String>,
) -> Result<(), TarError> {
    each_entry(source, |mut entry, source| match place(&entry.path.to_string()) {
        Some(path) => {
            entry.path = parse_path(path.as_bytes())?;
            entry.enter(source, tree)
        }
        None => entry.skip(source),
    })
}

/// As [`lay`], but as a layer over those below: `.wh.NAME` takes away what they have at `NAME`, and
/// `.wh..wh..opq` what they have in its directory. What this layer has there stays, whether it comes
/// before or after. Other names that begin with `.wh..wh.` are passed over, as in Docker.
pub fn lay_layer(source: impl Read, tree: &mut Tree) -> Result<(), TarError> {
    tree.begin_layer()?;
    each_entry(source, |entry, source| {
        match whiteout::said(&entry.path) {
            Said::Entry => return entry.enter(source, tree),
            Said::Hide(path) => tree.hide(&path)?,
            Said::HideBelow(path) => tree.hide_below(&path)?,
            Said::Nothing => tree.count_one_more()?,
            Said::Wrong => return Err(unsupported(&entry.path, "a whiteout of nothing")),
        }
        entry.skip(source)
    })
}

fn each_entry<R: Read>(
    mut source: R,
    mut take: impl FnMut(Entry, &mut R) -> Result<(), TarError>,
) -> Result<(), TarError> {
    let mut globals = Extended::new(Overrides::default());
    let mut local: Option<Extended> = None;
    while let Some((block, header)) = next_header(&mut source)? {
        if let EntryKind::Content(kind) = header.kind {
            let overrides = local.take().unwrap_or_else(|| globals.clone()).overrides;
            let mut entry = Entry::new(kind, header, overrides)?;
            if kind == header::GNU_SPARSE {
                entry.become_sparse(&block, &mut source)?;
            }
            take(entry, &mut source)?;
        } else if header.kind == EntryKind::PaxGlobal {
            globals.read(&mut source, &header)?;
            // No two files have the same holes.
            globals.overrides.sparse = sparse::Records::default();
        } else {
            let start = || Extended::new(globals.overrides.clone());
            local.get_or_insert_with(start).read(&mut source, &header)?;
        }
    }
    let mut padding = source.take(PADDING_BYTES_MAX);
    io::copy(&mut padding, &mut io::sink()).map_err(TarError::Read)?;
    Ok(())
}

/// What extended headers have said, and how much more they may say.
#[derive(Clone)]
struct Extended {
    overrides: Overrides,
    bytes_left: u64,
}

impl Extended {
    fn new(overrides: Overrides) -> Self {
        Self { overrides, bytes_left: EXTENSION_BYTES_MAX }
    }

    fn read(&mut self, source: &mut impl Read, header: &Header) -> Result<(), TarError> {
        let too_long = TarError::Extension { fault: "too long" };
        self.bytes_left = self.bytes_left.checked_sub(header.size).ok_or(too_long)?;
        let mut text = Vec::new();
        source.by_ref().take(header.size).read_to_end(&mut text).map_err(TarError::Read)?;
        if (text.len() as u64) < header.size {
            return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        skip_padding(source, header.size)?;
        match header.kind {
            EntryKind::LongPath => self.overrides.path = Some(until_nul(text)),
            EntryKind::LongLink => self.overrides.link = Some(until_nul(text)),
            EntryKind::PaxLocal | EntryKind::PaxGlobal => self.overrides.read(&text)?,
            EntryKind::Content(_) => {}
        }
        Ok(())
    }
}

/// A header with what overrides it applied.
struct Entry {
    kind: u8,
    path: TreePath,
    link: Vec<u8>,
    meta: Meta,
    /// Of what follows the header.
    size: u64,
    device: (u32, u32),
    holes: Holes,
}

/// Whether what follows is the whole of a file.
enum Holes {
    None,
    Map(Map),
    Records(sparse::Records),
}

impl Entry {
    fn new(kind: u8, header: Header, overrides: Overrides) -> Result<Self, TarError> {
        let raw = overrides.sparse_path.or(overrides.path).unwrap_or(header.path);
        let path = parse_path(&raw)?;
        // Before POSIX a directory was a file whose name ends in a slash.
        let is_old_directory = kind == header::FILE && raw.ends_with(b"/");
        let mut meta = Meta::new(header.mode, overrides.mtime.unwrap_or(header.mtime));
        meta.uid = overrides.uid.unwrap_or(header.uid);
        meta.gid = overrides.gid.unwrap_or(header.gid);
        meta.xattrs = overrides.xattrs;
        meta.xattrs.retain(|name, _| is_linux_attribute(name));
        Ok(Self {
            kind: if is_old_directory { header::DIRECTORY } else { kind },
            path,
            link: overrides.link.unwrap_or(header.link),
            meta,
            size: overrides.size.unwrap_or(header.size),
            device: header.device,
            holes: match overrides.sparse {
                records if records.is_empty() => Holes::None,
                records => Holes::Records(records),
            },
        })
    }

    /// Of the oldest form, whose map is in the header.
    fn become_sparse(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        source: &mut impl Read,
    ) -> Result<(), TarError> {
        let map = Map::of_header(block, header::size, source);
        self.holes = Holes::Map(map.map_err(|fault| sparse_fault(&self.path, fault))?);
        self.kind = header::FILE;
        Ok(())
    }

    fn skip(self, source: &mut impl Read) -> Result<(), TarError> {
        if self.kind != header::FILE {
            return Ok(());
        }
        let skipped = io::copy(&mut source.by_ref().take(self.size), &mut io::sink());
        if skipped.map_err(TarError::Read)? < self.size {
            return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        skip_padding(source, self.size)
    }

    fn enter(self, source: &mut impl Read, tree: &mut Tree) -> Result<(), TarError> {
        let Self { kind, path, link, meta, size, device: (major, minor), holes } = self;
        match kind {
            header::FILE => {
                match map_of(holes, size, source).map_err(|fault| sparse_fault(&path, fault))? {
                    None => tree.put_file(&path, meta, size, source)?,
                    Some(map) => {
                        tree.put_file(&path, meta, map.bytes(), &mut map.expand(source))?;
                    }
                }
                skip_padding(source, size)?;
            }
            header::DIRECTORY => tree.put_directory(&path, meta)?,
            header::HARD_LINK => tree.link(&path, &parse_path(&link)?)?,
            header::SYMLINK => {
                let target = Special::Symlink(symlink_target(link)?);
                tree.put_special(&path, meta, target)?;
            }
            header::CHAR_DEVICE => {
                tree.put_special(&path, meta, Special::CharDevice { major, minor })?;
            }
            header::BLOCK_DEVICE => {
                tree.put_special(&path, meta, Special::BlockDevice { major, minor })?;
            }
            header::FIFO => tree.put_special(&path, meta, Special::Fifo)?,
            _ => return Err(unsupported(&path, "an entry of an unknown kind")),
        }
        Ok(())
    }
}

/// The map of a file with holes, which its stored bytes have to fit.
fn map_of(holes: Holes, size: u64, source: &mut impl Read) -> Result<Option<Map>, SparseFault> {
    let (map, taken) = match holes {
        Holes::None => return Ok(None),
        Holes::Map(map) => (map, 0),
        Holes::Records(records) => records.map(source, size)?,
    };
    if map.stored() == size - taken { Ok(Some(map)) } else { Err(SparseFault::Map) }
}

fn sparse_fault(path: &TreePath, fault: SparseFault) -> TarError {
    let fault = match fault {
        SparseFault::Read(source) => return TarError::Read(source),
        SparseFault::Map => "whose map is wrong",
        SparseFault::Version => "of a form that is not supported",
    };
    TarError::Sparse { path: path.to_string(), fault }
}

/// Whether Linux could keep the attribute at all: archives from elsewhere have others.
fn is_linux_attribute(name: &str) -> bool {
    let spaces = ["user.", "trusted.", "security."];
    let in_space = |space: &str| name.strip_prefix(space).is_some_and(|rest| !rest.is_empty());
    spaces.into_iter().any(in_space)
        || matches!(name, "system.posix_acl_access" | "system.posix_acl_default")
}

/// The next header, or nothing at the end of the archive.
fn next_header(source: &mut impl Read) -> Result<Option<([u8; BLOCK_BYTES], Header)>, TarError> {
    let mut block = [0; BLOCK_BYTES];
    let mut filled = 0;
    while filled < BLOCK_BYTES {
        match source.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into())),
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TarError::Read(error)),
        }
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let header = Header::parse(&block).map_err(|HeaderFault(field)| TarError::Header { field })?;
    Ok(Some((block, header)))
}

/// Contents fill whole blocks, but for the last one of some writers (`umoci insert`), who leave out
/// the end mark too.
fn skip_padding(source: &mut impl Read, size: u64) -> Result<(), TarError> {
    let block = BLOCK_BYTES as u64;
    let padding = (block - size % block) % block;
    let skipped = io::copy(&mut source.by_ref().take(padding), &mut io::sink());
    skipped.map(drop).map_err(TarError::Read)
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

fn parse_path(bytes: &[u8]) -> Result<TreePath, TarError> {
    TreePath::parse(bytes).map_err(|fault| path_fault(bytes, fault))
}

fn symlink_target(bytes: Vec<u8>) -> Result<String, TarError> {
    let fault = match bytes.len() {
        0 => Some(PathFault::Empty),
        1..=LINK_TARGET_BYTES_MAX => bytes.contains(&0).then_some(PathFault::HoldsNul),
        _ => Some(PathFault::TooLong),
    };
    if let Some(fault) = fault {
        return Err(path_fault(&bytes, fault));
    }
    String::from_utf8(bytes).map_err(|error| path_fault(error.as_bytes(), PathFault::NotUtf8))
}

/// The path shortened, since it may be as long as a stream wants it.
fn path_fault(bytes: &[u8], fault: PathFault) -> TarError {
    let shown = &bytes[..bytes.len().min(200)];
    TarError::Path { path: String::from_utf8_lossy(shown).into_owned(), fault }
}

fn unsupported(path: &TreePath, what: &'static str) -> TarError {
    TarError::Unsupported { path: path.to_string(), what }
}

impl From<PaxFault> for TarError {
    fn from(fault: PaxFault) -> Self {
        let fault = match fault {
            PaxFault::Form => "not made of records",
            PaxFault::Number => "with a bad number",
            PaxFault::Sparse => "of a sparse file with a wrong map",
        };
        Self::Extension { fault }
    }
}

/// Of a header's own field: a time, where seconds are all there is.
fn whole_seconds(seconds: i64) -> Time {
    Time { seconds, nanoseconds: 0 }
}
