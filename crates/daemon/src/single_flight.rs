//! Work that many ask for and one does: who comes while it is under way waits for its outcome.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

/// Outcomes by key. A success is kept; after a failure the next one to ask tries anew.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, T> {
    cells: Mutex<HashMap<K, Arc<OnceCell<T>>>>,
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self { cells: Mutex::default() }
    }
}

impl<K: Eq + Hash, T: Clone> SingleFlight<K, T> {
    pub(crate) async fn get<E>(
        &self,
        key: K,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.get_or_try_init(|| work).await.cloned()
    }

    /// Forgets an outcome that is no longer true.
    pub(crate) fn forget(&self, key: &K) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn two_callers_at_once_do_it_once() {
        let (flight, runs) = (SingleFlight::<u8, u32>::default(), AtomicU32::new(0));
        let work = || async {
            tokio::task::yield_now().await;
            Ok::<_, ()>(runs.fetch_add(1, Ordering::SeqCst))
        };
        assert_eq!(tokio::join!(flight.get(1, work()), flight.get(1, work())), (Ok(0), Ok(0)));
        assert_eq!(flight.get(2, work()).await, Ok(1), "another key is other work");
        flight.forget(&1);
        assert_eq!(flight.get(1, work()).await, Ok(2));
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let flight = SingleFlight::<u8, u32>::default();
        assert_eq!(flight.get(1, async { Err("broken") }).await, Err("broken"));
        assert_eq!(flight.get(1, async { Ok::<_, &str>(5) }).await, Ok(5));
    }
}
