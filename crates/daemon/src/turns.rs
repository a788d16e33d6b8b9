//! Machines are started a few at a time, first come, first served: to start is all work, and of as many
//! at once as are asked for, the first would be there as late as the last.

use tokio::sync::{Semaphore, SemaphorePermit};

#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

impl Turns {
    /// As many as there are processors.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Semaphore::new(processors))
    }

    /// Waits for a turn, which is over when what this gives is dropped.
    pub(crate) async fn take(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("it is never closed")
    }
}
