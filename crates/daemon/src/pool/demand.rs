//! How many machines of each kind are worth keeping ready, by what was asked for lately.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

/// A kind that nobody has asked for in so long is not kept.
const KEPT: Duration = Duration::from_secs(600);
/// As many are kept as were asked for in so long, and one at least.
const RUSH: Duration = Duration::from_secs(30);

/// When each kind was asked for, the latest last.
#[derive(Debug)]
pub(super) struct Demand<K> {
    size: usize,
    asked: HashMap<K, Vec<Instant>>,
}

impl<K: Clone + Eq + Hash> Demand<K> {
    /// For at most so many machines of all kinds.
    pub(super) fn new(size: usize) -> Self {
        Self { size, asked: HashMap::new() }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn note(&mut self, kind: &K, now: Instant) {
        if self.size == 0 {
            return;
        }
        let times = self.asked.entry(kind.clone()).or_default();
        if times.len() == self.size {
            times.remove(0);
        }
        times.push(now);
    }

    /// Until it is asked for again.
    pub(super) fn forget(&mut self, kind: &K) {
        self.asked.remove(kind);
    }

    /// All of these, likewise.
    pub(super) fn forget_where(&mut self, is_meant: impl Fn(&K) -> bool) {
        self.asked.retain(|kind, _| !is_meant(kind));
    }

    /// How many of each kind, the kind that was asked for last first. Each gets one before any gets a
    /// second.
    pub(super) fn wanted(&mut self, now: Instant) -> Vec<(K, usize)> {
        let age = |time: &Instant| now.saturating_duration_since(*time);
        self.asked.retain(|_, times| times.last().is_some_and(|last| age(last) < KEPT));
        let mut kinds: Vec<_> = self.asked.iter().collect();
        kinds.sort_by_key(|(_, times)| times.last().map(&age));
        let mut wanted: Vec<_> =
            kinds.iter().take(self.size).map(|(kind, _)| ((*kind).clone(), 1)).collect();
        let mut left = self.size - wanted.len();
        for ((_, count), (_, times)) in wanted.iter_mut().zip(&kinds) {
            let rush = times.iter().filter(|time| age(time) < RUSH).count();
            let more = rush.saturating_sub(1).min(left);
            *count += more;
            left -= more;
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wanted, in a pool of this size, at 1000 seconds, after these were asked for.
    fn wanted(size: usize, asked: &[(char, u64)]) -> String {
        let began = Instant::now();
        let mut demand = Demand::new(size);
        for (kind, second) in asked {
            demand.note(kind, began + Duration::from_secs(*second));
        }
        let wanted = demand.wanted(began + Duration::from_secs(1000));
        wanted.iter().map(|(kind, count)| format!("{kind}{count}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn as_many_as_were_asked_for_lately() {
        type Asked<'a> = &'a [(char, u64)];
        let table: [(usize, Asked<'_>, &str); 9] = [
            (4, &[], ""),
            (0, &[('a', 999)], ""),
            (4, &[('a', 999)], "a1"),
            (4, &[('a', 401)], "a1"),
            (4, &[('a', 400)], ""),
            (4, &[('a', 900), ('a', 980), ('a', 990), ('a', 995)], "a3"),
            (4, &[('a', 991), ('a', 992), ('a', 993), ('a', 994), ('a', 995)], "a4"),
            (3, &[('a', 990), ('a', 991), ('a', 992), ('b', 995)], "b1 a2"),
            (2, &[('a', 990), ('b', 991), ('c', 992)], "c1 b1"),
        ];
        for (size, asked, expected) in table {
            assert_eq!(wanted(size, asked), expected, "{size} {asked:?}");
        }
    }
}
