//! Host names, parsed once and strictly.

use std::{borrow::Cow, fmt, net::Ipv6Addr, sync::Arc};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};

/// The name of a host: lower case, ASCII (IDN in its `xn--` form), without a dot at its end, and
/// never an IP address in any spelling.
///
/// Two names are the same host exactly if they are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Arc<str>);

/// Text that is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    #[error("a host name cannot be empty")]
    Empty,
    #[error("a host name has at most 253 characters, and 63 between two dots")]
    TooLong,
    #[error("a host name cannot hold {0:?}")]
    Character(char),
    #[error("a part of a host name is empty, or begins or ends with a hyphen")]
    Label,
    #[error("an IP address is not a host name")]
    Address,
    #[error("the international name has no ASCII form")]
    Idn,
}

/// Longest name in bytes, without the dot at its end (RFC 1035 counts 255 with its framing).
const BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Longest text that is looked at. An international name is longer than its ASCII form, though
/// never four times.
const TEXT_BYTES_MAX: usize = 4 * BYTES_MAX;

impl Host {
    /// Takes a name as a person wrote it: in any case, international or not.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(InvalidHost::TooLong);
        }
        if text.is_ascii() {
            return Self::parse_ascii(text);
        }
        // What ASCII holds beside letters is refused first, so that the message can name it.
        text.chars().filter(char::is_ascii).try_for_each(check_character)?;
        Self::parse_ascii(&international(text)?)
    }

    /// Takes a name off the wire (DNS, SNI, `Host`), where none but ASCII is lawful. No name is
    /// mapped to another here but for its case and one dot at its end.
    pub fn parse_ascii(text: &str) -> Result<Self, InvalidHost> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(InvalidHost::TooLong);
        }
        if text.starts_with('[') || text.parse::<Ipv6Addr>().is_ok() {
            return Err(InvalidHost::Address);
        }
        text.chars().try_for_each(check_character)?;
        text.split('.').try_for_each(check_label)?;
        if text.rsplit('.').next().is_some_and(is_number) {
            return Err(InvalidHost::Address);
        }
        let lower = text.to_ascii_lowercase();
        // An A-label must be one: it decodes, and to what would be encoded so again.
        if lower.split('.').any(|label| label.starts_with("xn--"))
            && international(&lower)? != lower
        {
            return Err(InvalidHost::Idn);
        }
        Ok(Self(lower.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The ASCII form of an international name.
fn international(text: &str) -> Result<Cow<'_, str>, InvalidHost> {
    Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore)
        .or(Err(InvalidHost::Idn))
}

fn check_character(character: char) -> Result<(), InvalidHost> {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => Ok(()),
        other => Err(InvalidHost::Character(other)),
    }
}

fn check_label(label: &str) -> Result<(), InvalidHost> {
    if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
        Err(InvalidHost::Label)
    } else if label.len() > LABEL_BYTES_MAX {
        Err(InvalidHost::TooLong)
    } else {
        Ok(())
    }
}

/// Whether a name that ends with this label is an IPv4 address, in decimal, octal or hexadecimal
/// and of one to four parts (the rule of the WHATWG: no top-level domain is a number).
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hexadecimal.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || label.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Host {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        Self::parse(&text)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests;
