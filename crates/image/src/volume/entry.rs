//! Entries of a layer's tar stream: PAX where a plain header has too small a place, and the form of
//! GNU tar for files with holes, which all builders read.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use crate::disk::tree::{Meta, Special, Time};

const NAME_BYTES: usize = 100;
/// What seven octal digits hold.
const ID_MAX: u32 = 0o7_777_777;
/// What eleven do.
const SIZE_MAX: u64 = 0o77_777_777_777;
const BLOCK: usize = 512;
/// A hole is worth a map from here on, and a map has at most so many pieces.
const HOLES_MIN: u64 = 64 << 10;
const PIECES_MAX: usize = 100_000;

/// A stretch of a file that has something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// See the module.
pub(super) struct Entries<W: Write> {
    builder: Builder<W>,
    pub(super) count: u64,
}

impl<W: Write> Entries<W> {
    pub(super) fn new(out: W) -> Self {
        Self { builder: Builder::new(out), count: 0 }
    }

    /// The end of the stream.
    pub(super) fn end(self) -> io::Result<W> {
        self.builder.into_inner()
    }

    pub(super) fn directory(&mut self, path: &str, meta: &Meta) -> io::Result<()> {
        self.append(Head::new(EntryType::Directory, &format!("{path}/"), meta), &mut io::empty())
    }

    pub(super) fn special(&mut self, path: &str, meta: &Meta, what: &Special) -> io::Result<()> {
        let (kind, device, target) = match what {
            Special::Symlink(target) => (EntryType::Symlink, None, target.as_str()),
            Special::CharDevice { major, minor } => (EntryType::Char, Some((*major, *minor)), ""),
            Special::BlockDevice { major, minor } => (EntryType::Block, Some((*major, *minor)), ""),
            Special::Fifo => (EntryType::Fifo, None, ""),
        };
        let head = Head { device, target, ..Head::new(kind, path, meta) };
        self.append(head, &mut io::empty())
    }

    /// A further name of what is in this stream already.
    pub(super) fn link(&mut self, path: &str, target: &str, meta: &Meta) -> io::Result<()> {
        let meta = Meta { xattrs: std::collections::BTreeMap::new(), ..meta.clone() };
        let head = Head { target, ..Head::new(EntryType::Link, path, &meta) };
        self.append(head, &mut io::empty())
    }

    /// What the layers below have at the path is no more.
    pub(super) fn whiteout(&mut self, folder: &str, name: &str) -> io::Result<()> {
        let meta = Meta::new(0, Time::default());
        let path = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.append(
            Head::new(EntryType::Regular, &format!("{path}.wh.{name}"), &meta),
            &mut io::empty(),
        )
    }

    /// A file of `size` bytes; `source` gives its pieces, one after another.
    pub(super) fn file(
        &mut self,
        path: &str,
        meta: &Meta,
        (size, pieces): (u64, &[Piece]),
        source: &mut dyn Read,
    ) -> io::Result<()> {
        let stored: u64 = pieces.iter().map(|piece| piece.len).sum();
        if size - stored < HOLES_MIN || pieces.len() > PIECES_MAX {
            let head = Head { size, ..Head::new(EntryType::Regular, path, meta) };
            return self.append(head, &mut Filled { source, pieces, size, at: 0 });
        }
        let mut map = format!("{}\n", pieces.len() + 1);
        let end = Piece { offset: size, len: 0 };
        for Piece { offset, len } in pieces.iter().chain([&end]) {
            map.push_str(&format!("{offset}\n{len}\n"));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let head = Head {
            size: map.len() as u64 + stored,
            real_size: Some(size),
            ..Head::new(EntryType::Regular, path, meta)
        };
        self.append(head, &mut map.as_slice().chain(source.take(stored)))
    }

    fn append(&mut self, head: Head<'_>, content: &mut dyn Read) -> io::Result<()> {
        let (records, header) = head.written();
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            self.builder.append_pax_extensions(records)?;
        }
        self.count += 1;
        self.builder.append(&header, content.take(head.size))
    }
}

/// What is written before an entry's content.
#[derive(Clone, Copy)]
struct Head<'a> {
    kind: EntryType,
    path: &'a str,
    meta: &'a Meta,
    target: &'a str,
    device: Option<(u32, u32)>,
    /// Of what follows.
    size: u64,
    /// Of a file with holes.
    real_size: Option<u64>,
}

impl<'a> Head<'a> {
    fn new(kind: EntryType, path: &'a str, meta: &'a Meta) -> Self {
        Self { kind, path, meta, target: "", device: None, size: 0, real_size: None }
    }

    fn written(&self) -> (Vec<(String, Vec<u8>)>, Header) {
        let Self { path, meta, target, size, .. } = *self;
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let mut record = |key: &str, value: &str| {
            records.push((key.to_owned(), value.as_bytes().to_vec()));
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(u32::from(meta.mode));
        if let Some(real) = self.real_size {
            record("GNU.sparse.major", "1");
            record("GNU.sparse.minor", "0");
            record("GNU.sparse.name", path);
            record("GNU.sparse.realsize", &real.to_string());
        } else if path.len() > NAME_BYTES || !path.is_ascii() {
            record("path", path);
        }
        if target.len() > NAME_BYTES || !target.is_ascii() {
            record("linkpath", target);
        }
        for (key, id) in [("uid", meta.uid), ("gid", meta.gid)] {
            if id > ID_MAX {
                record(key, &id.to_string());
            }
        }
        if size > SIZE_MAX {
            record("size", &size.to_string());
        }
        let Time { seconds, nanoseconds } = meta.mtime;
        let plain = u64::try_from(seconds).ok().filter(|seconds| *seconds <= SIZE_MAX);
        if nanoseconds != 0 || plain.is_none() {
            record("mtime", &decimal(meta.mtime));
        }
        for (name, value) in &meta.xattrs {
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        header.set_uid(meta.uid.min(ID_MAX).into());
        header.set_gid(meta.gid.min(ID_MAX).into());
        header.set_size(size.min(SIZE_MAX));
        header.set_mtime(plain.unwrap_or_default());
        if let (Some((major, minor)), Some(ustar)) = (self.device, header.as_ustar_mut()) {
            ustar.set_device_major(major);
            ustar.set_device_minor(minor);
        }
        let bytes = header.as_mut_bytes();
        put(&mut bytes[..NAME_BYTES], path);
        put(&mut bytes[157..157 + NAME_BYTES], target);
        header.set_cksum();
        (records, header)
    }
}

/// As much as there is room for: the whole is in a record then.
fn put(place: &mut [u8], text: &str) {
    let len = text.len().min(place.len());
    place[..len].copy_from_slice(&text.as_bytes()[..len]);
}

/// `-1.5` is 1.5 s before 1970.
fn decimal(Time { seconds, nanoseconds }: Time) -> String {
    if seconds < 0 && nanoseconds > 0 {
        let (whole, rest) = (-(seconds + 1), 1_000_000_000 - nanoseconds);
        return format!("-{whole}.{rest:09}");
    }
    format!("{seconds}.{nanoseconds:09}")
}

/// A whole file out of its pieces.
struct Filled<'a> {
    source: &'a mut dyn Read,
    pieces: &'a [Piece],
    size: u64,
    at: u64,
}

impl Read for Filled<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some((first, rest)) = self.pieces.split_first()
            && first.offset + first.len <= self.at
        {
            self.pieces = rest;
        }
        let (end, is_hole) = match self.pieces.first() {
            Some(piece) if piece.offset <= self.at => (piece.offset + piece.len, false),
            Some(piece) => (piece.offset, true),
            None => (self.size, true),
        };
        let room = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let got = if is_hole {
            buf[..room].fill(0);
            room
        } else {
            self.source.read(&mut buf[..room])?
        };
        self.at += got as u64;
        Ok(got)
    }
}
