//! Blocks of a guest's memory: what it has freed, although it was written, need not be kept. Which those
//! are only the guest knows. It is believed, since it can harm nobody but itself: instead of what was in
//! such a block it finds what its template had there.

use super::pages::PAGE;

/// A large page of the guest's kernel.
const BLOCK: usize = 2 << 20;
/// QEMU's `microvm` has so much of its memory at the first addresses,
const LOW: u64 = 3 << 30;
/// and the rest from this one on.
const HIGH: u64 = 4 << 30;
/// A quarter.
const WRITTEN_MIN: usize = BLOCK / PAGE / 4;
/// For fewer nobody is asked.
const BLOCKS_MIN: usize = 8;
/// So many numbers fit into a message.
const BLOCKS_MAX: usize = 1 << 16;

/// Blocks that the guest keeps free, by their numbers as it counts them.
#[derive(Debug, Default)]
pub struct FreeBlocks(Vec<bool>);

impl FromIterator<u32> for FreeBlocks {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let mut blocks = Vec::new();
        for number in numbers
            .into_iter()
            .filter_map(|number| usize::try_from(number).ok())
            .filter(|number| *number < BLOCKS_MAX)
        {
            blocks.resize(blocks.len().max(number + 1), false);
            blocks[number] = true;
        }
        Self(blocks)
    }
}

impl FreeBlocks {
    /// Takes the pages in them out; `at` are places in the memory's file.
    pub(super) fn take_from(&self, at: &mut Vec<u64>) {
        if !self.0.is_empty() {
            at.retain(|at| !self.holds(*at));
        }
    }

    /// Whether the page at this place is in one of them.
    pub(super) fn holds(&self, at: u64) -> bool {
        self.0.get(number(at)) == Some(&true)
    }
}

/// The blocks that it is worth asking the guest about: much of each was written, and there are some of
/// them. `at` are the places of written pages in the memory's file, in rising order.
pub(super) fn worth_asking(at: &[u64]) -> Vec<u32> {
    let blocks = at.chunk_by(|one, next| number(*one) == number(*next));
    let much = blocks.filter(|pages| WRITTEN_MIN <= pages.len());
    let numbers = much.filter_map(|pages| u32::try_from(number(pages[0])).ok());
    let numbers: Vec<u32> = numbers.take(BLOCKS_MAX).collect();
    if BLOCKS_MIN <= numbers.len() { numbers } else { Vec::new() }
}

/// Where in the memory's file an address of the guest's is, if it has memory there.
pub(super) fn place(address: u64) -> Option<u64> {
    if address < LOW { Some(address) } else { address.checked_sub(HIGH)?.checked_add(LOW) }
}

fn number(at: u64) -> usize {
    let address = if at < LOW { at } else { at - LOW + HIGH };
    usize::try_from(address).map_or(usize::MAX, |address| address / BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(at: u64, count: usize) -> impl Iterator<Item = u64> {
        (0..count).map(move |page| at + (page * PAGE) as u64)
    }

    #[test]
    fn there_is_no_memory_between_the_low_and_the_high() {
        let places = [0, LOW - 1, LOW, HIGH - 1, HIGH, HIGH + 7, u64::MAX].map(place);
        let top = u64::MAX - HIGH + LOW;
        assert_eq!(
            places,
            [Some(0), Some(LOW - 1), None, None, Some(LOW), Some(LOW + 7), Some(top)]
        );
    }

    #[test]
    fn whoever_has_written_much_is_asked_about_what_is_full() {
        let many = (0..8).flat_map(|block| pages((block * BLOCK) as u64, WRITTEN_MIN));
        let few = pages(8 * BLOCK as u64, WRITTEN_MIN - 1);
        let high = pages(LOW, 512);
        let at: Vec<u64> = many.chain(few).chain(high).collect();
        assert_eq!(worth_asking(&at), [0, 1, 2, 3, 4, 5, 6, 7, 2048]);
        assert_eq!(worth_asking(&at[128..at.len() - 512]), [0; 0], "it is not worth it");
        assert_eq!(worth_asking(&[]), [0; 0]);
    }

    #[test]
    fn what_is_free_is_taken_out() {
        let all: Vec<u64> = pages(LOW - 2 * BLOCK as u64, 4 * 512).collect();
        let left = |numbers: &[u32]| {
            let mut at = all.clone();
            FreeBlocks::from_iter(numbers.iter().copied()).take_from(&mut at);
            at
        };
        assert_eq!(left(&[]), all);
        assert_eq!(left(&[u32::MAX, 70_000, 1536, 2047]), all);
        assert_eq!(left(&[2048, 1534, 1534]), [&all[512..1024], &all[1536..]].concat());
    }
}
