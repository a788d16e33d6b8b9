//! The disk of a sandbox as its machine sees it: qcow2 files on top of one another, and a raw image
//! below. Only ever read, and with distrust: a QEMU that its guest has taken over writes what it
//! likes into such a file, the names of other files among it. So which files there are says the
//! caller, and what a file says of a backing file is passed over.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::reader::ReadAt;

const MAGIC: u32 = u32::from_be_bytes(*b"QFI\xfb");
const HEADER_BYTES: usize = 104;
/// What QEMU takes: 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Left behind by a writer that was killed; it is about reference counts, which are not read.
const FEATURE_DIRTY: u64 = 1;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// Tables of one file: those of a disk of 32 GiB in clusters of 64 KiB have 4 MiB.
const TABLE_BYTES_MAX: u64 = 64 << 20;

/// What is wrong with a file that should hold a part of a disk.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    #[error("it is not of the form that a sandbox's disk has: {0}")]
    Form(&'static str),
}

/// See the module.
#[derive(Debug)]
pub struct Stack {
    /// The uppermost first.
    layers: Vec<Layer>,
    base: File,
    bytes: u64,
}

#[derive(Debug)]
struct Layer {
    file: File,
    cluster_bits: u32,
    clusters: Vec<Cluster>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cluster {
    Below,
    Zero,
    At(u64),
}

impl Stack {
    /// Of a raw file that is the disk's size, and of qcow2 files on top of it, the uppermost first.
    pub fn new(layers: Vec<File>, base: File) -> Result<Self, StackError> {
        let bytes = base.metadata()?.len();
        let layers = layers.into_iter().map(|file| Layer::read(file, bytes));
        Ok(Self { layers: layers.collect::<Result<_, _>>()?, base, bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was ever written there, so that the base has it.
    pub(super) fn is_of_base(&self, start: u64, end: u64) -> bool {
        self.layers.iter().all(|layer| {
            let clusters = start >> layer.cluster_bits..end.div_ceil(1 << layer.cluster_bits);
            clusters.into_iter().all(|index| layer.cluster(index) == Cluster::Below)
        })
    }

    /// Bytes that are all in one cluster of every layer.
    fn read_piece(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        for layer in &self.layers {
            match layer.cluster(offset >> layer.cluster_bits) {
                Cluster::Below => {}
                Cluster::Zero => {
                    buf.fill(0);
                    return Ok(());
                }
                Cluster::At(at) => {
                    let within = offset & ((1 << layer.cluster_bits) - 1);
                    return read_or_zero(&layer.file, buf, at.saturating_add(within));
                }
            }
        }
        FileExt::read_exact_at(&self.base, buf, offset)
    }
}

impl ReadAt for Stack {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.bytes);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let smallest = self.layers.iter().map(|layer| layer.cluster_bits).min();
        let piece = smallest.map_or(u64::MAX, |bits| 1 << bits);
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let room = usize::try_from(piece - at % piece).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(room);
            self.read_piece(at, now)?;
            at += room as u64;
            rest = later;
        }
        Ok(())
    }
}

impl Layer {
    fn read(file: File, bytes: u64) -> Result<Self, StackError> {
        let mut header = [0; HEADER_BYTES];
        FileExt::read_exact_at(&file, &mut header, 0)?;
        let word =
            |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let long =
            |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let (cluster_bits, table_entries, table) = (word(20), word(36), long(40));
        let checks = [
            (word(0) == MAGIC && word(4) == 3, "it is no qcow2 of version 3"),
            (CLUSTER_BITS.contains(&cluster_bits), "the size of its clusters"),
            (long(24) == bytes, "its size"),
            (word(32) == 0, "it is encrypted"),
            (long(72) & !FEATURE_DIRTY == 0, "it has features that ours have not"),
        ];
        if let Some((_, fault)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Err(StackError::Form(fault));
        }
        let count = bytes.div_ceil(1 << cluster_bits);
        let of_table = 1_u64 << (cluster_bits - 3);
        let tables = count.div_ceil(of_table);
        if u64::from(table_entries) < tables || count * 8 > TABLE_BYTES_MAX {
            return Err(StackError::Form("the size of its tables"));
        }
        let tables = usize::try_from(tables).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut clusters = Vec::with_capacity(count);
        for entry in entries(&file, table, tables)? {
            let room = (count - clusters.len()).min(1 << (cluster_bits - 3));
            match entry & OFFSET {
                0 => clusters.extend(std::iter::repeat_n(Cluster::Below, room)),
                at => {
                    let all = entries(&file, at, room)?.into_iter().map(Cluster::of);
                    clusters.extend(all.collect::<Result<Vec<_>, _>>()?);
                }
            }
        }
        Ok(Self { file, cluster_bits, clusters })
    }

    fn cluster(&self, index: u64) -> Cluster {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.clusters.get(index).copied().unwrap_or(Cluster::Below)
    }
}

impl Cluster {
    fn of(entry: u64) -> Result<Self, StackError> {
        match entry & OFFSET {
            _ if entry & COMPRESSED != 0 => Err(StackError::Form("it is compressed")),
            _ if entry & ZERO != 0 => Ok(Self::Zero),
            0 => Ok(Self::Below),
            at => Ok(Self::At(at)),
        }
    }
}

/// Behind the end of the file there are zeros.
fn read_or_zero(file: &File, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, at) {
            Ok(0) => {
                buf.fill(0);
                return Ok(());
            }
            Ok(got) => {
                buf = &mut buf[got..];
                at += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn entries(file: &File, at: u64, count: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; count * 8];
    FileExt::read_exact_at(file, &mut bytes, at)?;
    Ok(bytes.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
}
