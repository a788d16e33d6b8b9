//! When an image is fetched and made: a few come at a time, and of one project never so many that the others
//! wait for a registry that is slow.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    ids::Project,
    limits::{IMAGES_AT_ONCE, IMAGES_AT_ONCE_OF_A_PROJECT},
};

#[derive(Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// Of projects that have one, or wait for one.
    of_projects: Mutex<BTreeMap<Project, Weak<Semaphore>>>,
}

/// It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) fn new() -> Self {
        let all = Arc::new(Semaphore::new(IMAGES_AT_ONCE));
        Self { all, of_projects: Mutex::default() }
    }

    /// Waits for a turn of the project's.
    pub(super) async fn take(&self, project: Project) -> Option<Turn> {
        // In this order: who waits for its own project is in nobody else's way.
        let own = self.of(project).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _own: own, _of_all: of_all })
    }

    fn of(&self, project: Project) -> Arc<Semaphore> {
        let mut projects = self.of_projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects.retain(|_, turns| turns.strong_count() > 0);
        let there = projects.get(&project).and_then(Weak::upgrade);
        there.unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(IMAGES_AT_ONCE_OF_A_PROJECT));
            projects.insert(project, Arc::downgrade(&turns));
            turns
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn project(number: usize) -> Project {
        Project::parse(&format!("p{number}")).unwrap()
    }

    #[test]
    fn of_one_project_never_so_many_that_others_wait() {
        let turns = Turns::new();
        let take = |number| turns.take(project(number)).now_or_never().flatten();
        let mut held: Vec<_> = (0..IMAGES_AT_ONCE_OF_A_PROJECT).map(|_| take(1)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(take(1).is_none(), "it has its share");
        let mut waiting = Box::pin(turns.take(project(1)));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(take(2).is_some(), "another has its own");
        held.pop();
        assert!(waiting.now_or_never().flatten().is_some());
        drop(held);
        assert!(take(3).is_some());
        assert_eq!(turns.of_projects.lock().unwrap().len(), 1, "the others are forgotten");
    }

    #[test]
    fn all_together_are_so_many() {
        let turns = Turns::new();
        let take = |number| turns.take(project(number)).now_or_never().flatten();
        let mut held: Vec<_> = (0..IMAGES_AT_ONCE).map(take).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(take(IMAGES_AT_ONCE).is_none());
        held.pop();
        assert!(take(IMAGES_AT_ONCE).is_some());
    }
}
