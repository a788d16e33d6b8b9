//! The pages that a clone has written: those of its memory that are not the file's any more. Found and
//! read from outside, as a debugger would.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::PathBuf,
    thread,
};

use super::FreeBlocks;
use crate::{
    Shape,
    sys::{
        memory::{self, Piece},
        written::{Run, Writes},
    },
};

pub(super) const PAGE: usize = 4096;
const ENTRY: usize = 8;
/// Processors that read at the same time.
const READERS_MAX: usize = 4;
/// Of the page map, at once.
const CHUNK: usize = 1 << 20;
/// Pages that pass through at once: they fit into a processor's own cache.
const PASSING: usize = 128;

/// The memory of a running machine.
#[derive(Debug)]
pub(super) struct Space {
    /// What is mapped.
    pub(super) file: PathBuf,
    pid: u32,
    /// Of this process and no later one that has its number.
    memory: File,
    map: File,
    areas: Vec<Area>,
}

/// A stretch of addresses, and where in the file it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    start: u64,
    end: u64,
    offset: u64,
}

/// Pages and where in memory they belong, in rising order.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) at: Vec<u64>,
    pub(super) bytes: Vec<u8>,
}

impl Pages {
    /// A page and where it belongs.
    pub(super) fn get(&self, index: usize) -> Option<(u64, &[u8; PAGE])> {
        Some((*self.at.get(index)?, self.bytes.as_chunks().0.get(index)?))
    }
}

impl Space {
    /// Of the process of a machine of this shape, which maps a file below one of `bases`.
    pub(super) fn open(pid: u32, bases: &[PathBuf], shape: Shape) -> io::Result<Self> {
        Self::find(pid, bases, Some(u64::from(shape.memory_mib) << 20))
    }

    /// The same, whatever its shape is.
    pub(super) fn of(pid: u32, bases: &[PathBuf]) -> io::Result<Self> {
        Self::find(pid, bases, None)
    }

    fn find(pid: u32, bases: &[PathBuf], bytes: Option<u64>) -> io::Result<Self> {
        let bases = Vec::from_iter(bases.iter().filter_map(|base| base.canonicalize().ok()));
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let maps = std::fs::read_to_string(proc.join("maps"))?;
        let (file, areas) = find(&maps, &bases, bytes).ok_or_else(|| {
            io::Error::other("its memory does not stand on a template that is there")
        })?;
        let (memory, map) = (File::open(proc.join("mem"))?, File::open(proc.join("pagemap"))?);
        Ok(Self { file, pid, memory, map, areas })
    }

    /// Reads what begins at these places, one behind the other.
    pub(super) fn read_places(
        &self,
        places: impl Iterator<Item = (u64, usize)>,
        into: &mut [u8],
    ) -> io::Result<()> {
        let pieces = self.pieces(places)?;
        memory::read(self.pid, &pieces, into)?;
        self.is_the_same(pieces.first().map(|piece| piece.address))
    }

    /// Writes to these places, from one after the other. Not as reading does: a pid may be another process's by
    /// then, and what is open is not.
    pub(super) fn write_places(
        &self,
        places: impl Iterator<Item = (u64, usize)>,
        memory: &File,
        mut from: &[u8],
    ) -> io::Result<()> {
        for piece in self.pieces(places)? {
            let (now, rest) =
                from.split_at_checked(piece.bytes).ok_or(io::ErrorKind::InvalidInput)?;
            memory.write_all_at(now, piece.address)?;
            from = rest;
        }
        Ok(())
    }

    /// For who writes as well.
    pub(super) fn writable(&self) -> io::Result<File> {
        let memory = OpenOptions::new().write(true).open(format!("/proc/{}/mem", self.pid))?;
        // Of this process and not of one that has its number by now.
        self.is_the_same(self.areas.first().map(|area| area.start))?;
        Ok(memory)
    }

    /// Where these places are in the process.
    fn pieces(&self, places: impl Iterator<Item = (u64, usize)>) -> io::Result<Vec<Piece>> {
        let piece = |(at, bytes)| {
            let area = self.areas.iter().find(|area| area.holds(at));
            let area = area.ok_or(io::ErrorKind::NotFound)?;
            let address = area.start + (at - area.offset);
            let is_within = bytes as u64 <= area.end - address;
            is_within.then_some(Piece { address, bytes }).ok_or(io::ErrorKind::NotFound)
        };
        Ok(places.map(piece).collect::<Result<_, _>>()?)
    }

    /// Where the pages are that it has written.
    pub(super) fn written(&self) -> io::Result<Vec<u64>> {
        let mut at = Vec::new();
        let mut chunk = vec![0; CHUNK];
        for area in &self.areas {
            let mut address = area.start;
            while address < area.end {
                let left = to_usize((area.end - address) / PAGE as u64) * ENTRY;
                let entries = &mut chunk[..left.min(CHUNK)];
                self.map.read_exact_at(entries, address / PAGE as u64 * ENTRY as u64)?;
                let entries = entries.as_chunks::<ENTRY>().0.iter().map(|e| u64::from_ne_bytes(*e));
                let first = address - area.start + area.offset;
                let found = entries.enumerate().filter(|(_, entry)| is_written(*entry));
                at.extend(found.map(|(index, _)| first + (index * PAGE) as u64));
                address += (left.min(CHUNK) / ENTRY * PAGE) as u64;
            }
        }
        Ok(at)
    }

    /// The same, but for those in blocks that nobody needs.
    pub(super) fn needed(&self, free: &FreeBlocks) -> io::Result<Vec<u64>> {
        let mut at = self.written()?;
        free.take_from(&mut at);
        Ok(at)
    }

    /// What the machine writes from now on, which is noted until that is dropped.
    pub(super) fn writes(&self) -> io::Result<Writes> {
        let map = File::open(format!("/proc/{}/pagemap", self.pid))?;
        let writes = Writes::of(self.pid, map, self.areas.iter().map(Area::addresses).collect())?;
        // Of this process and not of one that has its number by now.
        self.is_the_same(self.areas.first().map(|area| area.start))?;
        Ok(writes)
    }

    /// Where in the memory these pages are.
    pub(super) fn places(&self, run: &Run) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let area = self.areas.iter().find(|area| area.addresses().contains(&run.pages.start));
        let area = area.ok_or(io::ErrorKind::NotFound)?;
        let place = |address| address - area.start + area.offset;
        Ok((place(run.pages.start)..place(run.pages.end)).step_by(PAGE))
    }

    /// Reads these pages. Its buffer is best as large as needed already.
    pub(super) fn read(&self, at: Vec<u64>, mut bytes: Vec<u8>) -> io::Result<Pages> {
        bytes.resize(at.len() * PAGE, 0);
        let share = share_of(at.len());
        let parts = at.chunks(share).zip(bytes.chunks_mut(share * PAGE));
        side_by_side(parts.map(|(at, into)| || self.read_into(at, into)))?;
        Ok(Pages { at, bytes })
    }

    /// Reads these pages and gives them to whoever takes them, some at a time.
    pub(super) fn pass(
        &self,
        at: &[u64],
        to: impl Fn(&[u64], &[u8]) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        let to = &to;
        let pass = |at: &[u64]| {
            let mut buffer = vec![0; PASSING * PAGE];
            at.chunks(PASSING).try_for_each(|at| {
                let bytes = &mut buffer[..at.len() * PAGE];
                self.read_into(at, bytes)?;
                to(at, bytes)
            })
        };
        side_by_side(at.chunks(share_of(at.len())).map(|at| move || pass(at)))
    }

    /// In runs of neighbours.
    pub(super) fn read_into(&self, at: &[u64], into: &mut [u8]) -> io::Result<()> {
        let mut pieces: Vec<Piece> = Vec::new();
        for at in at {
            let area = self.areas.iter().find(|area| area.holds(*at));
            let area = area.ok_or(io::ErrorKind::NotFound)?;
            let address = area.start + (at - area.offset);
            match pieces.last_mut() {
                Some(last)
                    if last.address + last.bytes as u64 == address
                        && last.bytes < memory::PIECE_BYTES_MAX =>
                {
                    last.bytes += PAGE;
                }
                _ => pieces.push(Piece { address, bytes: PAGE }),
            }
        }
        memory::read(self.pid, &pieces, into)?;
        self.is_the_same(pieces.first().map(|piece| piece.address))
    }

    /// That the process was there all the time: then its number was nobody else's.
    fn is_the_same(&self, somewhere: Option<u64>) -> io::Result<()> {
        somewhere.map_or(Ok(()), |address| self.memory.read_exact_at(&mut [0], address))
    }
}

impl Area {
    fn addresses(&self) -> Range<u64> {
        self.start..self.end
    }

    fn holds(&self, at: u64) -> bool {
        self.offset <= at && at - self.offset < self.end - self.start
    }
}

/// What each reader reads of so many pages.
fn share_of(pages: usize) -> usize {
    let readers = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
    pages.div_ceil(readers).max(1)
}

fn side_by_side<F>(readers: impl Iterator<Item = F>) -> io::Result<()>
where
    F: FnOnce() -> io::Result<()> + Send,
{
    thread::scope(|scope| {
        let readers: Vec<_> = readers.map(|read| scope.spawn(read)).collect();
        let broken = |_| Err(io::Error::other("a reader broke"));
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or_else(broken))
    })
}

/// A page that is there, or swapped out, and is no file's.
fn is_written(entry: u64) -> bool {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const OF_FILE: u64 = 1 << 61;
    entry & OF_FILE == 0 && entry & (PRESENT | SWAPPED) != 0
}

/// The file below one of `bases` of which so many bytes are mapped, if that is known, and where.
fn find(maps: &str, bases: &[PathBuf], bytes: Option<u64>) -> Option<(PathBuf, Vec<Area>)> {
    let mut found: Option<(PathBuf, Vec<Area>)> = None;
    for line in maps.lines() {
        let Some((area, path)) = parse(line) else { continue };
        if !bases.iter().any(|base| path.starts_with(base)) {
            continue;
        }
        match &mut found {
            Some((file, areas)) if *file == path => areas.push(area),
            Some(_) => {}
            None => found = Some((path, vec![area])),
        }
    }
    let (_, areas) = found.as_mut()?;
    // What is at the first addresses need not be the file's beginning.
    areas.sort_unstable_by_key(|area| area.offset);
    let mapped: u64 = areas.iter().map(|area| area.end - area.start).sum();
    found.filter(|_| bytes.is_none_or(|bytes| mapped == bytes))
}

/// A line of a process's maps: `start-end rights offset device inode path`.
fn parse(line: &str) -> Option<(Area, PathBuf)> {
    let addresses = memory::addresses(line)?;
    let mut words = line.split_ascii_whitespace().skip(1);
    let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
    // It is of the template's keys, so it holds no blanks.
    let path = words.nth(2)?;
    let area = Area { start: addresses.start, end: addresses.end, offset };
    let is_gone = words.next().is_some();
    (area.start < area.end && !is_gone).then(|| (area, path.into()))
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_a_template_is_found() {
        let maps = "55d0-55e0 r--p 00000000 fe:00 1 /usr/bin/qemu\n\
            1000-3000 rw-p 00000000 fe:00 7 /t/key/ram\n\
            3000-5000 rw-p 00002000 fe:00 7 /t/key/ram\n\
            6000-8000 rw-p 00000000 00:00 0 \n";
        let areas = vec![
            Area { start: 0x1000, end: 0x3000, offset: 0 },
            Area { start: 0x3000, end: 0x5000, offset: 0x2000 },
        ];
        let bases = &["/other".into(), "/t".into()];
        let expected = Some(("/t/key/ram".into(), areas));
        assert_eq!(find(maps, bases, Some(0x4000)), expected);
        assert_eq!(find(maps, bases, None), expected);
        assert_eq!(find(maps, bases, Some(0x5000)), None, "not all of it");
        assert_eq!(find(maps, &bases[..1], Some(0x4000)), None);
        let gone = maps.replace("/t/key/ram", "/t/key/ram (deleted)");
        assert_eq!(find(&gone, bases, Some(0x4000)), None);
    }

    /// Our own memory, as if it were a guest's.
    fn space_of(bytes: &[u8], offset: u64) -> Space {
        let start = bytes.as_ptr().addr() as u64;
        let area = Area { start, end: start + bytes.len() as u64, offset };
        let open = |name: &str| File::open(format!("/proc/self/{name}")).unwrap();
        let (memory, map) = (open("mem"), open("pagemap"));
        Space { file: PathBuf::new(), pid: std::process::id(), memory, map, areas: vec![area] }
    }

    #[test]
    fn places_are_read_and_written_and_nothing_beside_them() {
        let bytes = vec![7_u8; 1000];
        let space = space_of(&bytes, 0x5000);
        let writable = space.writable().unwrap();
        let write = |places: &[(u64, usize)], from: &[u8]| {
            space.write_places(places.iter().copied(), &writable, from)
        };
        let read = |places: &[(u64, usize)]| {
            let mut into = vec![0; places.iter().map(|place| place.1).sum()];
            space.read_places(places.iter().copied(), &mut into).map(|()| into)
        };
        write(&[(0x5000, 2), (0x5000 + 997, 3)], b"abcde").unwrap();
        let found = read(&[(0x5000 + 996, 4), (0x5001, 2)]).unwrap();
        assert_eq!(found, [7, b'c', b'd', b'e', b'b', 7]);
        assert!(read(&[]).unwrap().is_empty());
        for places in [
            [(0x5000 - 1, 1), (0x5000, 1)],
            [(0x5000, 1), (0x5000 + 998, 3)],
            [(0x5000, 1), (u64::MAX, 1)],
        ] {
            assert!(read(&places).is_err(), "{places:x?}");
            assert!(write(&places, &[0; 4]).is_err(), "{places:x?}");
        }
        assert_eq!(
            std::hint::black_box(&bytes)[0],
            b'a',
            "nothing is written before all is looked at"
        );
    }

    #[test]
    fn written_pages_are_nobodys_but_the_processs() {
        for (entry, expected) in [
            (0, false),
            (1 << 63, true),
            (1 << 62, true),
            (1 << 63 | 1 << 61, false),
            (1 << 62 | 1 << 61, false),
        ] {
            assert_eq!(is_written(entry), expected, "{entry:x}");
        }
    }
}
