//! The name of a blob: the SHA-256 of its bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

const BYTES: usize = 32;
/// Longer ones are not even shown in full.
const SHOWN_MAX: usize = 80;

/// As text it is `sha256:` and 64 lower-case hexadecimal digits. Other algorithms are refused, since
/// what cannot be checked cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; BYTES]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestFault {
    #[error("{shown:?} is not a digest")]
    Form { shown: String },
    #[error("the digest {shown:?} is not a SHA-256, which is the only one that is supported")]
    Algorithm { shown: String },
}

impl Digest {
    /// That of the bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) fn finish(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// The digits alone, which are its name as a file.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(2 * BYTES), |mut text, byte| {
            for digit in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
            }
            text
        })
    }

    /// Of 64 lower-case digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        if text.len() != 2 * BYTES {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
            *byte = digits.iter().try_fold(0, |sum, digit| match digit {
                b'0'..=b'9' => Some(sum << 4 | (digit - b'0')),
                b'a'..=b'f' => Some(sum << 4 | (digit - b'a' + 10)),
                _ => None,
            })?;
        }
        Some(Self(bytes))
    }
}

impl FromStr for Digest {
    type Err = DigestFault;

    fn from_str(text: &str) -> Result<Self, DigestFault> {
        let shown = || text.chars().take(SHOWN_MAX).collect();
        let (algorithm, digits) =
            text.split_once(':').ok_or_else(|| DigestFault::Form { shown: shown() })?;
        if algorithm != "sha256" {
            return Err(DigestFault::Algorithm { shown: shown() });
        }
        Self::from_hex(digits).ok_or_else(|| DigestFault::Form { shown: shown() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_read_back_and_nothing_else_is_taken() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let digits = digest.hex();
        for bad in ["", "sha256", "sha256:", &digits, &text.to_uppercase(), &format!("{text}0")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let upper = format!("sha256:{}", digits.to_uppercase());
        assert!(matches!(upper.parse::<Digest>(), Err(DigestFault::Form { .. })));
        let other = format!("sha512:{digits}{digits}").parse::<Digest>();
        assert!(matches!(other, Err(DigestFault::Algorithm { .. })));
        let path = format!("sha256:../../{}", &digits[6..]);
        assert!(path.parse::<Digest>().is_err());
    }
}
