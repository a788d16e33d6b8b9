//! The framing of QEMU's network card on its socket: four bytes of length, big-endian, and an
//! Ethernet frame. Many frames are written at once.

use crate::address::MTU;

/// Bytes of length before each frame.
pub const PREFIX: usize = 4;
/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Longest frame: a packet of the link's [`MTU`], an Ethernet header, and room for a VLAN tag.
pub const FRAME_BYTES_MAX: usize = MTU as usize + 18;

/// What QEMU reads at once; what a message has beyond it is lost. So it is what is written at once,
/// and a reader has room for as much.
pub const MESSAGE_BYTES_MAX: usize = 69_632;

/// What is read at once at most. A sender's socket buffer is about as large.
const INBOX_BYTES: usize = 256 << 10;
/// Above this much unsent nothing new is taken up; short answers still are.
const OUTBOX_FULL: usize = 256 << 10;
/// Twice as much, so that what is moved to the front was paid for by as much that was added.
const OUTBOX_BYTES: usize = 2 * (OUTBOX_FULL + PREFIX + FRAME_BYTES_MAX);

/// The other end does not speak in frames: nothing that follows can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes")]
pub struct InvalidLength(pub u32);

/// Frames as they were read, whole or in part.
#[derive(Debug)]
pub struct Inbox {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { buffer: vec![0; INBOX_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Inbox {
    /// Where to read to; once [`Inbox::frame`] has said that there is no whole frame it has room for
    /// any message.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < MESSAGE_BYTES_MAX {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// As many bytes have been read to the start of [`Inbox::spare`].
    pub fn filled(&mut self, bytes: usize) {
        self.end = self.buffer.len().min(self.end + bytes);
    }

    /// The next whole frame.
    pub fn frame(&mut self) -> Result<Option<&[u8]>, InvalidLength> {
        let Some((prefix, rest)) = self.buffer[self.start..self.end].split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes == 0 || FRAME_BYTES_MAX < bytes {
            return Err(InvalidLength(length));
        }
        if rest.len() < bytes {
            return Ok(None);
        }
        let frame = self.start + PREFIX;
        self.start = frame + bytes;
        Ok(Some(&self.buffer[frame..frame + bytes]))
    }
}

/// Frames that are to be written.
#[derive(Debug)]
pub struct Outbox {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { buffer: vec![0; OUTBOX_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Outbox {
    /// Whether there is room for data. Where there is, any frame fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.end - self.start <= OUTBOX_FULL
    }

    /// Adds a frame of this many bytes, which `write` makes; it finds arbitrary bytes there. Without
    /// room the frame is lost, as on any link: whoever needs it sends it again.
    pub fn push<R>(&mut self, bytes: usize, write: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX)?;
        if self.buffer.len() - self.end < PREFIX + bytes {
            if self.buffer.len() - (self.end - self.start) < PREFIX + bytes {
                return None;
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let frame = self.end + PREFIX;
        self.buffer[self.end..frame].copy_from_slice(&length.to_be_bytes());
        self.end = frame + bytes;
        Some(write(&mut self.buffer[frame..frame + bytes]))
    }

    /// What is to be written next.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// As many bytes of [`Outbox::unsent`] have been written.
    pub fn sent(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pass(frames: &[Vec<u8>], pieces: &[usize]) -> Vec<Vec<u8>> {
        let (mut outbox, mut inbox, mut arrived) = (Outbox::default(), Inbox::default(), vec![]);
        let mut pieces = pieces.iter().copied().cycle();
        for frame in frames {
            while outbox.push(frame.len(), |to| to.copy_from_slice(frame)).is_none() {
                carry(&mut outbox, &mut inbox, pieces.next().unwrap());
                while let Some(frame) = inbox.frame().unwrap() {
                    arrived.push(frame.to_vec());
                }
            }
        }
        while !outbox.unsent().is_empty() {
            carry(&mut outbox, &mut inbox, pieces.next().unwrap());
            while let Some(frame) = inbox.frame().unwrap() {
                arrived.push(frame.to_vec());
            }
        }
        arrived
    }

    fn carry(outbox: &mut Outbox, inbox: &mut Inbox, most: usize) {
        let spare = inbox.spare();
        assert!(!spare.is_empty());
        let bytes = spare.len().min(outbox.unsent().len()).min(most);
        spare[..bytes].copy_from_slice(&outbox.unsent()[..bytes]);
        inbox.filled(bytes);
        outbox.sent(bytes);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_arrive_whole_and_in_order(
            sizes in prop::collection::vec(prop_oneof![1..100_usize, 1..=FRAME_BYTES_MAX], 1..40),
            pieces in prop::collection::vec(prop_oneof![1..50_usize, 1..300_000_usize], 1..8),
        ) {
            let pieces: Vec<_> = pieces.into_iter().chain([200_000]).collect();
            let frames: Vec<_> =
                sizes.iter().zip(0_u8..).map(|(&size, byte)| vec![byte; size]).collect();
            prop_assert_eq!(pass(&frames, &pieces), frames);
        }
    }

    #[test]
    fn a_length_out_of_bounds_is_an_error() {
        for (length, valid) in
            [(0, false), (1, true), (65_538, true), (65_539, false), (u32::MAX, false)]
        {
            let mut inbox = Inbox::default();
            inbox.spare()[..4].copy_from_slice(&length.to_be_bytes());
            inbox.filled(4);
            assert_eq!(inbox.frame(), if valid { Ok(None) } else { Err(InvalidLength(length)) });
        }
    }

    #[test]
    fn a_full_outbox_loses_frames_and_stays_as_it_is() {
        let mut outbox = Outbox::default();
        let mut pushed = 0;
        while outbox.push(FRAME_BYTES_MAX, |_| ()).is_some() {
            pushed += 1;
        }
        assert!((4..16).contains(&pushed), "{pushed}");
        assert!(!outbox.has_room());
        assert_eq!(outbox.unsent().len(), pushed * (PREFIX + FRAME_BYTES_MAX));
        assert!(outbox.push(FRAME_BYTES_MAX + 1, |_| ()).is_none());
    }
}
