//! Writes a tree as an ext4 file system into a sparse file. The same tree gives the same bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use mkext4::{FsBuilder, InodeHandle, Options, SpecialKind};
use sha2::{Digest, Sha256};

use super::acl;
use super::neighbours::{Neighbours, Sharing};
use super::sink::SparseSink;
use super::tree::{Child, Kind, Meta, NodeId, Special, Time, Tree};

/// Part of every digest: raise it when the same tree gives other bytes than before.
pub const WRITER_VERSION: u32 = 1;

/// What ext4's time fields can hold.
const SECONDS_MIN: i64 = -(1 << 31);
const SECONDS_MAX: i64 = (1 << 34) - (1 << 31) - 1;
const ROOT_RESERVE_PERCENT: u8 = 1;

/// Of every image's disk.
pub(crate) const ROOT_DISK: Layout<'static> = Layout {
    label: "root",
    // Every sandbox may grow this far; the file is sparse, so it costs nothing until then.
    size_bytes: 32 << 30,
    // 64 MiB: half a gigabyte, as mke2fs would have it, would all end in each sandbox's overlay.
    journal_blocks: 16_384,
    // One for 16 KiB, as mke2fs has it.
    inodes: 1 << 21,
};

/// The file system around the tree.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// At most 16 bytes.
    pub label: &'a str,
    /// A multiple of 4096.
    pub size_bytes: u64,
    /// Of 4096 bytes each.
    pub journal_blocks: u32,
    /// At least this many.
    pub inodes: u32,
}

/// What names the content of a disk: its tree and its layout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ContentDigest([u8; 32]);

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{path}: the attribute {name} is not an access control list")]
    AccessList { path: String, name: String },
    #[error("the file system does not take {path}")]
    Entry { path: String, source: mkext4::Error },
    #[error("could not lay the file system out")]
    Layout(#[source] mkext4::Error),
    #[error("could not write the disk")]
    Write(#[source] mkext4::Error),
}

/// Writes `tree` to the new file `path`.
pub fn write(tree: &Tree, path: &Path, layout: Layout<'_>) -> Result<ContentDigest, WriteError> {
    write_beside(None, tree, path, layout)
}

/// The same with blocks of its neighbours, if it has some.
pub(crate) fn write_beside(
    neighbours: Option<&Neighbours>,
    tree: &Tree,
    path: &Path,
    layout: Layout<'_>,
) -> Result<ContentDigest, WriteError> {
    let digest = digest(tree, layout);
    let mut options = Options::new(layout.size_bytes, digest.uuid(), 0);
    options.label = Some(layout.label.to_owned());
    options.journal_blocks = Some(layout.journal_blocks);
    options.inodes = mkext4::InodeCount::Exact(layout.inodes);
    options.reserved_percent = ROOT_RESERVE_PERCENT;
    let mut declaration = Declaration::new(tree, options)?;
    declaration.declare_all()?;
    let Declaration { builder, files, .. } = declaration;
    let layout = builder.seal().map_err(WriteError::Layout)?;
    let sharing = neighbours.map(Sharing::new);
    let filled = (|| {
        let sink = SparseSink::create(path, layout.image_len(), sharing.as_ref())?;
        let mut writer = layout.writer(sink)?;
        for (id, handle) in files {
            let Kind::File(body) = tree.node(id).kind else { continue };
            if body.len > 0 {
                sharing.iter().for_each(|it| it.begin(body.sha256, body.len));
                writer.fill(handle, &mut tree.content(body))?;
            }
        }
        writer.finish()
    })();
    filled.map_err(WriteError::Write)?;
    let listed = sharing.map_or(Ok(()), |sharing| sharing.finish(path));
    listed.map_err(|error| WriteError::Write(error.into()))?;
    Ok(digest)
}

/// The tree on its way into the builder, in the order of its names.
struct Declaration<'a> {
    tree: &'a Tree,
    builder: FsBuilder,
    /// What has a handle already: a further name for it is a hard link.
    declared: BTreeMap<NodeId, InodeHandle>,
    files: Vec<(NodeId, InodeHandle)>,
}

impl<'a> Declaration<'a> {
    fn new(tree: &'a Tree, options: Options) -> Result<Self, WriteError> {
        let builder = FsBuilder::new(options).map_err(WriteError::Layout)?;
        Ok(Self { tree, builder, declared: BTreeMap::new(), files: Vec::new() })
    }

    fn declare_all(&mut self) -> Result<(), WriteError> {
        let root = self.tree.root();
        let meta = ext4_meta(&self.tree.node(root).meta);
        self.builder.set_meta(mkext4::ROOT, meta).map_err(|fault| self.refused(root, fault))?;
        self.set_xattrs(root, mkext4::ROOT)?;
        let mut todo = vec![(root, mkext4::ROOT)];
        while let Some((directory, handle)) = todo.pop() {
            let Kind::Directory(children) = &self.tree.node(directory).kind else { continue };
            for (name, Child { id, .. }) in children {
                // The writer makes this one itself, as every ext4 has it.
                if directory == root && name == "lost+found" {
                    continue;
                }
                let declared = self.declare(handle, name, *id)?;
                if matches!(self.tree.node(*id).kind, Kind::Directory(_)) {
                    todo.push((*id, declared));
                }
            }
        }
        Ok(())
    }

    fn declare(
        &mut self,
        parent: InodeHandle,
        name: &str,
        id: NodeId,
    ) -> Result<InodeHandle, WriteError> {
        let builder = &mut self.builder;
        if let Some(handle) = self.declared.get(&id).copied() {
            let linked = builder.hardlink(parent, name, handle);
            return linked.map(|()| handle).map_err(|fault| self.refused(id, fault));
        }
        let node = self.tree.node(id);
        let meta = ext4_meta(&node.meta);
        let made = match &node.kind {
            Kind::Directory(_) => builder.mkdir(parent, name, meta),
            Kind::File(body) => builder.file(parent, name, meta, body.len),
            Kind::Special(Special::Symlink(target)) => builder.symlink(parent, name, target, meta),
            Kind::Special(Special::CharDevice { major, minor }) => {
                let kind = SpecialKind::Char { major: *major, minor: *minor };
                builder.mknod(parent, name, meta, kind)
            }
            Kind::Special(Special::BlockDevice { major, minor }) => {
                let kind = SpecialKind::Block { major: *major, minor: *minor };
                builder.mknod(parent, name, meta, kind)
            }
            Kind::Special(Special::Fifo) => builder.mknod(parent, name, meta, SpecialKind::Fifo),
        };
        let handle = made.map_err(|fault| self.refused(id, fault))?;
        self.set_xattrs(id, handle)?;
        self.declared.insert(id, handle);
        if matches!(node.kind, Kind::File(_)) {
            self.files.push((id, handle));
        }
        Ok(handle)
    }

    fn set_xattrs(&mut self, id: NodeId, handle: InodeHandle) -> Result<(), WriteError> {
        for (name, value) in &self.tree.node(id).meta.xattrs {
            let is_acl = name.starts_with("system.posix_acl_");
            let value = if is_acl { acl::on_disk(value) } else { Some(value.clone()) };
            let Some(value) = value else {
                return Err(WriteError::AccessList {
                    path: self.tree.path_of(id),
                    name: name.clone(),
                });
            };
            let set = self.builder.set_xattr(handle, name, &value);
            set.map_err(|fault| self.refused(id, fault))?;
        }
        Ok(())
    }

    fn refused(&self, id: NodeId, source: mkext4::Error) -> WriteError {
        WriteError::Entry { path: self.tree.path_of(id), source }
    }
}

fn ext4_meta(meta: &Meta) -> mkext4::Meta {
    let Time { seconds, nanoseconds } = meta.mtime;
    let seconds = seconds.clamp(SECONDS_MIN, SECONDS_MAX);
    mkext4::Meta::new(meta.mode, meta.uid, meta.gid, (seconds, nanoseconds))
}

/// Over everything that the disk will hold, in the order of names.
fn digest(tree: &Tree, layout: Layout<'_>) -> ContentDigest {
    let mut hash = Sha256::new();
    let Layout { label, size_bytes, journal_blocks, inodes } = layout;
    let head = (WRITER_VERSION, label, size_bytes, journal_blocks, inodes);
    hash.update(format!("{head:?}\n"));
    // Each node is described once and numbered; a directory lists names with numbers. `Debug`
    // quotes texts, so that no two trees read the same.
    let mut numbers = BTreeMap::from([(tree.root(), 0)]);
    let mut todo = vec![tree.root()];
    while let Some(id) = todo.pop() {
        let node = tree.node(id);
        let Meta { mode, uid, gid, mtime, xattrs } = &node.meta;
        hash.update(format!("{} {mode:o} {uid} {gid} {mtime:?} {xattrs:?} ", numbers[&id]));
        match &node.kind {
            Kind::File(body) => hash.update(format!("{} {:?}\n", body.len, body.sha256)),
            Kind::Special(special) => hash.update(format!("{special:?}\n")),
            Kind::Directory(children) => {
                hash.update("directory\n");
                for (name, child) in children {
                    let next = numbers.len();
                    let number = *numbers.entry(child.id).or_insert(next);
                    if number == next {
                        todo.push(child.id);
                    }
                    hash.update(format!("{name:?} is {number}\n"));
                }
            }
        }
    }
    ContentDigest(hash.finalize().into())
}

impl ContentDigest {
    /// A valid random-looking UUID out of the digest.
    fn uuid(self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.0[..16]);
        uuid[6] = 0x40 | (uuid[6] & 0x0f);
        uuid[8] = 0x80 | (uuid[8] & 0x3f);
        uuid
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}
