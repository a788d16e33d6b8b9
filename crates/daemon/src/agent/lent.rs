//! Bytes that are read and written in the guest's memory instead of being sent: a guest under an emulator sends a
//! byte in several times what it takes to have it there.
//!
//! Asked for once much has passed, as most machines never send much, and for each epoch anew.

use std::{collections::BTreeMap, fmt, io};

use protocol::{CHUNK_MAX, HEADER_LEN, Place, Response, SLOT_LEN, within};

/// So many bytes pass in frames before.
const MUCH: usize = 256 << 10;
/// More slots than a guest has need not be counted.
const SLOTS_MAX: usize = 1024;

/// The memory of the machine that is behind a connection.
pub trait Memory: Send + Sync {
    /// Reads all that is in these places.
    fn read(&self, places: &[Place], into: &mut [u8]) -> io::Result<()>;
    /// Writes to these places, all of them.
    fn write(&self, places: &[Place], from: &[u8]) -> io::Result<()>;
}

impl Memory for machine::GuestMemory {
    fn read(&self, places: &[Place], into: &mut [u8]) -> io::Result<()> {
        Self::read(self, addresses(places), into)
    }

    fn write(&self, places: &[Place], from: &[u8]) -> io::Result<()> {
        Self::write(self, addresses(places), from)
    }
}

fn addresses(places: &[Place]) -> impl Iterator<Item = (u64, usize)> {
    places.iter().map(|place| (place.address, place.len()))
}

/// Opens it.
pub type Look = Box<dyn Fn() -> io::Result<Box<dyn Memory>> + Send + Sync>;

pub(super) struct Lending {
    look: Option<Look>,
    state: State,
}

enum State {
    /// So many bytes have passed in this epoch.
    Sent(usize),
    Open {
        memory: Box<dyn Memory>,
        slots: Slots,
    },
    /// It was tried, and failed. The epoch should end.
    Failed,
    Never,
}

/// Where the guest takes bytes.
#[derive(Default)]
struct Slots {
    by_number: BTreeMap<u16, Slot>,
    /// Numbers of those that may be filled, each once.
    free: Vec<u16>,
}

struct Slot {
    /// Where it has room for bytes.
    places: Vec<Place>,
    is_free: bool,
}

impl Lending {
    pub(super) fn new(look: Option<Look>) -> Self {
        Self { look, state: State::Sent(0) }
    }

    pub(super) fn on_epoch(&mut self) {
        self.state = match &self.state {
            State::Failed | State::Never => State::Never,
            State::Sent(_) | State::Open { .. } => State::Sent(0),
        };
    }

    /// So many bytes have passed in a frame.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        if let State::Sent(sent) = &mut self.state {
            *sent += bytes;
        }
    }

    /// Whether to ask for it now.
    pub(super) fn is_due(&mut self) -> bool {
        let (State::Sent(MUCH..), Some(look)) = (&self.state, &self.look) else { return false };
        match look() {
            Ok(memory) => self.state = State::Open { memory, slots: Slots::default() },
            Err(error) => {
                tracing::debug!(%error, "the guest's memory cannot be looked at");
                self.state = State::Never;
            }
        }
        matches!(self.state, State::Open { .. })
    }

    /// The guest has agreed.
    pub(super) fn on_answer(&mut self, answer: Response) {
        if let (State::Open { slots, .. }, Response::Lending { slots: told }) =
            (&mut self.state, answer)
        {
            *slots = Slots::of(told);
            tracing::debug!(slots = slots.free.len(), "the guest lends its memory");
        }
    }

    /// It takes bytes there again.
    pub(super) fn on_returned(&mut self, numbers: &[u16]) {
        if let State::Open { slots, .. } = &mut self.state {
            slots.give_back(numbers);
        }
    }

    /// If it was asked for in this epoch.
    pub(super) fn memory(&self) -> Option<&dyn Memory> {
        match &self.state {
            State::Open { memory, .. } => Some(memory.as_ref()),
            State::Sent(_) | State::Failed | State::Never => None,
        }
    }

    /// Puts bytes into a slot, if one is free, and says which.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> Option<u16> {
        let State::Open { memory, slots } = &mut self.state else { return None };
        let number = slots.free.pop()?;
        let slot = slots.by_number.get_mut(&number)?;
        slot.is_free = false;
        let places: Vec<Place> = within(&slot.places, 0..bytes.len()).collect();
        match memory.write(&places, bytes) {
            Ok(()) => Some(number),
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    pub(super) fn fail(&mut self, error: &io::Error) {
        tracing::debug!(%error, "what passes is to be sent, not lent");
        self.state = State::Failed;
    }

    /// Whether what was lent in this epoch is lost.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }
}

impl Slots {
    /// Those that have room for a chunk.
    fn of(told: Vec<(u16, Vec<Place>)>) -> Self {
        let mut slots = Self::default();
        for (number, places) in told.into_iter().take(SLOTS_MAX) {
            let places: Vec<Place> = within(&places, HEADER_LEN..SLOT_LEN).collect();
            if places.iter().map(Place::len).sum::<usize>() == CHUNK_MAX {
                slots.by_number.insert(number, Slot { places, is_free: true });
            }
        }
        slots.free = slots.by_number.keys().copied().collect();
        slots
    }

    fn give_back(&mut self, numbers: &[u16]) {
        for number in numbers {
            if let Some(slot) = self.by_number.get_mut(number).filter(|slot| !slot.is_free) {
                slot.is_free = true;
                self.free.push(*number);
            }
        }
    }
}

impl fmt::Debug for Lending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lending").finish_non_exhaustive()
    }
}
