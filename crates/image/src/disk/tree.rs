//! A file tree in memory, file contents apart in a spool file.
//!
//! It is laid in layers: each entry knows the layer that it came with, so that what a layer takes
//! away is of the layers below alone, wherever in the layer that is said.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::fs::File;
use std::io::{self, Read};

use super::path::TreePath;
use super::spool::{Body, Copying, Spool};

mod layers;
mod lookup;

pub(crate) use lookup::Found;

/// How much one tree may hold, whatever its sources say.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries of all kinds, replaced ones included.
    pub entries: usize,
    /// Names, link targets and extended attributes together: what is held in memory.
    pub metadata_bytes: usize,
    /// Contents of files, replaced ones included.
    pub content_bytes: u64,
}

impl Default for Limits {
    /// As much as a 32 GiB disk can hold (it has two million inodes).
    fn default() -> Self {
        Self { entries: 2_000_000, metadata_bytes: 512 << 20, content_bytes: 32 << 30 }
    }
}

/// Seconds since 1970, and nanoseconds on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// What every kind of entry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: 0o7777 at most.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// Owned by root, no extended attributes.
    pub fn new(mode: u16, mtime: Time) -> Self {
        Self { mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }
}

/// What is neither a directory nor a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Special {
    Symlink(String),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// Counts layers from the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layer(u32);

#[derive(Debug)]
pub(super) struct Node {
    pub(super) meta: Meta,
    pub(super) kind: Kind,
    /// Of a directory: nothing in it, however deep, is of a layer below this one.
    floor: Layer,
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) id: NodeId,
    /// Which one has put it there.
    layer: Layer,
}

#[derive(Debug)]
pub(super) enum Kind {
    Directory(BTreeMap<String, Child>),
    File(Body),
    Special(Special),
}

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("{path}: {parent} is not a directory")]
    ParentNotDirectory { path: String, parent: String },
    #[error("the root must be a directory")]
    RootNotDirectory,
    #[error("{path}: the target {target} of the hard link does not exist or is a directory")]
    LinkTarget { path: String, target: String },
    #[error("more {what} than the limit of {limit}")]
    Limit { what: &'static str, limit: u64 },
    #[error("could not read the content of {path}")]
    Read { path: String, source: io::Error },
    #[error("could not spool the content of {path}")]
    Spool { path: String, source: io::Error },
}

/// See the module.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    spool: Spool,
    limits: Limits,
    metadata_bytes: usize,
    content_bytes: u64,
    layer: Layer,
}

const ROOT: NodeId = NodeId(0);
const IMPLICIT_DIRECTORY_MODE: u16 = 0o755;

impl Tree {
    /// A tree with a root directory alone. `spool` is an empty file of the tree's own.
    pub fn new(spool: File, limits: Limits) -> Self {
        let root = Node {
            meta: Meta::new(IMPLICIT_DIRECTORY_MODE, Time::default()),
            kind: Kind::Directory(BTreeMap::new()),
            floor: Layer(0),
        };
        Self {
            nodes: vec![root],
            spool: Spool::new(spool),
            limits,
            metadata_bytes: 0,
            content_bytes: 0,
            layer: Layer(0),
        }
    }

    /// Puts a directory at `path`. Over a directory it changes the metadata alone; anything else
    /// that is there already is replaced, here as in the other `put`s. Missing parents are made.
    pub fn put_directory(&mut self, path: &TreePath, meta: Meta) -> Result<(), TreeError> {
        if let Some(present) = self.find(path)
            && matches!(self.node(present).kind, Kind::Directory(_))
        {
            self.charge(attribute_bytes(&meta))?;
            self.nodes[present.0].meta = meta;
            self.restamp(path);
            return Ok(());
        }
        self.insert(path, meta, Kind::Directory(BTreeMap::new()))
    }

    pub fn put_special(
        &mut self,
        path: &TreePath,
        meta: Meta,
        special: Special,
    ) -> Result<(), TreeError> {
        self.insert(path, meta, Kind::Special(special))
    }

    /// Puts a regular file at `path`, with exactly `len` bytes of `source`.
    pub fn put_file(
        &mut self,
        path: &TreePath,
        meta: Meta,
        len: u64,
        source: &mut impl Read,
    ) -> Result<(), TreeError> {
        let limit = self.limits.content_bytes;
        match self.content_bytes.checked_add(len) {
            Some(sum) if sum <= limit => self.content_bytes = sum,
            _ => return Err(TreeError::Limit { what: "bytes in files", limit }),
        }
        let body = self.spool.append(source, len).map_err(|error| match error {
            Copying::Read(source) => TreeError::Read { path: path.to_string(), source },
            Copying::Write(source) => TreeError::Spool { path: path.to_string(), source },
        })?;
        self.insert(path, meta, Kind::File(body))
    }

    /// Gives what is at `target` the further name `path`.
    pub fn link(&mut self, path: &TreePath, target: &TreePath) -> Result<(), TreeError> {
        let fault = || TreeError::LinkTarget { path: path.to_string(), target: target.to_string() };
        let id = self.find(target).ok_or_else(fault)?;
        if matches!(self.node(id).kind, Kind::Directory(_)) {
            return Err(fault());
        }
        if path == target {
            return Ok(());
        }
        self.charge(path.names().last().map_or(0, String::len))?;
        self.enter(path, id)
    }

    /// Takes the entry at `path` away, if there is one, with all below it.
    pub fn remove(&mut self, path: &TreePath) {
        if let Some((name, parents)) = path.names().split_last()
            && let Some(parent) = self.walk(parents)
            && let Some(children) = self.children(parent)
        {
            children.remove(name);
        }
    }

    /// Everything newer than `newest_allowed` becomes as old as the newest of the rest.
    ///
    /// Packages carry their files' times, and what is made while they are installed has the time
    /// of the build: so the result is the same whenever it is built.
    pub fn settle_times(&mut self, build_began: Time) {
        let live = self.live();
        let times = live.iter().map(|id| self.node(*id).meta.mtime);
        let newest = times.filter(|time| *time < build_began).max().unwrap_or_default();
        for id in live {
            let mtime = &mut self.nodes[id.0].meta.mtime;
            *mtime = newest.min(*mtime);
        }
    }

    /// The bytes in all files that the tree still names.
    pub fn content_bytes(&self) -> u64 {
        let bodies = self.live().into_iter().map(|id| match self.node(id).kind {
            Kind::File(body) => body.len,
            Kind::Directory(_) | Kind::Special(_) => 0,
        });
        bodies.sum()
    }

    /// How many inodes the tree needs.
    pub fn inodes(&self) -> usize {
        self.live().len()
    }

    pub(super) fn root(&self) -> NodeId {
        ROOT
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// A name of the node, found by looking for it: for messages.
    pub(super) fn path_of(&self, wanted: NodeId) -> String {
        let mut names: Vec<&str> = Vec::new();
        let mut open = vec![self.entries(ROOT)];
        while let Some(entries) = open.last_mut() {
            let Some((name, child)) = entries.next() else {
                open.pop();
                names.pop();
                continue;
            };
            names.push(name);
            if child.id == wanted {
                return format!("/{}", names.join("/"));
            }
            open.push(self.entries(child.id));
        }
        "/".to_owned()
    }

    /// Those of a directory; of anything else there are none.
    fn entries(&self, id: NodeId) -> btree_map::Iter<'_, String, Child> {
        static NONE: BTreeMap<String, Child> = BTreeMap::new();
        match &self.node(id).kind {
            Kind::Directory(children) => children.iter(),
            Kind::File(_) | Kind::Special(_) => NONE.iter(),
        }
    }

    pub(super) fn content(&self, body: Body) -> impl Read + '_ {
        self.spool.reader(body)
    }

    /// All nodes that still have a name.
    fn live(&self) -> BTreeSet<NodeId> {
        let mut live = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            if let Kind::Directory(children) = &self.node(id).kind {
                let ids = children.values().map(|child| child.id);
                todo.extend(ids.filter(|child| live.insert(*child)));
            }
        }
        live
    }

    fn insert(&mut self, path: &TreePath, meta: Meta, kind: Kind) -> Result<(), TreeError> {
        let name = path.names().last().map_or(0, String::len);
        let target = match &kind {
            Kind::Special(Special::Symlink(target)) => target.len(),
            Kind::Directory(_) | Kind::File(_) | Kind::Special(_) => 0,
        };
        self.charge(name + attribute_bytes(&meta) + target)?;
        let id = self.push(meta, kind);
        self.enter(path, id)
    }

    fn push(&mut self, meta: Meta, kind: Kind) -> NodeId {
        self.nodes.push(Node { meta, kind, floor: self.layer });
        NodeId(self.nodes.len() - 1)
    }

    /// Makes `id` the entry at `path`.
    fn enter(&mut self, path: &TreePath, id: NodeId) -> Result<(), TreeError> {
        let Some((name, parents)) = path.names().split_last() else {
            return Err(TreeError::RootNotDirectory);
        };
        let mut at = ROOT;
        for (depth, parent) in parents.iter().enumerate() {
            let blocked = || blocked(path, depth);
            let present = self.children(at).ok_or_else(blocked)?.get(parent).copied();
            at = match present {
                Some(present) => present.id,
                None => self.implicit_directory(at, parent)?,
            };
        }
        let layer = self.layer;
        let children = self.children(at).ok_or_else(|| blocked(path, parents.len()))?;
        children.insert(name.clone(), Child { id, layer });
        Ok(())
    }

    fn implicit_directory(&mut self, parent: NodeId, name: &str) -> Result<NodeId, TreeError> {
        self.charge(name.len())?;
        let meta = self.implicit_meta(parent);
        let id = self.push(meta, Kind::Directory(BTreeMap::new()));
        let layer = self.layer;
        if let Some(children) = self.children(parent) {
            children.insert(name.to_owned(), Child { id, layer });
        }
        Ok(id)
    }

    /// Of a directory that is there because something is in it.
    fn implicit_meta(&self, parent: NodeId) -> Meta {
        Meta::new(IMPLICIT_DIRECTORY_MODE, self.node(parent).meta.mtime)
    }

    fn find(&self, path: &TreePath) -> Option<NodeId> {
        self.walk(path.names())
    }

    fn walk(&self, names: &[String]) -> Option<NodeId> {
        names.iter().try_fold(ROOT, |at, name| match &self.node(at).kind {
            Kind::Directory(children) => children.get(name).map(|child| child.id),
            Kind::File(_) | Kind::Special(_) => None,
        })
    }

    fn children(&mut self, id: NodeId) -> Option<&mut BTreeMap<String, Child>> {
        match &mut self.nodes[id.0].kind {
            Kind::Directory(children) => Some(children),
            Kind::File(_) | Kind::Special(_) => None,
        }
    }

    /// Counts an entry of a stream that leaves nothing here, so that there is an end to these too.
    pub(super) fn count_one_more(&mut self) -> Result<(), TreeError> {
        self.charge(0)
    }

    /// Counts one more entry that holds `bytes` of text.
    fn charge(&mut self, bytes: usize) -> Result<(), TreeError> {
        // What an entry costs beside its texts, so that hard links are bounded too.
        const ENTRY_BYTES: usize = 256;
        let Limits { entries, metadata_bytes, .. } = self.limits;
        self.metadata_bytes = self.metadata_bytes.saturating_add(bytes + ENTRY_BYTES);
        if self.nodes.len() >= entries {
            return Err(TreeError::Limit { what: "entries", limit: entries as u64 });
        }
        if self.metadata_bytes > metadata_bytes {
            let what = "bytes in names and attributes";
            return Err(TreeError::Limit { what, limit: metadata_bytes as u64 });
        }
        Ok(())
    }
}

/// What the attributes cost to hold, each more than its text: there may be many short ones.
fn attribute_bytes(meta: &Meta) -> usize {
    const ATTRIBUTE_BYTES: usize = 64;
    meta.xattrs.iter().map(|(name, value)| ATTRIBUTE_BYTES + name.len() + value.len()).sum()
}

/// The fault that the first `depth` names of `path` are no directory.
fn blocked(path: &TreePath, depth: usize) -> TreeError {
    let parent = format!("/{}", path.names()[..depth].join("/"));
    TreeError::ParentNotDirectory { path: path.to_string(), parent }
}
