//! Durations as people write them.

use std::time::Duration;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("a duration is numbers with units, such as 90s, 5m, 1h30m or 2d")]
    Malformed,
    #[error("it lacks a unit; {0}s are seconds")]
    NoUnit(u64),
    #[error("units go from large to small, each at most once: d, h, m, s, ms")]
    Order,
    #[error("it is too long")]
    TooLong,
    #[error("it is zero")]
    Zero,
}

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `90s`, `5m`, `2h`, `1h30m`, `500ms`, `2d`.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut total_ms = 0_u64;
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after, |byte| byte.is_ascii_alphabetic());
        if number.is_empty() {
            return Err(DurationError::Malformed);
        }
        let Ok(number) = number.parse::<u64>() else { return Err(DurationError::TooLong) };
        if unit.is_empty() {
            let whole = rest == text && after.is_empty();
            return Err(if whole {
                DurationError::NoUnit(number)
            } else {
                DurationError::Malformed
            });
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(DurationError::Malformed);
        }
        let at = units.iter().position(|(name, _)| *name == unit).ok_or(DurationError::Order)?;
        let part = number.checked_mul(units[at].1).ok_or(DurationError::TooLong)?;
        total_ms = total_ms.checked_add(part).ok_or(DurationError::TooLong)?;
        units = &units[at + 1..];
        rest = after;
    }
    match total_ms {
        0 if text.is_empty() => Err(DurationError::Malformed),
        0 => Err(DurationError::Zero),
        ms => Ok(Duration::from_millis(ms)),
    }
}

/// Milliseconds, as the API counts.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A span as a person takes it in: its largest unit, and the next one where it matters.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests;
