//! Patterns of host names: their text, what they match, and which of two is more specific.

use std::fmt;

use super::HostPattern;
use crate::host::{Host, InvalidHost};

/// Text that is no pattern of host names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("a * stands for a whole part of a name, as in *.example.com")]
    Star,
    #[error(transparent)]
    Host(#[from] InvalidHost),
}

impl HostPattern {
    /// Takes `api.example.com`, `*.example.com`, `www.*.com` or `*`.
    ///
    /// No pattern is refused for being wide. Whoever can get a name below `*.com`, or below
    /// `*.blob.core.windows.net`, is let in by it.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if !text.contains('*') {
            return Ok(Self::Exact(Host::parse(text)?));
        }
        let labels: Vec<&str> = text.split('.').collect();
        if labels.iter().any(|label| label.contains('*') && *label != "*") {
            return Err(InvalidPattern::Star);
        }
        let filled: Vec<&str> =
            labels.iter().map(|label| if *label == "*" { "a" } else { label }).collect();
        let host = Host::parse(&filled.join("."))?;
        let parsed: Vec<&str> = host.as_str().split('.').collect();
        let stars = labels.iter().map(|label| *label == "*");
        if parsed.len() != labels.iter().filter(|label| !label.is_empty()).count() {
            // A character that became a dot, which would move the stars.
            return Err(InvalidHost::Idn.into());
        }
        let keep = |(label, star): (&&str, bool)| (!star).then(|| (*label).to_owned());
        let labels: Vec<Option<String>> = parsed.iter().zip(stars).map(keep).collect();
        // Numbers and stars alone mean an address, and no name has that form.
        let is_number = |label: &String| label.bytes().all(|byte| byte.is_ascii_digit());
        if labels.iter().flatten().all(is_number) {
            return Err(InvalidHost::Address.into());
        }
        Ok(Self::Wild(labels))
    }

    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == host,
            Self::Wild(labels) => wild_matches(labels, host.as_str()),
        }
    }

    /// Greater is more specific: an exact name, then a pattern by the number of its parts that are
    /// not `*`. Equal is decided by which was written first.
    #[must_use]
    pub fn specificity(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Exact(_) => usize::MAX,
            Self::Wild(labels) => labels.iter().flatten().count(),
        }
    }
}

/// Compares from the right, where both are anchored.
fn wild_matches(labels: &[Option<String>], name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let (first, rest) = match labels.split_first() {
        Some((None, rest)) => (None, rest),
        Some((Some(_), _)) | None => (Some(()), labels),
    };
    let same = |label: &Option<String>, part: &str| label.as_ref().is_none_or(|text| text == part);
    let fits = rest.iter().rev().all(|label| parts.next().is_some_and(|part| same(label, part)));
    match first {
        None => fits && parts.next().is_some(),
        Some(()) => fits && parts.next().is_none(),
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => host.fmt(f),
            Self::Wild(labels) => {
                for (index, label) in labels.iter().enumerate() {
                    let dot = if index == 0 { "" } else { "." };
                    write!(f, "{dot}{}", label.as_deref().unwrap_or("*"))?;
                }
                Ok(())
            }
        }
    }
}
