//! Machines that are ready before anybody asks for them: parked clones, of the kinds that were asked
//! for lately.
//!
//! One is made at a time, only while no sandbox is being started, and seldom while the host is busy,
//! so that the pool takes little from what runs. A parked machine belongs to nobody: a server that
//! dies leaves it to the next one, which ends it as it ends all strays.

mod calm;
mod demand;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use machine::Shape;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{causes, context::Context, sandbox::Parked, store::SandboxRecord};
use demand::Demand;

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// While the host is busy it is looked again so often, and one is made after so long all the same: it
/// costs no more now than when it is asked for.
const BUSY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

/// What makes one machine as good as another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) shape: Shape,
    pub(crate) image: String,
    pub(crate) digest: String,
    /// Of which of the images of that disk: it is rehearsed with its environment.
    pub(crate) origin: Option<String>,
    /// Whether it trusts whom the host trusts beside its own authority.
    pub(crate) trust_host_ca: bool,
}

impl Kind {
    /// None where the image has no digest, which only sandboxes of old versions have.
    pub(crate) fn of(sandbox: &SandboxRecord) -> Option<Self> {
        let (shape, trust_host_ca) = (sandbox.shape, sandbox.trust_host_ca);
        let (image, digest) = (sandbox.image.clone(), sandbox.image_digest.clone()?);
        let origin = sandbox.image_origin.clone();
        Some(Self { shape, image, digest, origin, trust_host_ca })
    }
}

/// What there is of a kind.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) kind: Kind,
    pub(crate) parked: usize,
    pub(crate) wanted: usize,
}

#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Sandboxes that are being started.
    starting: AtomicUsize,
    changed: Notify,
    /// Held while a machine is being parked.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    demand: Demand<Kind>,
    parked: Vec<(Kind, Parked)>,
}

/// Held while a sandbox is being started.
pub(crate) struct Starting<'a>(&'a Pool);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.starting.fetch_sub(1, Relaxed);
        self.0.changed.notify_one();
    }
}

impl Pool {
    /// For at most so many machines.
    pub(crate) fn new(size: usize) -> Self {
        let state = State { demand: Demand::new(size), parked: Vec::new() };
        Self {
            state: Mutex::new(state),
            starting: AtomicUsize::new(0),
            changed: Notify::new(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps the pool still for as long as what it gives is held.
    pub(crate) fn starting(&self) -> Starting<'_> {
        self.starting.fetch_add(1, Relaxed);
        Starting(self)
    }

    /// A machine of this kind, if one is ready; the next will be more likely to find one.
    pub(crate) fn take(&self, kind: &Kind) -> Option<Parked> {
        let mut state = self.state();
        state.demand.note(kind, Instant::now());
        let at = state.parked.iter().position(|(own, parked)| own == kind && parked.is_well())?;
        Some(state.parked.swap_remove(at).1)
    }

    pub(crate) fn size(&self) -> usize {
        self.state().demand.size()
    }

    /// How many of each kind are parked, and how many are meant to be.
    pub(crate) fn stock(&self) -> Vec<Stock> {
        let mut state = self.state();
        let wanted = state.demand.wanted(Instant::now());
        let of = |(kind, wanted)| Stock { kind, wanted, parked: 0 };
        let mut stock: Vec<Stock> = wanted.into_iter().map(of).collect();
        for (kind, _) in state.parked.iter().filter(|(_, parked)| parked.is_well()) {
            match stock.iter_mut().find(|known| known.kind == *kind) {
                Some(known) => known.parked += 1,
                None => stock.push(Stock { kind: kind.clone(), wanted: 0, parked: 1 }),
            }
        }
        stock
    }

    /// Ends what is parked, for the sake of its memory.
    pub(crate) async fn drain(&self, context: &Context) {
        let parked = std::mem::take(&mut self.state().parked);
        end_all(context, parked).await;
    }

    /// Ends what stands on this image, and makes no more until it is asked for again.
    pub(crate) async fn let_go(&self, context: &Context, digest: &str) {
        let is_its = |kind: &Kind, _: &Parked| kind.digest == digest;
        self.state().demand.forget_where(|kind| kind.digest == digest);
        let _nothing_is_made = self.making.lock().await;
        let parked = take_where(&mut self.state().parked, is_its);
        end_all(context, parked).await;
    }

    /// Parks machines until `stop`, then ends those that are parked.
    pub(crate) async fn keep(&self, context: &Context, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = self.look(context, &stop).await;
            // An early word is as good as none.
            let word = timeout(wait, self.changed.notified());
            let _word = stop.run_until_cancelled(word).await;
        }
        self.drain(context).await;
    }

    /// Ends one that is too many or makes one that is missing, and tells how long to wait.
    async fn look(&self, context: &Context, stop: &CancellationToken) -> Duration {
        let (superfluous, missing) = self.state().compare(Instant::now());
        end_all(context, superfluous).await;
        let Some(kind) = missing else { return LOOK_EVERY };
        if stop.run_until_cancelled(self.calm(context)).await.is_none() {
            return Duration::ZERO;
        }
        let _making = self.making.lock().await;
        match Parked::make(context, &kind, stop).await {
            Ok(None) => Duration::ZERO,
            Ok(Some(parked)) => {
                tracing::debug!(image = kind.image, "a machine is parked");
                self.state().parked.push((kind, parked));
                Duration::ZERO
            }
            Err(error) => {
                tracing::warn!(error = causes(&error), image = kind.image, "no machine is parked");
                self.state().demand.forget(&kind);
                Duration::ZERO
            }
        }
    }

    /// Waits until the host has something to spare.
    async fn calm(&self, context: &Context) {
        let began = Instant::now();
        loop {
            let is_idle = calm::is_idle() || PATIENCE <= began.elapsed();
            let is_quiet = self.starting.load(Relaxed) == 0;
            if is_quiet && is_idle && calm::has_room(context.paths.state()) {
                return;
            }
            sleep(BUSY).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is parked beyond what is wanted, and a kind of which too few are.
    fn compare(&mut self, now: Instant) -> (Vec<(Kind, Parked)>, Option<Kind>) {
        let mut wanted = self.demand.wanted(now);
        let superfluous = take_where(&mut self.parked, |kind, parked| {
            let left = wanted.iter_mut().find(|(own, left)| own == kind && 0 < *left);
            match left {
                Some((_, left)) if parked.is_well() => {
                    *left -= 1;
                    false
                }
                _ => true,
            }
        });
        let missing = wanted.into_iter().find(|(_, left)| 0 < *left);
        (superfluous, missing.map(|(kind, _)| kind))
    }
}

fn take_where(
    parked: &mut Vec<(Kind, Parked)>,
    mut is_meant: impl FnMut(&Kind, &Parked) -> bool,
) -> Vec<(Kind, Parked)> {
    parked.extract_if(.., |(kind, parked)| is_meant(kind, parked)).collect()
}

async fn end_all(context: &Context, parked: Vec<(Kind, Parked)>) {
    join_all(parked.into_iter().map(|(_, parked)| parked.end(context))).await;
}
