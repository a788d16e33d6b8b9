//! Whether anybody needs a session's machine: who asks for it to be used says so, and it does not fall
//! asleep meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// A cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    state: watch::Sender<State>,
    /// When it was last used, milliseconds from `began`.
    last_ms: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    uses: usize,
    is_asleep: bool,
}

/// The machine is needed until this is dropped.
#[derive(Debug)]
#[must_use = "the machine may fall asleep once this is dropped"]
pub(crate) struct Use(Activity);

impl Default for Activity {
    fn default() -> Self {
        let shared = Shared {
            began: Instant::now(),
            state: watch::Sender::default(),
            last_ms: AtomicU64::new(0),
        };
        Self(Arc::new(shared))
    }
}

impl Activity {
    /// None while it sleeps: it is to be woken first.
    pub(crate) fn begin(&self) -> Option<Use> {
        let is_awake = self.0.state.send_if_modified(|state| {
            state.uses += usize::from(!state.is_asleep);
            !state.is_asleep
        });
        is_awake.then(|| Use(self.clone()))
    }

    /// For what goes on in it, asleep or not.
    pub(crate) fn begin_within(&self) -> Use {
        self.0.state.send_modify(|state| state.uses += 1);
        Use(self.clone())
    }

    /// It was used just now.
    pub(crate) fn touch(&self) {
        let ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_ms.fetch_max(ms, Relaxed);
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.0.state.borrow().is_asleep
    }

    /// Waits until it sleeps.
    pub(crate) async fn asleep(&self) {
        // Its sender is this handle's own.
        drop(self.0.state.subscribe().wait_for(|state| state.is_asleep).await);
    }

    /// From now on it has to be woken.
    pub(super) fn fall_asleep(&self) {
        self.0.state.send_modify(|state| state.is_asleep = true);
    }

    /// The same if nobody has needed it for so long.
    pub(super) fn fall_asleep_if_idle(&self, span: Duration) -> bool {
        self.0.state.send_if_modified(|state| {
            state.is_asleep |= state.uses == 0 && self.idle_at(span) <= Instant::now();
            state.is_asleep
        })
    }

    pub(super) fn wake_up(&self) {
        self.touch();
        self.0.state.send_modify(|state| state.is_asleep = false);
    }

    /// Waits until nobody has needed it for so long.
    pub(super) async fn idle(&self, span: Duration) {
        let mut seen = self.0.state.subscribe();
        loop {
            let State { uses, .. } = *seen.borrow_and_update();
            // Its sender is this handle's own.
            if uses > 0 {
                drop(seen.changed().await);
                continue;
            }
            let at = self.idle_at(span);
            if at <= Instant::now() {
                return;
            }
            // Whoever comes and goes says so; what only passes is looked at then.
            drop(timeout_at(at, seen.changed()).await);
        }
    }

    fn idle_at(&self, span: Duration) -> Instant {
        self.0.began + Duration::from_millis(self.0.last_ms.load(Relaxed)) + span
    }
}

impl Use {
    /// It is needed now, and not only kept.
    pub(crate) fn go_on(&self) {
        self.0.touch();
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.touch();
        self.0.0.state.send_modify(|state| state.uses -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    async fn waited(activity: &Activity) -> Duration {
        let began = Instant::now();
        activity.idle(SPAN).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_idle_once_nobody_has_needed_it_for_long() {
        let activity = Activity::default();
        assert_eq!(waited(&activity).await, SPAN);
        let used = activity.begin().unwrap();
        let idle = tokio::spawn({
            let activity = activity.clone();
            async move { waited(&activity).await }
        });
        tokio::time::sleep(SPAN * 3).await;
        assert!(!activity.fall_asleep_if_idle(SPAN), "it is used");
        drop(used);
        tokio::time::sleep(SPAN / 2).await;
        activity.touch();
        assert!(!activity.fall_asleep_if_idle(SPAN), "it was used just now");
        assert_eq!(idle.await.unwrap(), SPAN * 4 + SPAN / 2);
        assert!(activity.fall_asleep_if_idle(SPAN));
    }

    #[tokio::test]
    async fn who_sleeps_is_woken_first() {
        let activity = Activity::default();
        let within = activity.begin_within();
        activity.fall_asleep();
        assert!(activity.begin().is_none() && activity.is_asleep());
        drop(within);
        activity.asleep().await;
        activity.wake_up();
        assert!(activity.begin().is_some() && !activity.is_asleep());
    }
}
