//! How much names may say. A name reaches servers that the guest chooses the name for, so names that
//! a pattern allows are limited in how many different ones are asked for; the policy limits their length.

use std::{cell::RefCell, collections::HashSet, collections::VecDeque};

use tokio::time::Instant;

use crate::{gateway::bucket::Bucket, host::Host};

/// Different names at once, and a second.
const NEW_NAMES: (u32, f64) = (200, 2.0);
/// Names that were asked for lately may be asked for again.
const KNOWN_MAX: usize = 2048;

/// What has been asked for.
#[derive(Debug)]
pub(crate) struct NameLimits(RefCell<State>);

#[derive(Debug)]
struct State {
    new: Bucket,
    known: HashSet<Host>,
    order: VecDeque<Host>,
}

impl Default for NameLimits {
    fn default() -> Self {
        let new = Bucket::new(NEW_NAMES.0, NEW_NAMES.1, Instant::now());
        Self(RefCell::new(State { new, known: HashSet::new(), order: VecDeque::new() }))
    }
}

impl NameLimits {
    /// Whether this name may be sent on, of those that a pattern allows.
    pub(crate) fn allow(&self, host: &Host) -> bool {
        let mut state = self.0.borrow_mut();
        if state.known.contains(host) {
            return true;
        }
        if !state.new.take(Instant::now()) {
            return false;
        }
        if state.order.len() == KNOWN_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
        state.order.push_back(host.clone());
        state.known.insert(host.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_are_held_back() {
        let limits = NameLimits::default();
        assert!(limits.allow(&host("a.test")));
        let allowed = |from: u32, to: u32| {
            (from..to).filter(|n| limits.allow(&host(&format!("n{n}.test")))).count()
        };
        assert_eq!(allowed(0, 1000), 199);
        assert_eq!(allowed(0, 199), 199, "what is known is not new");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(allowed(1000, 2000), 20);
    }
}
