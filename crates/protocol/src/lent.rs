//! Bytes of a stream that are in the guest's memory, for a host that reads and writes it there.
//!
//! The guest lends slots: memory for one chunk each that stays where it is. What it sends from one is said by a
//! [`Lent`] frame and stays there until it is acknowledged. What it is sent the host puts into one that the guest
//! has told it of ([`Response::Lending`](crate::Response::Lending)), says so by a [`Filled`] frame, and has the
//! slot back when that is returned.

use std::ops::Range;

use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};

use crate::{CHUNK_MAX, frame::StreamId};

/// Bytes of a guest's memory that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As the guest's processor counts them.
    pub address: u64,
    pub bytes: u32,
}

/// As it is sent: `address u64 | bytes u32`, little-endian.
pub(crate) const PLACE_LEN: usize = 12;

/// Bytes of a stream, from `offset` on, that are to be read in these places; `last` when none follow. At most
/// [`CHUNK_MAX`] of them, in [`Lent::PLACES_MAX`] places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    pub stream: StreamId,
    pub offset: u64,
    pub places: Vec<Place>,
    pub last: bool,
}

/// Bytes of a stream, from `offset` on, that were put into a slot, behind room for a frame's header; `last` when
/// none follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    pub stream: StreamId,
    pub offset: u64,
    pub slot: u16,
    /// At most [`CHUNK_MAX`].
    pub bytes: u16,
    pub last: bool,
}

impl Place {
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn put(self, out: &mut impl BufMut) {
        out.put_u64_le(self.address);
        out.put_u32_le(self.bytes);
    }

    fn get(mut bytes: &[u8]) -> Self {
        Self { address: bytes.get_u64_le(), bytes: bytes.get_u32_le() }
    }
}

impl Lent {
    /// The pages of a slot: eight of 4 KiB.
    pub const PLACES_MAX: usize = 8;

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.iter().map(Place::len).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// None if there are too many places, or more bytes in them than there may be.
    pub(crate) fn places(payload: &[u8]) -> Option<Vec<Place>> {
        let (places, rest) = payload.as_chunks::<PLACE_LEN>();
        if !rest.is_empty() || Self::PLACES_MAX < places.len() {
            return None;
        }
        let places = Vec::from_iter(places.iter().map(|place| Place::get(place)));
        let bytes: u64 = places.iter().map(|place| u64::from(place.bytes)).sum();
        (bytes <= CHUNK_MAX as u64).then_some(places)
    }
}

impl Filled {
    /// `slot u16 | bytes u16`.
    pub(crate) fn put(self, out: &mut impl BufMut) {
        out.put_u16_le(self.slot);
        out.put_u16_le(self.bytes);
    }

    /// The slot, and how many bytes; none if they are too many.
    pub(crate) fn get(payload: &[u8]) -> Option<(u16, u16)> {
        let [slot, bytes] = numbers(payload)?.try_into().ok()?;
        (usize::from(bytes) <= CHUNK_MAX).then_some((slot, bytes))
    }
}

pub(crate) fn numbers(payload: &[u8]) -> Option<Vec<u16>> {
    let (numbers, rest) = payload.as_chunks();
    rest.is_empty().then(|| numbers.iter().map(|number| u16::from_le_bytes(*number)).collect())
}

/// The places of the bytes of this range, of those that are in `places` one behind the other.
pub fn within(places: &[Place], range: Range<usize>) -> impl Iterator<Item = Place> {
    let mut at = 0;
    places.iter().filter_map(move |place| {
        let (from, to) = (range.start.max(at), range.end.min(at + place.len()));
        let skip = from.saturating_sub(at);
        at += place.len();
        let bytes = u32::try_from(to.checked_sub(from)?).ok().filter(|bytes| *bytes > 0)?;
        Some(Place { address: place.address.saturating_add(skip as u64), bytes })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_places() {
        let place = |address, bytes| Place { address, bytes };
        let places = [place(100, 10), place(500, 10), place(900, 10)];
        let part = |range| within(&places, range).collect::<Vec<_>>();
        assert_eq!(part(0..30), places);
        assert_eq!(part(3..10), [place(103, 7)]);
        assert_eq!(part(9..21), [place(109, 1), place(500, 10), place(900, 1)]);
        assert_eq!(part(20..99), [place(900, 10)]);
        assert_eq!(part(4..4), []);
        assert_eq!(within(&[place(u64::MAX, 9)], 4..9).collect::<Vec<_>>(), [place(u64::MAX, 5)]);
    }
}
