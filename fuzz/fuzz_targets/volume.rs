//! A file system that a guest has written, and a disk that its machine has: a layer or an error, and an
//! end. Checksums are made right, so that what is behind them is reached.

#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use arbitrary::Arbitrary;
use image::disk::ext4::{self, Layout};
use image::disk::tar::tree_from_tar;
use image::disk::tree::Limits;
use image::volume::{Own, Stack, Volume, write_layer};
use libfuzzer_sys::fuzz_target;
use mkext4::csum;
use mkext4::reader::Fs;

const LAYOUT: Layout<'static> =
    Layout { label: "fuzz", size_bytes: 16 << 20, journal_blocks: 1024, inodes: 512 };
const CLUSTER: u64 = 64 << 10;

#[derive(Arbitrary, Debug)]
struct Input {
    changes: Vec<Change>,
    /// Of the qcow2 file on top: its head and tables.
    overlay: Vec<(u32, u8)>,
}

#[derive(Arbitrary, Debug)]
enum Change {
    Superblock { at: u16, byte: u8 },
    Group { at: u8, byte: u8 },
    Inode { number: u8, at: u8, byte: u8 },
    /// Of the blocks that something is in.
    Any { at: u32, byte: u8 },
}

/// A disk that is changed and changed back.
struct Disk {
    file: File,
    before: Vec<u8>,
    table: u64,
    seed: u32,
}

thread_local!(static DISK: RefCell<Disk> = RefCell::new(Disk::new()));

impl Disk {
    fn new() -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |kind, path: &str, content: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, content).unwrap();
        };
        add(tar::EntryType::Directory, "a/", b"");
        add(tar::EntryType::Regular, "a/b", &[7; 20_000]);
        add(tar::EntryType::Regular, "c", b"c");
        (0..200).for_each(|index| add(tar::EntryType::Fifo, &format!("many/{index}"), b""));
        let stream = tar.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let spool = tempfile::tempfile().unwrap();
        let limits = Limits { entries: 1000, ..Limits::default() };
        let tree = tree_from_tar(stream.as_slice(), spool, limits).unwrap();
        ext4::write(&tree, &path, LAYOUT).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let fs = Fs::open(file.try_clone().unwrap()).unwrap();
        let table = fs.group_desc(0).unwrap().inode_table * 4096;
        let seed = fs.fs_seed();
        Self { file, before: std::fs::read(&path).unwrap(), table, seed }
    }

    fn put(&self, at: u64, byte: u8, touched: &mut Vec<u64>) {
        let at = at % self.before.len() as u64;
        self.file.write_all_at(&[byte], at).unwrap();
        touched.push(at);
    }

    fn apply(&self, changes: &[Change]) -> Vec<u64> {
        let mut touched = Vec::new();
        for change in changes.iter().take(64) {
            match *change {
                Change::Superblock { at, byte } => {
                    self.put(1024 + u64::from(at % 1020), byte, &mut touched);
                }
                Change::Group { at, byte } => self.put(4096 + u64::from(at % 32), byte, &mut touched),
                Change::Inode { number, at, byte } => {
                    let number = u64::from(number % 64);
                    self.put(self.table + number * 256 + u64::from(at), byte, &mut touched);
                    self.settle(number, &mut touched);
                }
                Change::Any { at, byte } => self.put(u64::from(at) % (4 << 20), byte, &mut touched),
            }
        }
        let mut superblock = [0; 1024];
        self.file.read_exact_at(&mut superblock, 1024).unwrap();
        self.write(1024 + 1020, &csum::superblock(&superblock).to_le_bytes(), &mut touched);
        touched
    }

    /// With a checksum that is right.
    fn settle(&self, number: u64, touched: &mut Vec<u64>) {
        let at = self.table + number * 256;
        let mut raw = [0; 256];
        self.file.read_exact_at(&mut raw, at).unwrap();
        let generation = u32::from_le_bytes(raw[0x64..0x68].try_into().unwrap());
        let number = u32::try_from(number + 1).unwrap();
        let sum = csum::inode(self.seed, number, generation, &raw).to_le_bytes();
        self.write(at + 0x7c, &sum[..2], touched);
        self.write(at + 0x82, &sum[2..], touched);
    }

    fn write(&self, at: u64, bytes: &[u8], touched: &mut Vec<u64>) {
        self.file.write_all_at(bytes, at).unwrap();
        touched.extend((at..).take(bytes.len()));
    }

    fn restore(&self, touched: &[u64]) {
        for at in touched {
            let byte = self.before[usize::try_from(*at).unwrap()];
            self.file.write_all_at(&[byte], *at).unwrap();
        }
    }
}

/// A qcow2 file with nothing in it but some clusters of zeros, and then with anything.
fn overlay(changes: &[(u32, u8)], bytes: u64) -> File {
    let mut file = vec![0; 3 * usize::try_from(CLUSTER).unwrap()];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &bytes.to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &CLUSTER.to_be_bytes());
    put(usize::try_from(CLUSTER).unwrap(), &(2 * CLUSTER).to_be_bytes());
    for (at, byte) in changes.iter().take(64) {
        // Mostly where something is.
        let places = [0..104, CLUSTER..CLUSTER + 8, 2 * CLUSTER..2 * CLUSTER + 2048];
        let place = &places[*at as usize % 3];
        let at = place.start + u64::from(*at / 3) % (place.end - place.start);
        file[usize::try_from(at).unwrap()] = *byte;
    }
    let out = tempfile::tempfile().unwrap();
    out.write_all_at(&file, 0).unwrap();
    out
}

fuzz_target!(|input: Input| {
    DISK.with_borrow(|disk| {
        let touched = disk.apply(&input.changes);
        let bytes = disk.before.len() as u64;
        let open = || disk.file.try_clone().unwrap();
        let layers = vec![overlay(&input.overlay, bytes)];
        let volumes = Stack::new(layers, open()).ok().and_then(|now| {
            let base = Stack::new(Vec::new(), open()).ok()?;
            Some((Volume::open(base).ok()?, Volume::open(now).ok()?))
        });
        if let Some((base, now)) = volumes {
            let own = Own::new(vec![vec![7; 10]]);
            // Without holes a hostile file may be gigabytes of zeros, which is only time.
            drop(write_layer(Some((&base, &own)), &now, Bounded(64 << 20)));
            drop(write_layer(None, &now, Bounded(64 << 20)));
        }
        disk.restore(&touched);
    });
});

struct Bounded(usize);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
