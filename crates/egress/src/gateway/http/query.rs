//! The query of a URL, pair by pair; what is not changed stays as it was written.

use zeroize::Zeroizing;

use crate::policy::loose_key;

/// The query without the pairs whose keys are of a kind; keys are compared decoded and in lower case, and
/// as servers have them that overlook blanks and brackets, or read `.` as `_`. Pairs are parted by `&`,
/// and for some servers by `;`. `None` if there are none.
pub(crate) fn without(text: &str, is_one: impl Fn(&str) -> bool) -> Option<String> {
    let goes = |pair: &&str| {
        let pair = pair.trim_end_matches(['&', ';']);
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        let key = decoded(key).to_ascii_lowercase();
        let bare = key.split(['[', '\0']).next().unwrap_or_default().trim();
        is_one(&key) || is_one(bare) || is_one(&loose_key(bare))
    };
    let pairs = || text.split_inclusive(['&', ';']);
    pairs().any(|pair| goes(&pair)).then(|| {
        let mut kept: String = pairs().filter(|pair| !goes(pair)).collect();
        // What parted the last one from what is gone.
        kept.truncate(kept.trim_end_matches(['&', ';']).len());
        kept
    })
}

/// The query with the one pair of this key in place of all others.
pub(crate) fn with(text: Option<&str>, key: &str, value: &str) -> Zeroizing<String> {
    let lower = key.to_ascii_lowercase();
    let text = text.unwrap_or_default();
    let kept = without(text, |other| other == lower).unwrap_or_else(|| text.to_owned());
    let mut query = Zeroizing::new(kept);
    if !query.is_empty() {
        query.push('&');
    }
    encode(key, &mut query);
    query.push('=');
    encode(value, &mut query);
    query
}

/// Percent-encodes all but the unreserved characters.
fn encode(text: &str, into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if is_unreserved(byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(DIGITS[usize::from(byte >> 4)]));
            into.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Characters that mean the same encoded and not (RFC 3986, 2.3).
pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that the text begins with in percent-encoding, if it does.
pub(crate) fn encoded_byte(text: &[u8]) -> Option<u8> {
    let &[b'%', high, low] = text.first_chunk::<3>()? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (encoded_byte(&bytes[at..]), byte) {
            (Some(byte), _) => {
                out.push(byte);
                at += 2;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_takes_the_place_of_all_alike() {
        for (text, expected) in [
            (None, "key=a%26b%20%2B%C3%A9"),
            (Some(""), "key=a%26b%20%2B%C3%A9"),
            (Some("x=1&key=old&KEY=older&%6bey=oldest"), "x=1&key=a%26b%20%2B%C3%A9"),
        ] {
            assert_eq!(*with(text, "key", "a&b +\u{e9}"), expected);
        }
    }
}
