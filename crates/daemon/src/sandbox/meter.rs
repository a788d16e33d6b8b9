//! What a session's machine uses of the host's processors.

use std::sync::{Mutex, PoisonError};

use machine::Process;

/// Read while the machine is there, and as it was last read from then on.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Reading>);

#[derive(Debug, Default)]
struct Reading {
    process: Option<Process>,
    /// What is not the session's.
    before_ms: u64,
    last_ms: u64,
}

impl Meter {
    /// Reads this process from now on, less what it had used before.
    pub(super) fn start(&self, process: Process, before_ms: u64) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *reading = Reading { process: Some(process), before_ms, last_ms: 0 };
    }

    /// Nothing, until the next one starts.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Reading::default();
    }

    pub(super) fn read_ms(&self) -> u64 {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ms) = reading.process.as_ref().and_then(used_ms) {
            reading.last_ms = ms.saturating_sub(reading.before_ms);
        }
        reading.last_ms
    }
}

/// None once it is gone.
pub(super) fn used_ms(process: &Process) -> Option<u64> {
    process.cpu_time().map(|used| u64::try_from(used.as_millis()).unwrap_or(u64::MAX))
}
