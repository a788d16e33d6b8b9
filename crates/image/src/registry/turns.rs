//! Blobs that go or come a few at a time, counted together, until all have or somebody says stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::error::RegistryError;
use crate::progress::{Event, Progress};

/// As many blobs are under way at a time, as with Docker.
const AT_A_TIME: usize = 3;
/// They check what goes or comes, each on a thread of its own.
const THREADS: usize = AT_A_TIME;
const REPORT: Duration = Duration::from_millis(100);

/// How many bytes of an image are where they are to be, counted by all of its blobs.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Blocks until the work is done or stopped.
pub(super) fn block_on<T>(
    work: impl Future<Output = Result<T, RegistryError>>,
    stop: &CancellationToken,
) -> Result<T, RegistryError> {
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(RegistryError::Threads)?;
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(RegistryError::Cancelled),
            done = work => done,
        }
    });
    // Who reads what is here of a blob, to go on with it, is not waited for.
    runtime.shutdown_background();
    result
}

/// Does all of the jobs, a few at a time, and says how far they are. The first error ends it.
pub(super) async fn work_off<T: Send + 'static>(
    jobs: impl Iterator<Item = impl Future<Output = Result<T, RegistryError>> + Send + 'static>,
    (counter, total): (&Counter, u64),
    progress: Progress<'_>,
) -> Result<Vec<T>, RegistryError> {
    let mut waiting = jobs;
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    waiting.by_ref().take(AT_A_TIME).for_each(|job| drop(running.spawn(job)));
    let tell = || progress(Event::Advanced { bytes: counter.get(), total: Some(total) });
    let mut ticks = interval(REPORT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = running.join_next() => {
                let Some(ended) = ended else { break };
                done.push(ended.unwrap_or(Err(RegistryError::Cancelled))?);
                waiting.next().into_iter().for_each(|job| drop(running.spawn(job)));
            }
            _ = ticks.tick() => tell(),
        }
    }
    tell();
    Ok(done)
}
