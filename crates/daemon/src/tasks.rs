//! Tasks that act on what other tasks tell them: on a machine's end, a lost channel, a late answer.
//!
//! A runtime that shuts down drops its tasks one after the other while some still run. What watches a
//! process may go first, and whoever waits for it must not take that for the end of the process: it
//! would record the end of a sandbox that runs. So these tasks end before anything else of a server.

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A cheap handle; all clones are of the same tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    closing: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Runs a task that is dropped where it stands when the server closes, and then has no result.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let closing = self.closing.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                // The closing first, each time.
                biased;
                () = closing.cancelled() => None,
                result = task => Some(result),
            }
        })
    }

    /// Ends all of them; none runs when this returns.
    pub(crate) async fn end(&self) {
        self.closing.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_told_after_the_closing_is_not_acted_on() {
        let tasks = Tasks::default();
        let (teller, told) = oneshot::channel::<()>();
        let acted = Arc::new(AtomicBool::new(false));
        let marked = Arc::clone(&acted);
        let task = tasks.spawn(async move {
            // As when the task that was to tell is dropped.
            drop(told.await);
            marked.store(true, SeqCst);
        });
        tokio::task::yield_now().await;
        // Both are so when the task is polled next.
        tasks.closing.cancel();
        drop(teller);
        tasks.end().await;
        assert!(matches!(task.await, Ok(None)));
        assert!(!acted.load(SeqCst));
        // One that comes late does not begin.
        assert!(matches!(tasks.spawn(async {}).await, Ok(None)));
    }

    #[tokio::test]
    async fn what_ends_by_itself_tells_its_result() {
        let tasks = Tasks::default();
        assert!(matches!(tasks.spawn(async { 7 }).await, Ok(Some(7))));
        tasks.end().await;
    }
}
