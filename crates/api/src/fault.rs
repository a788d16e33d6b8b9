//! What is wrong with JSON, for who has written it.

/// A fault of the parser's, with what JSON has for what Rust has.
#[must_use]
pub fn fault_in_words(fault: &str) -> String {
    // What was given comes before, and may have these words too.
    let Some((before, expected)) = fault.rsplit_once(", expected ") else {
        return fault.to_owned();
    };
    let (what, place) = match expected.rfind(" at line ") {
        Some(at) => expected.split_at(at),
        None => (expected, ""),
    };
    let number = |max: u64| format!("a whole number from 0 to {max}");
    let what = match what {
        "u8" => number(u8::MAX.into()),
        "u16" => number(u16::MAX.into()),
        "u32" => number(u32::MAX.into()),
        "u64" | "usize" => number(u64::MAX),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    };
    format!("{before}, expected {what}{place}")
}
