//! Amounts of bytes as people write and read them.

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    #[error("a size is a number and K, M, G or T, such as 500M or 20G")]
    Malformed,
    #[error("it is too large")]
    TooLarge,
}

const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// Reads `0`, `1000000`, `500M`, `20G`; a K is 1024.
pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    let unit = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(*unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SizeError::Malformed);
    }
    let number: u64 = number.parse().map_err(|_too_large| SizeError::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(SizeError::TooLarge)
}

/// With one digit after the point, in the largest unit that it has one of.
pub(crate) fn short(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >> shift > 0);
    let Some((name, shift)) = unit else { return format!("{bytes} B") };
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("17", Ok(17)),
            ("1K", Ok(1024)),
            ("500M", Ok(500 << 20)),
            ("20G", Ok(20 << 30)),
            ("3T", Ok(3 << 40)),
            ("", Err(SizeError::Malformed)),
            ("G", Err(SizeError::Malformed)),
            ("1KK", Err(SizeError::Malformed)),
            ("-1G", Err(SizeError::Malformed)),
            ("1.5G", Err(SizeError::Malformed)),
            ("1GiB", Err(SizeError::Malformed)),
            ("99999999999999999999", Err(SizeError::TooLarge)),
            ("99999999T", Err(SizeError::TooLarge)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_written() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (1 << 40, "1024.0 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(short(bytes), expected);
        }
    }
}
