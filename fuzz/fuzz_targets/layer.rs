//! Layers make a tree within its limits or an error; the order of whiteouts in a layer is of no
//! matter, and the same layers are the same disk.

#![no_main]

mod ustar;

use arbitrary::Arbitrary;
use image::disk::ext4::{self, Layout};
use image::disk::tar::{TarError, lay_layer};
use image::disk::tree::{Limits, Tree};
use libfuzzer_sys::fuzz_target;
use ustar::{header, put, record};

const LIMITS: Limits = Limits { entries: 400, metadata_bytes: 1 << 18, content_bytes: 1 << 16 };
const LAYOUT: Layout<'static> =
    Layout { label: "fuzz", size_bytes: 16 << 20, journal_blocks: 1024, inodes: 1024 };

#[derive(Arbitrary, Debug)]
struct Input {
    layers: Vec<Vec<Entry>>,
    /// Whether the disk is written too, which takes most of the time.
    with_disk: bool,
}

#[derive(Arbitrary, Debug)]
struct Entry {
    path: Vec<Name>,
    kind: Kind,
    /// Records before it, in the form of PAX.
    records: Vec<(Key, Vec<u8>)>,
}

#[derive(Arbitrary, Debug)]
enum Name {
    A,
    B,
    C,
    HideA,
    HideB,
    Opaque,
    Up,
    Empty,
    Odd(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Kind {
    File(Vec<u8>),
    Folder,
    Link(Vec<Name>),
    Symlink(Vec<Name>),
    Device([u8; 16]),
    /// Of the oldest sparse form: what is in the places of map and size.
    Sparse {
        map: Vec<u8>,
        content: Vec<u8>,
    },
    Other(u8),
}

#[derive(Arbitrary, Debug)]
enum Key {
    Usual(u8),
    Any(Vec<u8>),
}

impl Name {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::A => b"a",
            Self::B => b"b",
            Self::C => b"c",
            Self::HideA => b".wh.a",
            Self::HideB => b".wh.b",
            Self::Opaque => b".wh..wh..opq",
            Self::Up => b"..",
            Self::Empty => b"",
            Self::Odd(bytes) => bytes,
        }
    }
}

fn path(names: &[Name]) -> Vec<u8> {
    names.iter().map(Name::bytes).collect::<Vec<_>>().join(&b"/"[..])
}

impl Key {
    fn bytes(&self) -> Vec<u8> {
        const KEYS: [&str; 10] = [
            "GNU.sparse.major",
            "GNU.sparse.minor",
            "GNU.sparse.size",
            "GNU.sparse.realsize",
            "GNU.sparse.map",
            "GNU.sparse.offset",
            "GNU.sparse.numbytes",
            "GNU.sparse.name",
            "SCHILY.xattr.user.a",
            "path",
        ];
        match self {
            Self::Usual(n) => KEYS[usize::from(*n) % KEYS.len()].into(),
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

impl Entry {
    fn put(&self, out: &mut Vec<u8>) {
        if !self.records.is_empty() {
            let text: Vec<u8> =
                self.records.iter().flat_map(|(key, value)| record(&key.bytes(), value)).collect();
            put(out, &mut header(b"pax", b'x', text.len()), &text);
        }
        let name = path(&self.path);
        let with_link = |kind: u8, target: &[Name]| {
            let mut block = header(&name, kind, 0);
            let target = path(target);
            let len = target.len().min(100);
            block[157..157 + len].copy_from_slice(&target[..len]);
            block
        };
        match &self.kind {
            Kind::File(content) => put(out, &mut header(&name, b'0', content.len()), content),
            Kind::Folder => put(out, &mut header(&name, b'5', 0), b""),
            Kind::Link(target) => put(out, &mut with_link(b'1', target), b""),
            Kind::Symlink(target) => put(out, &mut with_link(b'2', target), b""),
            Kind::Device(numbers) => {
                let mut block = header(&name, b'3', 0);
                block[329..345].copy_from_slice(numbers);
                put(out, &mut block, b"");
            }
            Kind::Sparse { map, content } => {
                let mut block = header(&name, b'S', content.len());
                block[257..265].copy_from_slice(b"ustar  \0");
                let len = map.len().min(109);
                block[386..386 + len].copy_from_slice(&map[..len]);
                put(out, &mut block, content);
            }
            // Extended headers would be of the next entry.
            Kind::Other(b'x' | b'g' | b'L' | b'K') => {}
            Kind::Other(kind) => put(out, &mut header(&name, *kind, 0), b""),
        }
    }
}

fn tree(layers: &[Vec<&Entry>], limits: Limits) -> Result<Tree, TarError> {
    let mut tree = Tree::new(tempfile::tempfile().expect("a spool"), limits);
    for layer in layers {
        let mut stream = Vec::new();
        layer.iter().for_each(|entry| entry.put(&mut stream));
        lay_layer(stream.as_slice(), &mut tree)?;
    }
    Ok(tree)
}

fn is_whiteout(entry: &Entry) -> bool {
    let name = path(&entry.path);
    let name = name[..name.len().min(100)].split(|byte| *byte == 0).next().unwrap_or_default();
    let mut names = name.split(|byte| *byte == b'/').rev();
    let last = names.find(|name| !name.is_empty() && *name != b".");
    entry.records.is_empty() && last.is_some_and(|name| name.starts_with(b".wh."))
}

fuzz_target!(|input: Input| {
    let Ok(folder) = tempfile::tempdir() else { return };
    let layers: Vec<Vec<&Entry>> =
        input.layers.iter().take(6).map(|layer| layer.iter().collect()).collect();
    let Ok(found) = tree(&layers, LIMITS) else { return };
    assert!(found.inodes() <= LIMITS.entries && found.content_bytes() <= LIMITS.content_bytes);
    // Whiteouts first: no entry can be blocked by what is hidden, so this cannot fail.
    let mut sorted = layers.clone();
    sorted.iter_mut().for_each(|layer| layer.sort_by_key(|entry| !is_whiteout(entry)));
    let lays_links = layers.iter().flatten().any(|entry| matches!(entry.kind, Kind::Link(_)));
    if !lays_links {
        let again = tree(&sorted, Limits::default()).expect("whiteouts hide, and add nothing");
        assert_eq!(again.inodes(), found.inodes());
        assert_eq!(again.content_bytes(), found.content_bytes());
    }
    if input.with_disk {
        let disk = |name: &str, tree: &Tree| {
            ext4::write(tree, &folder.path().join(name), LAYOUT).map(|digest| digest.to_string())
        };
        let first = disk("first", &found);
        let same = tree(&layers, LIMITS).expect("as before");
        let second = disk("second", &same);
        assert_eq!(first.ok(), second.ok(), "the same layers are the same disk");
    }
});
