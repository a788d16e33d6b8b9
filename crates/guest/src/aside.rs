//! Memory that is free is set aside, so that it stays free while the host takes down what the machine
//! is: what was in it need not be kept.
//!
//! The kernel's pool of huge pages does that. It takes whole blocks of free memory, writes nothing to
//! them, and has no use for one but to give it to a program that asks for huge pages. Where such
//! programs have a pool of their own, all is left as it is.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const UNUSED: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
/// A word for each page of the memory.
const FLAGS: &str = "/proc/kpageflags";
const FREE_BLOCKS: &str = "/proc/buddyinfo";

/// Pages in a block.
const BLOCK: u64 = 512;
/// The order of a block among the kernel's stretches of free pages, and how many columns come before
/// the first of them.
const ORDER: usize = 9;
const COLUMNS_BEFORE: usize = 4;

/// What [`FLAGS`] says of the first page of a free stretch; of its others it says nothing,
const BUDDY: u64 = 1 << 10;
/// and of huge pages.
const HUGE: u64 = 1 << 17;

/// The kernel gives what was freed last first, but not only that.
const MORE: usize = 4;
/// A part of what is free is left: programs go on meanwhile.
const LEFT: usize = 4;

/// Sets memory aside, and tells of which of these blocks that may be. If there are none, none is.
pub(crate) fn set_aside(mut blocks: Vec<u32>) -> io::Result<Vec<u32>> {
    if number(POOL)? != 0 {
        return Ok(Vec::new());
    }
    let flags = File::open(FLAGS)?;
    blocks.retain(|block| flags_of(&flags, *block).is_ok_and(|flags| flags & !BUDDY == 0));
    let free = free_blocks(&fs::read_to_string(FREE_BLOCKS)?);
    let count = (blocks.len() + blocks.len() / MORE).min(free - free / LEFT);
    if !blocks.is_empty() {
        fs::write(POOL, count.to_string())?;
    }
    Ok(blocks)
}

/// Those of these blocks that are set aside, while no program goes on.
pub(crate) fn free_of(blocks: &[u32]) -> io::Result<Vec<u32>> {
    let pool = number(POOL)?;
    if pool == 0 || pool != number(UNUSED)? {
        return Ok(Vec::new());
    }
    let flags = File::open(FLAGS)?;
    let is_aside = |block: &u32| flags_of(&flags, *block).is_ok_and(|flags| flags & HUGE != 0);
    Ok(blocks.iter().copied().filter(is_aside).collect())
}

pub(crate) fn give_back() -> io::Result<()> {
    fs::write(POOL, "0")
}

fn number(path: &str) -> io::Result<u64> {
    fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

/// Of the block's first page.
fn flags_of(file: &File, block: u32) -> io::Result<u64> {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, u64::from(block) * BLOCK * 8)?;
    Ok(u64::from_ne_bytes(word))
}

/// How many blocks are free, in stretches of one or more, but for those that are kept for old devices.
fn free_blocks(text: &str) -> usize {
    let zones =
        text.lines().filter(|line| line.split_whitespace().nth(COLUMNS_BEFORE - 1) != Some("DMA"));
    let counts = zones.map(|line| {
        let counts = line.split_whitespace().skip(COLUMNS_BEFORE + ORDER);
        let blocks = counts.enumerate().map(|(above, count)| count.parse().unwrap_or(0) << above);
        blocks.sum::<usize>()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_blocks_are_counted() {
        let text = "Node 0, zone      DMA      0      0      0      0      0      0      1      1      0      1      3 \n\
                    Node 0, zone    DMA32    187     86     44     19     11      8      3      2      0      2    463 \n\
                    Node 0, zone   Normal      1      0      0      0      0      0      0      0      0      1      0 \n";
        assert_eq!(free_blocks(text), 2 + 2 * 463 + 1);
        assert_eq!(free_blocks("nothing of the kind\n"), 0);
    }
}
