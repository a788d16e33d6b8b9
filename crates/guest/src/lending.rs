//! Memory that the host reads and writes in place of bytes being sent: it stays where it is for good, and where
//! that is is known. Made when it is first asked for, as most machines never send much.

use std::{fs::File, io, mem, os::unix::fs::FileExt};

use protocol::{Body, Chunk, Filled, Place, SLOT_LEN, Slot};

use crate::sys::pinned::{PAGE, pinned};

/// Slots for what is sent: a window, as much that waits behind it, twice what is read of a file at once, and some. Where
/// they do not reach, bytes are sent in frames, which takes several times as long.
const TO_READ: usize = 192;
/// And for what comes: two windows. All are four large pages of the kernel.
const TO_FILL: usize = 64;
/// An entry of `/proc/self/pagemap`, by the kernel's documentation: whether the page is there, and its number.
const ENTRY_LEN: usize = 8;
const PAGE_BYTES: u32 = 4096;
const PRESENT: u64 = 1 << 63;
const NUMBER: u64 = (1 << 55) - 1;

/// What the host may use.
#[derive(Debug, Default)]
pub(crate) struct Lending {
    state: State,
    /// By their numbers, for the host to fill; none while what it has put there is in use.
    slots: Vec<Option<Slot>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotAsked,
    Begun,
    /// It is not tried again: what was taken for it is not given back.
    Failed,
}

impl Lending {
    /// From the first time on chunks are of memory that the host can read. Gives the slots that it may fill.
    pub(crate) fn begin(&mut self) -> io::Result<Vec<(u16, Vec<Place>)>> {
        if self.state == State::NotAsked {
            self.state = State::Failed;
            let mut slots = slots(TO_READ + TO_FILL)?;
            self.slots = slots.split_off(TO_READ).into_iter().map(Some).collect();
            protocol::provide(slots);
            self.state = State::Begun;
        }
        if self.state == State::Failed {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let slots = (0..).zip(&self.slots);
        let free = slots.filter_map(|(number, slot)| Some((number, slot.as_ref()?)));
        Ok(free.map(|(number, slot)| (number, slot.places().to_vec())).collect())
    }

    /// What the host has put into a slot that is there for it.
    pub(crate) fn take(&mut self, filled: &Filled) -> Option<Chunk> {
        let slot = self.slots.get_mut(usize::from(filled.slot))?;
        Some(Chunk::received(filled.slot, mem::take(slot)?, filled.bytes))
    }

    /// The slots that are of no more use here, to be told.
    pub(crate) fn returned(&mut self) -> Option<Body> {
        if self.state != State::Begun {
            return None;
        }
        let returned = protocol::take_returned();
        if returned.is_empty() {
            return None;
        }
        let slots = returned.iter().map(|(number, _)| *number).collect();
        for (number, slot) in returned {
            if let Some(place) = self.slots.get_mut(usize::from(number)) {
                *place = Some(slot);
            }
        }
        Some(Body::Returned { slots })
    }
}

fn slots(count: usize) -> io::Result<Vec<Slot>> {
    let arena = pinned(count * SLOT_LEN)?;
    let pages = pages_of(arena)?;
    let slots = arena.chunks_exact_mut(SLOT_LEN).zip(pages.chunks(SLOT_LEN / PAGE));
    let slots: Option<_> = slots.map(|(bytes, pages)| Slot::new(bytes, places_of(pages))).collect();
    slots.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Where the pages are that these bytes are in.
fn pages_of(arena: &[u8]) -> io::Result<Vec<u64>> {
    let first = arena.as_ptr().addr() / PAGE;
    let mut entries = vec![0; arena.len() / PAGE * ENTRY_LEN];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, (first * ENTRY_LEN) as u64)?;
    let entries = entries.as_chunks().0.iter().map(|entry| u64::from_ne_bytes(*entry));
    let page = |entry| match entry & NUMBER {
        0 => Err(io::ErrorKind::PermissionDenied.into()),
        _ if entry & PRESENT == 0 => Err(io::ErrorKind::NotFound.into()),
        number => Ok(number * PAGE as u64),
    };
    entries.map(page).collect()
}

/// Neighbours are one place.
fn places_of(pages: &[u64]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for page in pages {
        match places.last_mut() {
            Some(last) if last.address + u64::from(last.bytes) == *page => {
                last.bytes += PAGE_BYTES;
            }
            _ => places.push(Place { address: *page, bytes: PAGE_BYTES }),
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use protocol::StreamId;

    use super::*;

    #[test]
    fn neighbours_are_one_place() {
        let page = PAGE as u64;
        let place = |address, bytes| Place { address, bytes };
        let expected = [place(4 * page, 3 * 4096), place(page, 4096), place(9 * page, 4096)];
        assert_eq!(places_of(&[4, 5, 6, 1, 9].map(|number| number * page)), expected);
    }

    #[test]
    fn a_slot_is_there_for_the_host_until_it_is_filled_and_again_when_it_is_returned() {
        let mut lending = Lending::default();
        let told = match lending.begin() {
            Ok(told) => told,
            // Not everybody is told where his memory is.
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        };
        assert_eq!(told.len(), TO_FILL);
        let mut places: Vec<_> = told.iter().flat_map(|(_, places)| places).collect();
        assert_eq!(places.iter().map(|place| place.len()).sum::<usize>(), TO_FILL * SLOT_LEN);
        places.sort_by_key(|place| place.address);
        let is_apart = |pair: &[&Place]| pair[0].address + pair[0].len() as u64 <= pair[1].address;
        assert!(places.windows(2).all(is_apart));

        let filled = Filled { stream: StreamId(3), offset: 0, slot: 5, bytes: 100, last: false };
        let chunk = lending.take(&filled).unwrap();
        assert_eq!(chunk.bytes(), [0; 100]);
        assert!(lending.take(&filled).is_none(), "it is in use");
        assert!(lending.take(&Filled { slot: 64, ..filled }).is_none(), "there is none");
        assert_eq!(lending.begin().unwrap().len(), TO_FILL - 1);
        drop(chunk);
        assert_eq!(lending.returned(), Some(Body::Returned { slots: vec![5] }));
        assert_eq!(lending.returned(), None);
        assert!(lending.take(&filled).is_some());
    }
}
