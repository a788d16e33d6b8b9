//! Tasks of one connection, on the thread that it is on.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Starts tasks that end with their connection.
#[derive(Clone, Debug)]
pub(crate) struct OfConnection(pub(crate) CancellationToken);

impl<F: Future + 'static> hyper::rt::Executor<F> for OfConnection {
    fn execute(&self, task: F) {
        let cut = self.0.clone();
        tokio::task::spawn_local(async move {
            drop(cut.run_until_cancelled(task).await);
        });
    }
}
