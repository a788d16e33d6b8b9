//! Machines are started a few at a time, first come, first served: to start is all work, and of as many
//! at once as are asked for, the first would be there as late as the last.

use std::{pin::pin, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// For so long a guest is waited for within a turn. One that takes longer does no work, and may do so on
/// purpose.
const WAIT_MAX: Duration = Duration::from_secs(3);

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

    /// Waits for what a guest does within a turn, which is over then, or before if it takes long.
    pub(crate) async fn within<T>(turn: SemaphorePermit<'_>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Ok(done) = timeout(WAIT_MAX, work.as_mut()).await {
            return done;
        }
        drop(turn);
        work.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_says_nothing_holds_nobody_up() {
        let turns = Turns(Semaphore::new(1));
        let silent = Turns::within(turns.take().await, tokio::time::sleep(WAIT_MAX * 10));
        let mut silent = pin!(silent);
        assert!(timeout(WAIT_MAX / 2, silent.as_mut()).await.is_err());
        assert_eq!(turns.0.available_permits(), 0);
        assert!(timeout(WAIT_MAX, silent.as_mut()).await.is_err());
        assert_eq!(turns.0.available_permits(), 1);
        silent.await;
        Turns::within(turns.take().await, async {}).await;
        assert_eq!(turns.0.available_permits(), 1);
    }
}
