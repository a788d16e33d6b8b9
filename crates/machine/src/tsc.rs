//! How fast this host's time stamp counter runs.
//!
//! Under TCG the guest reads the host's counter, and the only way a `microvm` guest has to find its
//! rate is to race it against the PIT, which under load goes wrong: then the guest has no clock at
//! all and hangs before its first timer tick. So it is told.

use std::{sync::OnceLock, time::Duration};

use crate::sys::tsc_and_clock;

const MEASURED_FOR: Duration = Duration::from_millis(20);

/// Kilohertz; measured once in the life of this process.
pub(crate) fn khz() -> u64 {
    static KHZ: OnceLock<u64> = OnceLock::new();
    *KHZ.get_or_init(|| measure(MEASURED_FOR))
}

fn measure(duration: Duration) -> u64 {
    let (first, started) = tsc_and_clock();
    loop {
        let (last, now) = tsc_and_clock();
        let elapsed = now.saturating_sub(started);
        if u128::from(elapsed) >= duration.as_nanos() {
            let ticks = u128::from(last.wrapping_sub(first));
            return u64::try_from(ticks * 1_000_000 / u128::from(elapsed)).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (one, two) = (measure(MEASURED_FOR), measure(MEASURED_FOR));
        assert!(one > 100_000, "{one} kHz");
        assert!(one.abs_diff(two) * 10_000 < one, "{one} kHz and {two} kHz");
    }
}
