//! What a sandbox's file system has that its image has not, as the layer of an image: the entries of a
//! tar stream, with whiteouts for what is gone.
//!
//! A file with several names comes with all of them, if anything about any of them is new. A file
//! whose blocks nobody has written is not read to know that it is the same.

use std::collections::{BTreeMap, btree_map::IntoIter};
use std::io::{self, Read, Write};

use protocol::trust::BUNDLE_BYTES_MAX;

use super::entry::{Entries, Piece};
use super::links::Links;
use super::own::{Fate, Own};
use super::{BLOCK, Kind, Node, Volume, VolumeError, below, unsupported};
use crate::disk::tree::Limits;

const CHUNK_BYTES: usize = 256 << 10;
const WHITEOUT: &str = ".wh.";
/// Every ext4 has it.
const LOST_AND_FOUND: &str = "lost+found";

#[derive(Debug, thiserror::Error)]
pub enum LayerFault {
    #[error("the sandbox's file system cannot become an image")]
    Now(#[source] VolumeError),
    #[error("the image that the sandbox stands on cannot be read")]
    Base(#[source] VolumeError),
    #[error("could not write the layer")]
    Write(#[from] io::Error),
}

/// What a layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// None is a layer that changes nothing.
    pub entries: u64,
    /// Of all files.
    pub bytes: u64,
}

/// Writes what `now` has and `base` has not; what a claim has put there is left out. Without a base it
/// is all that there is.
pub fn write_layer<W: Write>(
    base: Option<(&Volume, &Own)>,
    now: &Volume,
    out: W,
) -> Result<(Written, W), LayerFault> {
    let links = Links::of(now).map_err(LayerFault::Now)?;
    let before = |(volume, own)| Ok(Before { volume, own, links: Links::of(volume)? });
    let base = base.map(before).transpose().map_err(LayerFault::Base)?;
    let differ = Differ {
        base,
        now,
        links,
        entries: Entries::new(out),
        bytes: 0,
        open: Vec::new(),
        linked: BTreeMap::new(),
    };
    differ.run()
}

struct Before<'a> {
    volume: &'a Volume,
    own: &'a Own,
    links: Links,
}

struct Differ<'a, W: Write> {
    base: Option<Before<'a>>,
    now: &'a Volume,
    links: Links,
    entries: Entries<W>,
    bytes: u64,
    /// From the root down.
    open: Vec<Folder>,
    /// The name that was written first of each file that has several.
    linked: BTreeMap<u32, String>,
}

/// A folder whose names are being gone through.
struct Folder {
    path: String,
    /// Its own entry, as long as it is not sure that there is to be one.
    waiting: Option<Node>,
    /// What it has, and what it had.
    names: IntoIter<String, (Option<u32>, Option<u32>)>,
}

impl<W: Write> Differ<'_, W> {
    fn run(mut self) -> Result<(Written, W), LayerFault> {
        let root = self.now.root().map_err(LayerFault::Now)?;
        let before = self.base_node(Some(super::ROOT_INO), "")?;
        self.enter(String::new(), root, before)?;
        while let Some(folder) = self.open.last_mut() {
            let Some((name, (now, before))) = folder.names.next() else {
                self.open.pop();
                continue;
            };
            if folder.path.is_empty() && name == LOST_AND_FOUND {
                continue;
            }
            let path = below(&folder.path, &name);
            let before = self.base_node(before, &path)?;
            match now {
                Some(ino) => self.take(path, ino, before)?,
                None => self.take_away(&path, &name)?,
            }
        }
        let written = Written { entries: self.entries.count, bytes: self.bytes };
        Ok((written, self.entries.end()?))
    }

    fn base_node(&self, ino: Option<u32>, path: &str) -> Result<Option<Node>, LayerFault> {
        let (Some(base), Some(ino)) = (&self.base, ino) else { return Ok(None) };
        base.volume.node(ino, path).map(Some).map_err(LayerFault::Base)
    }

    fn fate(&self, path: &str, link: Option<&str>) -> Fate {
        self.base.as_ref().map_or(Fate::Whole, |base| base.own.fate(path, link))
    }

    /// Gone, unless it is ours to say what is there.
    fn take_away(&mut self, path: &str, name: &str) -> Result<(), LayerFault> {
        if self.fate(path, None) == Fate::AsInBase {
            return Ok(());
        }
        self.settle()?;
        let folder = self.open.last().map_or("", |folder| folder.path.as_str());
        Ok(self.entries.whiteout(folder, name)?)
    }

    fn take(&mut self, path: String, ino: u32, before: Option<Node>) -> Result<(), LayerFault> {
        let node = self.now.node(ino, &path).map_err(LayerFault::Now)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.starts_with(WHITEOUT) {
            let fault = "a name that begins with .wh.";
            return Err(LayerFault::Now(unsupported(&path, fault)));
        }
        if node.kind == Kind::Directory {
            return self.enter(path, node, before);
        }
        let target = match &node.kind {
            Kind::Special(crate::disk::tree::Special::Symlink(target)) => Some(target.as_str()),
            Kind::Special(_) | Kind::Directory | Kind::File | Kind::Socket => None,
        };
        match self.fate(&path, target) {
            Fate::AsInBase => return Ok(()),
            Fate::Bundle if node.kind == Kind::File && node.inode.size <= BUNDLE_BYTES_MAX => {
                return self.take_bundle(&path, &node, before.as_ref());
            }
            Fate::Keystore if node.kind == Kind::File && node.inode.size <= BUNDLE_BYTES_MAX => {
                let keystore = self.read(self.now, &node, &path).map_err(LayerFault::Now)?;
                if self.base.as_ref().is_some_and(|base| base.own.is_in(&keystore)) {
                    return Ok(());
                }
            }
            Fate::Bundle | Fate::Keystore | Fate::Whole => {}
        }
        let is_same = match &before {
            Some(before) => self.is_same(&path, &node, before)?,
            None => false,
        };
        if is_same { Ok(()) } else { self.write(&path, &node) }
    }

    /// With our certificates taken out it may be the old one.
    fn take_bundle(
        &mut self,
        path: &str,
        node: &Node,
        before: Option<&Node>,
    ) -> Result<(), LayerFault> {
        let content = self.read(self.now, node, path).map_err(LayerFault::Now)?;
        let content = self.base.as_ref().map_or(content.clone(), |base| base.own.without(&content));
        if let (Some(base), Some(before)) = (&self.base, before)
            && before.kind == Kind::File
            && before.inode.size <= BUNDLE_BYTES_MAX
        {
            let old = self.read(base.volume, before, path).map_err(LayerFault::Base)?;
            let is_owner_same = (node.meta.mode, node.meta.uid, node.meta.gid)
                == (before.meta.mode, before.meta.uid, before.meta.gid);
            if old == content && is_owner_same && node.meta.xattrs == before.meta.xattrs {
                return Ok(());
            }
        } else if content.is_empty() {
            return Ok(());
        }
        self.settle()?;
        let size = content.len() as u64;
        self.count(size)?;
        let piece = [Piece { offset: 0, len: size }];
        Ok(self.entries.file(path, &node.meta, (size, &piece), &mut content.as_slice())?)
    }

    /// Goes on with what is in a folder. Its entry comes now if it says something new, and else before
    /// that of whatever new is in it.
    fn enter(&mut self, path: String, node: Node, before: Option<Node>) -> Result<(), LayerFault> {
        let before = before.filter(|before| before.kind == Kind::Directory);
        let mut names: BTreeMap<String, (Option<u32>, Option<u32>)> = BTreeMap::new();
        for (name, ino) in self.now.children(&node, &path).map_err(LayerFault::Now)? {
            names.insert(name, (Some(ino), None));
        }
        if let (Some(base), Some(before)) = (&self.base, &before) {
            for (name, ino) in base.volume.children(before, &path).map_err(LayerFault::Base)? {
                names.entry(name).or_default().1 = Some(ino);
            }
        }
        let mut meta = node.meta.clone();
        if let Some(before) = before.as_ref().filter(|_| Own::is_touched(&path)) {
            meta.mtime = before.meta.mtime;
        }
        let is_same = before.as_ref().is_some_and(|before| before.meta == meta);
        // It is there for us alone if nothing is in it.
        let may_wait =
            is_same || (before.is_none() && self.base.is_some() && Own::is_touched(&path));
        let differs_in_time = before.as_ref().is_none_or(|before| before.meta != node.meta);
        let waiting = differs_in_time.then_some(node);
        self.open.push(Folder { path, waiting, names: names.into_iter() });
        if may_wait { Ok(()) } else { self.settle() }
    }

    /// Writes the entries that have waited.
    fn settle(&mut self) -> Result<(), LayerFault> {
        for folder in &mut self.open {
            if let Some(node) = folder.waiting.take() {
                let path = if folder.path.is_empty() { "." } else { &folder.path };
                self.entries.directory(path, &node.meta)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, path: &str, node: &Node) -> Result<(), LayerFault> {
        if node.kind == Kind::Socket {
            return Ok(());
        }
        self.settle()?;
        if self.links.names(node.ino).is_some() {
            if let Some(first) = self.linked.get(&node.ino) {
                return Ok(self.entries.link(path, first, &node.meta)?);
            }
            self.linked.insert(node.ino, path.to_owned());
        }
        match &node.kind {
            Kind::Special(what) => Ok(self.entries.special(path, &node.meta, what)?),
            Kind::File => self.write_file(path, node),
            Kind::Directory | Kind::Socket => Ok(()),
        }
    }

    fn write_file(&mut self, path: &str, node: &Node) -> Result<(), LayerFault> {
        let mut content = Content::of(self.now, node, path).map_err(LayerFault::Now)?;
        self.count(node.inode.size)?;
        let pieces = content.pieces();
        let size = node.inode.size;
        Ok(self.entries.file(path, &node.meta, (size, &pieces), &mut content)?)
    }

    /// As much as an image may have.
    fn count(&mut self, bytes: u64) -> Result<(), LayerFault> {
        let limit = Limits::default().content_bytes;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limit {
            let what = "bytes in files";
            return Err(LayerFault::Now(VolumeError::Limit { what, limit }));
        }
        Ok(())
    }

    fn is_same(&self, path: &str, node: &Node, before: &Node) -> Result<bool, LayerFault> {
        let Some(base) = &self.base else { return Ok(false) };
        if node.meta != before.meta
            || node.kind != before.kind
            || self.links.names(node.ino) != base.links.names(before.ino)
        {
            return Ok(false);
        }
        if node.kind != Kind::File {
            return Ok(true);
        }
        if node.inode.size != before.inode.size {
            return Ok(false);
        }
        let mut now = Content::of(self.now, node, path).map_err(LayerFault::Now)?;
        let mut old = Content::of(base.volume, before, path).map_err(LayerFault::Base)?;
        if now.is_where(&old) {
            return Ok(true);
        }
        // In whole, with their holes: a guest may have filled one with zeros.
        let (mut left, mut chunks) =
            (node.inode.size, [vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]]);
        let mut at = 0;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let [ours, theirs] = &mut chunks;
            now.read_whole(at, &mut ours[..len])?;
            old.read_whole(at, &mut theirs[..len])?;
            if ours[..len] != theirs[..len] {
                return Ok(false);
            }
            at += len as u64;
            left -= len as u64;
        }
        Ok(true)
    }

    /// The whole of a small file.
    fn read(&self, volume: &Volume, node: &Node, path: &str) -> Result<Vec<u8>, VolumeError> {
        let mut content = Content::of(volume, node, path)?;
        let mut all = vec![0; usize::try_from(node.inode.size).unwrap_or_default()];
        let fault = |source: io::Error| super::read(path, source.into());
        content.read_whole(0, &mut all).map_err(fault)?;
        Ok(all)
    }
}

/// The content of a file, piece by piece.
struct Content<'a> {
    volume: &'a Volume,
    /// Those that are written, cut to its size.
    extents: Vec<(Piece, mkext4::reader::FileExtent)>,
    /// Which of them is read, and how far.
    next: usize,
    within: u64,
}

impl<'a> Content<'a> {
    fn of(volume: &'a Volume, node: &Node, path: &str) -> Result<Self, VolumeError> {
        let mut extents = Vec::new();
        for extent in volume.pieces(&(node.ino, &node.inode), path)? {
            let offset = u64::from(extent.logical) * BLOCK;
            let len = u64::from(extent.len) * BLOCK;
            let len = len.min(node.inode.size.saturating_sub(offset));
            if !extent.unwritten && len > 0 {
                extents.push((Piece { offset, len }, extent));
            }
        }
        Ok(Self { volume, extents, next: 0, within: 0 })
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (piece, _) in &self.extents {
            match pieces.last_mut() {
                Some(last) if last.offset + last.len == piece.offset => last.len += piece.len,
                _ => pieces.push(*piece),
            }
        }
        pieces
    }

    /// Whether it is in the same blocks as another, and nobody has written these since.
    fn is_where(&self, other: &Self) -> bool {
        let blocks = |(_, extent): &(Piece, mkext4::reader::FileExtent)| {
            (extent.physical * BLOCK, (extent.physical + u64::from(extent.len)) * BLOCK)
        };
        let are_same = self.extents == other.extents;
        are_same
            && self
                .extents
                .iter()
                .map(blocks)
                .all(|(start, end)| self.volume.stack.is_of_base(start, end))
    }

    /// With zeros where there is nothing.
    fn read_whole(&mut self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        let end = at + buf.len() as u64;
        let first = self.extents.partition_point(|(piece, _)| piece.offset + piece.len <= at);
        for (piece, extent) in &self.extents[first..] {
            if piece.offset >= end {
                break;
            }
            let (from, to) = (piece.offset.max(at), (piece.offset + piece.len).min(end));
            let place = |offset: u64| usize::try_from(offset - at).unwrap_or_default();
            let part = &mut buf[place(from)..place(to)];
            self.volume.read_piece(extent, from - piece.offset, part)?;
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some((piece, extent)) = self.extents.get(self.next) else { return Ok(0) };
        let room = usize::try_from(piece.len - self.within).unwrap_or(usize::MAX).min(buf.len());
        self.volume.read_piece(extent, self.within, &mut buf[..room])?;
        self.within += room as u64;
        if self.within == piece.len {
            (self.next, self.within) = (self.next + 1, 0);
        }
        Ok(room)
    }
}
