//! The clock by which smoltcp goes. It waits a second at least before it sends anew what nobody
//! acknowledged, and cannot be told otherwise; Linux waits a fifth of one. On this link nothing is
//! further away than memory, so smoltcp's seconds are as short as that.

use std::time::Duration;

use smoltcp::time;

/// So many of its seconds pass in one.
const PACE: u64 = 5;

/// What is as long for smoltcp.
pub(super) const fn told(duration: Duration) -> time::Duration {
    // Some hundred thousand years fit.
    #[expect(clippy::cast_possible_truncation, reason = "all of ours are minutes at most")]
    time::Duration::from_micros(duration.as_micros() as u64 * PACE)
}

/// The moment after so long.
pub(super) fn moment(since_start: Duration) -> time::Instant {
    let micros = i64::try_from(since_start.as_micros()).ok();
    let micros = micros.and_then(|micros| micros.checked_mul(PACE.cast_signed()));
    time::Instant::from_micros(micros.unwrap_or(i64::MAX))
}

/// How long it is until that moment.
pub(super) fn since_start(moment: time::Instant) -> Duration {
    Duration::from_micros(u64::try_from(moment.total_micros()).unwrap_or_default().div_ceil(PACE))
}
