//! A copy of the pages that a machine has written, most of it made while the machine goes on: what it
//! writes meanwhile is copied again, the last of it while it is held. So it is held for what it writes in some
//! milliseconds, however much it has written before.
//!
//! Where the kernel does not tell which pages were written since, all of them are copied at the end.
//!
//! What many are to have goes right to where they share it.

use std::io;

use super::{
    FreeBlocks,
    pages::{PAGE, Pages, Space},
    shared::Shared,
};
use crate::sys::written::{Then, Which, Writes};

/// For so few pages the machine is held no longer than it takes to save its devices.
const WORTH_IT: usize = (16 << 20) / PAGE;
/// So few may be left for the end.
const FEW: usize = (4 << 20) / PAGE;
/// A machine that writes as fast as it is read is not caught up with.
const ROUNDS_MAX: usize = 4;

/// A copy that is being made. A page is what the newest pages have of it.
#[derive(Debug, Default)]
pub(super) struct Precopy {
    /// Pages, when it began.
    written: usize,
    writes: Option<Writes>,
    rounds: Vec<Pages>,
    /// Takes what is copied while the machine goes on, if many are to have it.
    shared: Option<Shared>,
    /// Not copied as they seemed to be free.
    left_out: FreeBlocks,
    /// What is left for the end goes here.
    buffer: Vec<u8>,
}

/// All of the copy, in the order of its places in memory, once that is found.
#[derive(Debug)]
pub(super) struct Copied {
    rounds: Vec<Pages>,
    order: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    round: usize,
    index: usize,
}

/// What is to be put in order.
#[derive(Debug)]
pub(super) struct Unordered {
    rounds: Vec<Pages>,
    /// Has what was copied but for the last round.
    shared: Option<Shared>,
    needed: Vec<u64>,
    /// No longer of use; to let go of it takes time, in which the machine need not stand still.
    _writes: Option<Writes>,
}

impl Precopy {
    /// Of a machine that has written so many pages. None is copied yet.
    pub(super) fn of(written: usize) -> Self {
        Self { written, ..Self::default() }
    }

    /// Has what is copied from now on go to where it is shared.
    pub(super) fn into_shared(self, shared: Shared) -> Self {
        Self { shared: Some(shared), ..self }
    }

    pub(super) fn written_bytes(&self) -> u64 {
        (self.written * PAGE) as u64
    }

    /// Copies what is written, but what is `free` as yet, while the machine goes on.
    pub(super) fn run(&mut self, space: &Space, free: FreeBlocks) -> io::Result<()> {
        let all = self.written + self.written / 4;
        if self.written < WORTH_IT {
            self.buffer = room_for(all);
            return Ok(());
        }
        let writes = match space.writes() {
            Ok(writes) => writes,
            Err(error) => {
                tracing::debug!(%error, "the kernel does not tell what is written meanwhile");
                self.buffer = room_for(all);
                return Ok(());
            }
        };
        self.left_out = free;
        let mut buffer = if self.shared.is_some() { Vec::new() } else { room_for(all) };
        let mut which = Which::All;
        let mut left = usize::MAX;
        for _ in 0..ROUNDS_MAX {
            let mut at = Vec::new();
            for run in writes.find(which, Then::Protect)? {
                at.extend(space.places(&run)?);
            }
            self.left_out.take_from(&mut at);
            self.rounds.push(match &self.shared {
                Some(shared) => {
                    space.pass(&at, |at, pages| shared.write(at, pages))?;
                    Pages { at, bytes: Vec::new() }
                }
                None => space.read(at, buffer)?,
            });
            which = Which::Written;
            let before = left;
            left = 0;
            for run in writes.find(which, Then::Look)? {
                left += space.places(&run)?.count();
            }
            buffer = room_for(left + left / 2);
            if left <= FEW || before / 2 < left {
                break;
            }
        }
        self.buffer = buffer;
        self.writes = Some(writes);
        Ok(())
    }

    /// Copies what is missing, of a machine that is held, but what is `free`.
    pub(super) fn finish(self, space: &Space, free: &FreeBlocks) -> io::Result<Unordered> {
        let Self { writes, mut rounds, shared, left_out, buffer, .. } = self;
        let Some(writes) = writes else {
            let needed = space.needed(free)?;
            rounds.push(space.read(needed.clone(), buffer)?);
            return Ok(Unordered { rounds, shared, needed, _writes: None });
        };
        let (mut needed, mut missing) = (Vec::new(), Vec::new());
        for run in writes.find(Which::All, Then::Look)? {
            let from = needed.len();
            needed.extend(space.places(&run)?.filter(|at| !free.holds(*at)));
            let is_missing = |at: &&u64| run.is_written || left_out.holds(**at);
            missing.extend(needed[from..].iter().filter(is_missing).copied());
        }
        rounds.push(space.read(missing, buffer)?);
        Ok(Unordered { rounds, shared, needed, _writes: Some(writes) })
    }
}

impl Unordered {
    pub(super) fn bytes(&self) -> u64 {
        (self.needed.len() * PAGE) as u64
    }

    /// Brings what is missing to where it is shared, if it is.
    pub(super) fn share(&mut self) -> io::Result<Option<Shared>> {
        let Some(shared) = self.shared.take() else { return Ok(None) };
        self.find_all()?;
        if let Some(last) = self.rounds.last() {
            shared.write(&last.at, &last.bytes)?;
        }
        Ok(Some(shared))
    }

    /// Finds the newest copy of each page that is needed. The other pages that were copied the machine has
    /// given back, or freed.
    pub(super) fn order(self) -> io::Result<Copied> {
        let order = self.find_all()?;
        Ok(Copied { rounds: self.rounds, order })
    }

    fn find_all(&self) -> io::Result<Vec<Place>> {
        let mut next = vec![0; self.rounds.len()];
        let newest = |at: &u64| {
            let mut found = None;
            for (round, (pages, index)) in self.rounds.iter().zip(&mut next).enumerate() {
                *index += pages.at[*index..].iter().take_while(|there| *there < at).count();
                if pages.at.get(*index) == Some(at) {
                    found = Some(Place { round, index: *index });
                }
            }
            found.ok_or_else(|| io::Error::other("a page was not copied"))
        };
        self.needed.iter().map(newest).collect()
    }
}

impl Copied {
    /// Each page and where it belongs.
    pub(super) fn each(&self) -> impl Iterator<Item = io::Result<(u64, &[u8; PAGE])>> {
        let page = |place: &Place| self.rounds[place.round].get(place.index);
        let elsewhere = || io::Error::other("a page is elsewhere");
        self.order.iter().map(move |place| page(place).ok_or_else(elsewhere))
    }
}

/// Not noughts, which would be no memory yet. A few pages more are written until it stands still.
fn room_for(pages: usize) -> Vec<u8> {
    vec![0xff; (pages + FEW) * PAGE]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(at: &[u64], byte: u8) -> Pages {
        let at: Vec<u64> = at.iter().map(|page| page * PAGE as u64).collect();
        let bytes = vec![byte; at.len() * PAGE];
        Pages { at, bytes }
    }

    fn ordered(rounds: Vec<Pages>, needed: &[u64]) -> io::Result<Vec<(u64, u8)>> {
        let needed = pages(needed, 0).at;
        let copied = Unordered { rounds, shared: None, needed, _writes: None }.order()?;
        let pages = copied.each().map(Result::unwrap);
        Ok(pages.map(|(at, page)| (at / PAGE as u64, page[7])).collect())
    }

    #[test]
    fn the_newest_copy_of_a_page_counts() {
        let rounds = || vec![pages(&[1, 2, 5, 8], 1), pages(&[2, 3, 8], 2), pages(&[3, 9], 3)];
        let all = [(1, 1), (2, 2), (3, 3), (5, 1), (8, 2), (9, 3)];
        assert_eq!(ordered(rounds(), &[1, 2, 3, 5, 8, 9]).unwrap(), all);
        assert_eq!(
            ordered(rounds(), &[5, 9]).unwrap(),
            [(5, 1), (9, 3)],
            "the rest was given back"
        );
        assert_eq!(ordered(rounds(), &[]).unwrap(), []);
        for missing in [0, 4, 10] {
            assert!(ordered(rounds(), &[missing]).is_err(), "{missing} was not copied");
        }
        assert!(ordered(Vec::new(), &[1]).is_err());
    }
}
