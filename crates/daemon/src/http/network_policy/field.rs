//! Where in a policy a fault is.

use std::fmt;

/// A policy that cannot be, and which field of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {fault}")]
pub struct InvalidPolicy {
    /// As a path in JavaScript: `networkPolicy.allow["a.com"][0].match.path`.
    pub field: String,
    pub fault: String,
}

/// A place in a policy.
#[derive(Clone, Debug)]
pub(super) struct Field(String);

impl Field {
    pub(super) fn root() -> Self {
        Self("networkPolicy".to_owned())
    }

    pub(super) fn member(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A member whose name the client made up.
    pub(super) fn key(&self, name: &str) -> Self {
        const CHARACTERS_MAX: usize = 80;
        let name: String = name.chars().take(CHARACTERS_MAX).collect();
        Self(format!("{}[{name:?}]", self.0))
    }

    pub(super) fn fault(&self, fault: impl fmt::Display) -> InvalidPolicy {
        InvalidPolicy { field: self.0.clone(), fault: fault.to_string() }
    }
}

/// The list, if it is not too long.
pub(super) fn bounded<'a, T>(
    list: &'a [T],
    max: usize,
    field: &Field,
) -> Result<&'a [T], InvalidPolicy> {
    if list.len() <= max { Ok(list) } else { Err(field.fault(format!("has more than {max}"))) }
}

/// The text, if it is not too long.
pub(super) fn short<'a>(
    text: &'a str,
    max: usize,
    field: &Field,
) -> Result<&'a str, InvalidPolicy> {
    if text.len() <= max {
        Ok(text)
    } else {
        Err(field.fault(format!("is longer than {max} bytes")))
    }
}
