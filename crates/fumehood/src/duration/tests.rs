//! What is a duration and what is not.

use super::*;

#[test]
fn what_people_write() {
    for (text, ms) in [
        ("90s", Ok(90_000)),
        ("5m", Ok(300_000)),
        ("2h", Ok(7_200_000)),
        ("1h30m", Ok(5_400_000)),
        ("1h0m5s10ms", Ok(3_605_010)),
        ("500ms", Ok(500)),
        ("30d", Ok(2_592_000_000)),
        ("1d1h", Ok(90_000_000)),
        ("", Err(DurationError::Malformed)),
        ("s", Err(DurationError::Malformed)),
        ("5 m", Err(DurationError::Malformed)),
        ("-5m", Err(DurationError::Malformed)),
        ("1.5h", Err(DurationError::Malformed)),
        ("5min", Err(DurationError::Malformed)),
        ("1h5", Err(DurationError::Malformed)),
        ("5mé", Err(DurationError::Malformed)),
        ("300", Err(DurationError::NoUnit(300))),
        ("5s1m", Err(DurationError::Order)),
        ("1m1m", Err(DurationError::Order)),
        ("0s", Err(DurationError::Zero)),
        ("99999999999999999999s", Err(DurationError::TooLong)),
        ("18446744073709551615h", Err(DurationError::TooLong)),
        ("18446744073709551615ms1ms", Err(DurationError::Order)),
    ] {
        assert_eq!(parse(text).map(millis), ms, "{text:?}");
    }
}

#[test]
fn what_people_read() {
    for (seconds, text) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3660, "1h01m"),
        (90_000, "1d01h"),
    ] {
        assert_eq!(short(Duration::from_secs(seconds)), text);
    }
}
