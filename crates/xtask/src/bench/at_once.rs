//! Many at the same time.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::{
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

/// What each gives, with its number, all being let go at the same time, and when the last was done.
pub(crate) fn at_once<T: Send, R: Send>(
    all: Vec<T>,
    work: impl Fn(&mut T, usize) -> Result<R> + Sync,
) -> Result<(Vec<R>, Duration)> {
    let (began, work) = (Instant::now(), &work);
    let done = thread::scope(|scope| {
        let spawn = |(n, mut one): (usize, T)| scope.spawn(move || work(&mut one, n));
        let threads: Vec<_> = all.into_iter().enumerate().map(spawn).collect();
        let join = |thread: ScopedJoinHandle<'_, Result<R>>| {
            thread.join().map_err(|_panic| anyhow!("a thread of the benchmark panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    Ok((done, began.elapsed()))
}
