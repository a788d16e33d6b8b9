//! The file system of a sandbox, read on the host: an ext4 that a guest has written, and that may be
//! anything. The structures are read by a library that expects that; here is what bounds the work: no
//! list is longer than what it may name, no folder is entered twice, and whatever is no file system as
//! our writer and Linux make it is an error.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use mkext4::reader::{FileExtent, Fs, ReadAt};
use mkext4::spec::inode::FileType;
use mkext4::spec::{DirentIter, Extent, ExtentHeader, ExtentIdx, Inode, ROOT_INO, extent, iflags};

use crate::disk::acl;
use crate::disk::tree::{Limits, Meta, Special, Time};

mod entry;
mod layer;
mod links;
mod own;
mod stack;

pub use layer::{LayerFault, Written, write_layer};
pub use own::Own;
pub use stack::{Stack, StackError};

const BLOCK: u64 = 4096;
/// As the kernel has it.
const PATH_BYTES_MAX: usize = 4096;
const EXTENT_DEPTH_MAX: u16 = 5;
/// Blocks of folders and lists, all together: two million files have some hundred thousand.
const BLOCKS_READ_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("{path}: the file system cannot be read")]
    Read { path: String, source: mkext4::Error },
    #[error("{path}: the file system is damaged: {fault}")]
    Damaged { path: String, fault: &'static str },
    #[error("{path}: {fault}, which an image cannot have")]
    Unsupported { path: String, fault: &'static str },
    #[error("more {what} than the limit of {limit}")]
    Limit { what: &'static str, limit: u64 },
}

/// See the module.
pub struct Volume {
    fs: Fs<Shared>,
    stack: Arc<Stack>,
    blocks: u64,
    used: Used,
}

struct Shared(Arc<Stack>);

impl ReadAt for Shared {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, buf)
    }
}

/// What has been read, so that there is an end to it.
#[derive(Default)]
struct Used {
    entries: Cell<u64>,
    name_bytes: Cell<u64>,
    blocks: Cell<u64>,
}

/// What a path leads to.
#[derive(Debug)]
struct Node {
    ino: u32,
    inode: Inode,
    meta: Meta,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Special(Special),
    /// Means nothing elsewhere.
    Socket,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Volume").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl Volume {
    /// The file system must have been written out: one whose journal holds something is refused.
    pub fn open(stack: Stack) -> Result<Self, VolumeError> {
        check_superblock(&stack)?;
        let (bytes, stack) = (stack.bytes(), Arc::new(stack));
        let fs = Fs::open(Shared(Arc::clone(&stack))).map_err(|source| read("/", source))?;
        let blocks = fs.superblock().blocks_count;
        if blocks > bytes / BLOCK {
            return Err(damaged("/", "it is larger than its disk"));
        }
        Ok(Self { fs, stack, blocks, used: Used::default() })
    }

    /// Begins to count anew.
    fn begin(&self) {
        let Used { entries, name_bytes, blocks } = &self.used;
        [entries, name_bytes, blocks].into_iter().for_each(|it| it.set(0));
    }

    fn root(&self) -> Result<Node, VolumeError> {
        self.node(ROOT_INO, "/")
    }

    /// `path` is for messages.
    fn node(&self, ino: u32, path: &str) -> Result<Node, VolumeError> {
        let fault = |source| read(path, source);
        self.check_table(ino, path)?;
        let inode = self.fs.inode(ino).map_err(fault)?;
        if inode.file_acl != 0 {
            self.check_block(inode.file_acl, path)?;
            self.count_blocks(1)?;
        }
        let mtime = Inode::timestamp(inode.mtime, inode.mtime_extra);
        let mut meta =
            Meta::new(inode.mode & 0o7777, Time { seconds: mtime.0, nanoseconds: mtime.1 });
        (meta.uid, meta.gid) = (inode.uid, inode.gid);
        if meta.mtime.nanoseconds >= 1_000_000_000 {
            return Err(damaged(path, "a time is none"));
        }
        for attribute in self.fs.xattrs(ino).map_err(fault)? {
            let name = attribute.full_name().and_then(|name| String::from_utf8(name).ok());
            let name = name.ok_or_else(|| unsupported(path, "an attribute's name is not text"))?;
            let value = match name.starts_with("system.posix_acl_") {
                true => acl::of_disk(&attribute.value)
                    .ok_or_else(|| damaged(path, "an access control list is none"))?,
                false => attribute.value,
            };
            meta.xattrs.insert(name, value);
        }
        let kind = self.kind(ino, &inode, path)?;
        Ok(Node { ino, inode, meta, kind })
    }

    fn kind(&self, ino: u32, inode: &Inode, path: &str) -> Result<Kind, VolumeError> {
        let device = || inode.dev_numbers().unwrap_or_default();
        Ok(match inode.file_type() {
            FileType::Dir => Kind::Directory,
            FileType::Regular => Kind::File,
            FileType::Symlink => Kind::Special(Special::Symlink(self.target(ino, inode, path)?)),
            FileType::CharDev => {
                let (major, minor) = device();
                Kind::Special(Special::CharDevice { major, minor })
            }
            FileType::BlockDev => {
                let (major, minor) = device();
                Kind::Special(Special::BlockDevice { major, minor })
            }
            FileType::Fifo => Kind::Special(Special::Fifo),
            FileType::Socket => Kind::Socket,
            FileType::Unknown => return Err(damaged(path, "something of no kind")),
        })
    }

    fn target(&self, ino: u32, inode: &Inode, path: &str) -> Result<String, VolumeError> {
        // A short one is in the inode itself; else the list of its blocks has to be sound first.
        if inode.uses_extents() {
            self.pieces(&(ino, inode), path)?;
        }
        let target = self.fs.symlink_target(ino).map_err(|source| read(path, source))?;
        if target.is_empty() || target.contains(&0) {
            return Err(damaged(path, "a link to nothing"));
        }
        String::from_utf8(target)
            .map_err(|_invalid| unsupported(path, "a link's target is not UTF-8"))
    }

    /// Names and what they lead to.
    fn children(&self, node: &Node, path: &str) -> Result<BTreeMap<String, u32>, VolumeError> {
        let mut found = BTreeMap::new();
        let blocks = node.inode.size.div_ceil(BLOCK);
        let mut end = 0;
        for piece in self.pieces(&(node.ino, &node.inode), path)? {
            if u64::from(piece.logical) != end || piece.unwritten {
                return Err(damaged(path, "a folder with holes"));
            }
            let len = u64::from(piece.len).min(blocks - end);
            end += len;
            for block in piece.physical..piece.physical + len {
                self.count_blocks(1)?;
                let data = self.fs.read_block(block).map_err(|source| read(path, source))?;
                // The first block of an index is two entries to whom does not know it, and its others
                // are one that leads nowhere.
                for entry in DirentIter::new(&data) {
                    let entry = entry.map_err(|source| read(path, source))?;
                    self.add_child(&mut found, (entry.name, entry.inode), path)?;
                }
            }
        }
        if end < blocks {
            return Err(damaged(path, "a folder with holes"));
        }
        Ok(found)
    }

    fn add_child(
        &self,
        found: &mut BTreeMap<String, u32>,
        (name, ino): (&[u8], u32),
        path: &str,
    ) -> Result<(), VolumeError> {
        if name == b"." || name == b".." {
            return Ok(());
        }
        let limits = Limits::default();
        charge(&self.used.entries, 1, ("files", limits.entries as u64))?;
        // Whole paths are held, and what a list costs beside its texts.
        let bytes = (path.len() + name.len()) as u64 + 64;
        let limit = limits.metadata_bytes as u64;
        charge(&self.used.name_bytes, bytes, ("bytes in names", limit))?;
        if path.len() + 1 + name.len() > PATH_BYTES_MAX {
            return Err(unsupported(path, "a longer path than Linux takes is below it"));
        }
        if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(damaged(path, "a name that is none"));
        }
        let name = str::from_utf8(name)
            .map_err(|_invalid| unsupported(path, "a name that is not UTF-8 is in it"))?;
        match found.insert(name.to_owned(), ino) {
            None => Ok(()),
            Some(_) => Err(damaged(path, "a name twice")),
        }
    }

    /// Where the content of a node is, in order.
    fn pieces(
        &self,
        (ino, inode): &(u32, &Inode),
        path: &str,
    ) -> Result<Vec<FileExtent>, VolumeError> {
        if inode.size == 0 && !inode.uses_extents() {
            return Ok(Vec::new());
        }
        if inode.flags & iflags::EXTENTS == 0 {
            return Err(unsupported(path, "its blocks are listed in the way of ext3"));
        }
        let root = inode.extent_root().ok_or_else(|| damaged(path, "no list of its blocks"))?;
        let mut list =
            List { volume: self, inode: (*ino, inode.generation), path, found: Vec::new(), end: 0 };
        list.walk(root, None)?;
        Ok(list.found)
    }

    /// So much of a file from a byte on, or as much as there is; between its pieces there are zeros.
    fn read_piece(&self, piece: &FileExtent, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.stack.read_exact_at(piece.physical * BLOCK + offset, buf)
    }

    fn check_table(&self, ino: u32, path: &str) -> Result<(), VolumeError> {
        let per_group = self.fs.superblock().inodes_per_group;
        let group = u64::from(ino.saturating_sub(1) / per_group);
        let table = self.fs.group_desc(group).map_err(|source| read(path, source))?.inode_table;
        self.check_block(table, path)
    }

    fn check_block(&self, block: u64, path: &str) -> Result<(), VolumeError> {
        if block < self.blocks { Ok(()) } else { Err(damaged(path, "a block behind the end")) }
    }

    fn count_blocks(&self, count: u64) -> Result<(), VolumeError> {
        charge(&self.used.blocks, count, ("blocks of folders and lists", BLOCKS_READ_MAX))
    }
}

/// The pieces of a file as they are gathered.
struct List<'a> {
    volume: &'a Volume,
    /// The number, and the generation.
    inode: (u32, u32),
    path: &'a str,
    found: Vec<FileExtent>,
    /// No piece begins before this block of the file: so no list is longer than a file can be.
    end: u64,
}

impl List<'_> {
    fn walk(&mut self, node: &[u8], depth: Option<u16>) -> Result<(), VolumeError> {
        let header = ExtentHeader::decode(node).map_err(|source| read(self.path, source))?;
        let is_expected = depth.is_none_or(|depth| depth == header.depth);
        // Only a file of nothing has nothing in its list.
        let is_empty = header.entries == 0 && depth.is_some();
        if header.depth > EXTENT_DEPTH_MAX || !is_expected || is_empty {
            return Err(damaged(self.path, "a list of its blocks is none"));
        }
        let room = (node.len() - ExtentHeader::LEN) / ExtentHeader::ENTRY_LEN;
        if usize::from(header.entries) > room {
            return Err(damaged(self.path, "a list of its blocks is too long"));
        }
        for index in 0..usize::from(header.entries) {
            let entry = extent::entry(node, index);
            match header.depth {
                0 => self.add(&Extent::decode(entry))?,
                depth => self.descend(ExtentIdx::decode(entry).leaf, depth - 1)?,
            }
        }
        Ok(())
    }

    fn descend(&mut self, block: u64, depth: u16) -> Result<(), VolumeError> {
        self.volume.check_block(block, self.path)?;
        self.volume.count_blocks(1)?;
        let data = self.volume.fs.read_block(block).map_err(|source| read(self.path, source))?;
        let seed = mkext4::csum::inode_seed(self.volume.fs.fs_seed(), self.inode.0, self.inode.1);
        let stored = data.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if mkext4::csum::extent_block(seed, &data) != stored {
            return Err(damaged(self.path, "a list of its blocks has another checksum"));
        }
        self.walk(&data, Some(depth))
    }

    fn add(&mut self, extent: &Extent) -> Result<(), VolumeError> {
        let (logical, len) = (u64::from(extent.logical), u64::from(extent.len()));
        let last = extent.start.checked_add(len).filter(|end| *end <= self.volume.blocks);
        if len == 0 || logical < self.end || last.is_none() {
            return Err(damaged(self.path, "a list of its blocks is out of order"));
        }
        self.end = logical + len;
        self.found.push(FileExtent {
            logical: extent.logical,
            physical: extent.start,
            len: extent.len(),
            unwritten: extent.is_unwritten(),
        });
        Ok(())
    }
}

/// The path of something in a folder, both without a slash at the start.
fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn charge(
    used: &Cell<u64>,
    more: u64,
    (what, limit): (&'static str, u64),
) -> Result<(), VolumeError> {
    let sum = used.get().saturating_add(more);
    used.set(sum);
    if sum > limit { Err(VolumeError::Limit { what, limit }) } else { Ok(()) }
}

/// What the library takes for granted: that the first block is number 0, and how large they are.
fn check_superblock(stack: &Stack) -> Result<(), VolumeError> {
    const AT: u64 = 1024 + 0x14;
    let mut fields = [0; 8];
    stack.read_exact_at(AT, &mut fields).map_err(|fault| read("/", fault.into()))?;
    match fields {
        [0, 0, 0, 0, 2, 0, 0, 0] => Ok(()),
        _ => Err(damaged("/", "its blocks are not those of 4096 bytes")),
    }
}

fn read(path: &str, source: mkext4::Error) -> VolumeError {
    VolumeError::Read { path: path.to_owned(), source }
}

fn damaged(path: &str, fault: &'static str) -> VolumeError {
    VolumeError::Damaged { path: path.to_owned(), fault }
}

fn unsupported(path: &str, fault: &'static str) -> VolumeError {
    VolumeError::Unsupported { path: path.to_owned(), fault }
}

#[cfg(test)]
mod tests;
