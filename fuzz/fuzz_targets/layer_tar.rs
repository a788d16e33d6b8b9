//! A tar stream makes a tree within its limits or an error, and a tree makes a disk or an error.

#![no_main]

mod ustar;

use arbitrary::Arbitrary;
use image::disk::ext4::{self, Layout};
use image::disk::tar::lay_at;
use image::disk::tree::{Limits, Tree};
use libfuzzer_sys::fuzz_target;
use ustar::{header, put, record};

const LIMITS: Limits = Limits { entries: 200, metadata_bytes: 1 << 20, content_bytes: 1 << 16 };
const LAYOUT: Layout<'static> =
    Layout { label: "fuzz", size_bytes: 16 << 20, journal_blocks: 1024, inodes: 1024 };

#[derive(Arbitrary, Debug)]
struct Input {
    /// Laid over one another.
    layers: Vec<Vec<Part>>,
    /// Entries below this letter are left out, as recipes do.
    left_out: u8,
}

#[derive(Arbitrary, Debug)]
enum Part {
    Entry {
        name: Name,
        kind: Kind,
        link: Name,
        content: Vec<u8>,
        fields: Fields,
    },
    /// Extended headers for the next entry, or for all.
    Pax {
        kind: Kind,
        records: Vec<(Key, Vec<u8>)>,
    },
    Long {
        kind: Kind,
        text: Name,
    },
    Raw(Vec<u8>),
    /// The checksum is made right, whatever else is wrong.
    Header(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Name {
    /// Names that meet one another.
    Known(Vec<u8>),
    Any(Vec<u8>),
    Long(u16),
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Usual(u8),
    Any(u8),
}

#[derive(Arbitrary, Debug)]
enum Key {
    Usual(u8),
    Attribute(Vec<u8>),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Fields {
    mode: u16,
    uid: u32,
    mtime: Option<[u8; 12]>,
    size: Option<[u8; 12]>,
    device: [u8; 16],
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Known(letters) => {
                let pieces: [&[u8]; 8] =
                    [b"a", b"b", b"/", b"/", b"a/b", b"lost+found", b".", b"c"];
                letters.iter().flat_map(|n| pieces[usize::from(n % 8)]).copied().collect()
            }
            Self::Any(bytes) => bytes.clone(),
            Self::Long(len) => {
                (0..*len).map(|n| if n % 200 == 199 { b'/' } else { b'n' }).collect()
            }
        }
    }
}

impl Kind {
    fn byte(&self, usual: &[u8]) -> u8 {
        match self {
            Self::Usual(n) => usual[usize::from(*n) % usual.len()],
            Self::Any(byte) => *byte,
        }
    }
}

impl Key {
    fn bytes(&self) -> Vec<u8> {
        const KEYS: [&str; 10] = [
            "path",
            "linkpath",
            "size",
            "uid",
            "gid",
            "mtime",
            "SCHILY.xattr.user.a",
            "SCHILY.xattr.security.capability",
            "SCHILY.xattr.system.posix_acl_access",
            "GNU.sparse.major",
        ];
        match self {
            Self::Usual(n) => KEYS[usize::from(*n) % KEYS.len()].into(),
            Self::Attribute(name) => [b"SCHILY.xattr.", name.as_slice()].concat(),
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

impl Part {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entry { name, kind, link, content, fields } => {
                let mut block = header(&name.bytes(), kind.byte(b"0123456\x00"), content.len());
                fields.put(&mut block);
                let link = link.bytes();
                let len = link.len().min(100);
                block[157..157 + len].copy_from_slice(&link[..len]);
                put(out, &mut block, content);
            }
            Self::Pax { kind, records } => {
                let text: Vec<u8> =
                    records.iter().flat_map(|(k, v)| record(&k.bytes(), v)).collect();
                put(out, &mut header(b"pax", kind.byte(b"xg"), text.len()), &text);
            }
            Self::Long { kind, text } => {
                let text = text.bytes();
                put(out, &mut header(b"long", kind.byte(b"LK"), text.len()), &text);
            }
            Self::Raw(bytes) => out.extend(bytes),
            Self::Header(bytes) => {
                let mut block = [0; 512];
                let len = bytes.len().min(512);
                block[..len].copy_from_slice(&bytes[..len]);
                put(out, &mut block, b"");
            }
        }
    }
}

impl Fields {
    fn put(&self, block: &mut [u8; 512]) {
        block[100..108].copy_from_slice(format!("{:07o}\0", self.mode).as_bytes());
        block[108..112].copy_from_slice(&[0x80, 0, 0, 0]);
        block[112..116].copy_from_slice(&self.uid.to_be_bytes());
        if let Some(size) = self.size {
            block[124..136].copy_from_slice(&size);
        }
        if let Some(mtime) = self.mtime {
            block[136..148].copy_from_slice(&mtime);
        }
        if matches!(block[156], b'3' | b'4') {
            block[329..345].copy_from_slice(&self.device);
        }
    }
}

fuzz_target!(|input: Input| {
    let Ok(folder) = tempfile::tempdir() else { return };
    let spool = tempfile::tempfile_in(folder.path()).expect("a spool");
    let mut tree = Tree::new(spool, LIMITS);
    for layer in &input.layers {
        let mut stream = Vec::new();
        layer.iter().for_each(|part| part.put(&mut stream));
        let place =
            |path: &str| (path.as_bytes().get(1) != Some(&input.left_out)).then(|| path.to_owned());
        if lay_at(stream.as_slice(), &mut tree, place).is_err() {
            return;
        }
    }
    assert!(tree.inodes() <= LIMITS.entries && tree.content_bytes() <= LIMITS.content_bytes);
    drop(ext4::write(&tree, &folder.path().join("disk"), LAYOUT));
});
