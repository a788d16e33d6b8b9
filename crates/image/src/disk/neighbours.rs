//! The disks of other images, whose blocks a new disk takes where it has the same contents.
//!
//! Beside each disk stands a list of where the contents of its files lie. What a new disk has too the
//! kernel copies, and on XFS and btrfs a copy has the same blocks until one of the two is written to,
//! which no image's disk ever is. On other file systems there are no lists and no copies.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{copy_file_range, ioctl_ficlone};

use crate::catalog::DISK_NAME;

const LIST_NAME: &str = "contents";
/// A smaller file is written: what the file system keeps of shared blocks has its price too.
const BYTES_MIN: u64 = 16 << 10;
const BLOCK: u64 = 4096;
/// As it is in a list: digest, position, offset and length.
const ENTRY_BYTES: usize = 32 + 3 * 8;

type Sha256 = [u8; 32];

/// A piece of a content on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// In the content.
    position: u64,
    /// On the disk.
    offset: u64,
    bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Neighbours {
    disks: Vec<File>,
    contents: HashMap<Sha256, Place>,
}

/// Where a content lies.
#[derive(Debug)]
struct Place {
    disk: usize,
    runs: Vec<Run>,
}

impl Neighbours {
    /// Those of an image in the making; none where the file system does not share blocks.
    pub(crate) fn of(draft: &Path) -> Option<Self> {
        if !shares_blocks(draft).unwrap_or(false) {
            return None;
        }
        let mut neighbours = Self { disks: Vec::new(), contents: HashMap::new() };
        for folder in fs::read_dir(draft.parent()?).into_iter().flatten().flatten() {
            // Others have no list, or are gone by now.
            if let Ok(list) = fs::read(folder.path().join(LIST_NAME))
                && let Ok(disk) = File::open(folder.path().join(DISK_NAME))
            {
                neighbours.add(disk, &list);
            }
        }
        Some(neighbours)
    }

    fn add(&mut self, disk: File, list: &[u8]) {
        let index = self.disks.len();
        self.disks.push(disk);
        for entry in list.as_chunks::<ENTRY_BYTES>().0 {
            let (sha256, run) = read(entry);
            let place = || Place { disk: index, runs: Vec::new() };
            let place = self.contents.entry(sha256).or_insert_with(place);
            if place.disk == index {
                place.runs.push(run);
            }
        }
    }
}

/// Whether two files may have the same blocks in this folder.
fn shares_blocks(folder: &Path) -> io::Result<bool> {
    let (mut from, to) = (tempfile::tempfile_in(folder)?, tempfile::tempfile_in(folder)?);
    from.write_all(&[1; 4096])?;
    Ok(ioctl_ficlone(&to, &from).is_ok())
}

/// Takes what a disk is filled with from its neighbours, and keeps its own list.
#[derive(Debug)]
pub(super) struct Sharing<'a> {
    neighbours: &'a Neighbours,
    state: RefCell<State<'a>>,
}

#[derive(Debug, Default)]
struct State<'a> {
    /// The content that the disk is being filled with.
    sha256: Option<Sha256>,
    place: Option<&'a Place>,
    position: u64,
    list: Vec<u8>,
}

impl<'a> Sharing<'a> {
    pub(super) fn new(neighbours: &'a Neighbours) -> Self {
        Self { neighbours, state: RefCell::default() }
    }

    /// What is filled in from here on is this content.
    pub(super) fn begin(&self, sha256: Sha256, bytes: u64) {
        let mut state = self.state.borrow_mut();
        let sha256 = Some(sha256).filter(|_| BYTES_MIN <= bytes);
        state.place = sha256.and_then(|sha256| self.neighbours.contents.get(&sha256));
        (state.sha256, state.position) = (sha256, 0);
    }

    /// Tells how many of the next bytes of the content are on the disk now, at `offset`.
    pub(super) fn fill(&self, disk: &File, offset: u64, bytes: u64) -> u64 {
        let mut state = self.state.borrow_mut();
        let Some(sha256) = state.sha256 else { return 0 };
        let position = state.position;
        state.position += bytes;
        state.list.extend(entry(&sha256, Run { position, offset, bytes }));
        let Some(Place { disk: index, runs }) = state.place else { return 0 };
        let mut done = 0;
        while done < bytes {
            let goal =
                Run { position: position + done, offset: offset + done, bytes: bytes - done };
            match share((&self.neighbours.disks[*index], runs), disk, goal) {
                Some(more) => done += more,
                None => break,
            }
        }
        done
    }

    /// Puts the list beside the disk.
    pub(super) fn finish(self, disk: &Path) -> io::Result<()> {
        fs::write(disk.with_file_name(LIST_NAME), self.state.into_inner().list)
    }
}

/// Copies the beginning of what is wanted, as far as it is in one piece there; none where it cannot be.
fn share((from, runs): (&File, &[Run]), to: &File, goal: Run) -> Option<u64> {
    let is_there = |run: &&Run| (run.position..run.position + run.bytes).contains(&goal.position);
    let run = runs.iter().find(is_there)?;
    let skipped = goal.position - run.position;
    let bytes = goal.bytes.min(run.bytes - skipped);
    // The rest of a content's last block is zeros, on every disk.
    let mut left = bytes.next_multiple_of(BLOCK);
    let (mut source, mut target) = (run.offset + skipped, goal.offset);
    while left > 0 {
        let want = usize::try_from(left).ok()?;
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), want) {
            Ok(0) | Err(_) => return None,
            Ok(copied) => left = left.saturating_sub(copied as u64),
        }
    }
    Some(bytes)
}

fn entry(sha256: &Sha256, run: Run) -> Vec<u8> {
    let numbers = [run.position, run.offset, run.bytes].map(u64::to_le_bytes);
    [&sha256[..], numbers.as_flattened()].concat()
}

fn read(entry: &[u8; ENTRY_BYTES]) -> (Sha256, Run) {
    let mut sha256 = [0; 32];
    let (digest, numbers) = entry.split_at(32);
    sha256.copy_from_slice(digest);
    let mut numbers = numbers.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
    let mut next = || numbers.next().unwrap_or_default();
    (sha256, Run { position: next(), offset: next(), bytes: next() })
}
