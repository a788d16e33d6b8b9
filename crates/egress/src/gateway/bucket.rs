//! How often something may happen.

use tokio::time::Instant;

/// Fills up evenly, and each thing that happens takes one out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    capacity: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// Full at first: `capacity` may happen at once, and then this many a second.
    #[must_use]
    pub(crate) fn new(capacity: u32, per_second: f64, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self { capacity, per_second, left: capacity, at: now }
    }

    /// Whether one more may happen now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let may = 1.0 <= self.left;
        if may {
            self.left -= 1.0;
        }
        may
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = self.capacity.min(self.left + passed * self.per_second);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_evenly() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2.0, start);
        let taken = |bucket: &mut Bucket, after: u64| {
            let now = start + Duration::from_millis(after);
            (0..10).filter(|_| bucket.take(now)).count()
        };
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 499), 0);
        assert_eq!(taken(&mut bucket, 1000), 2);
        assert_eq!(taken(&mut bucket, 3_600_000), 3);
    }
}
