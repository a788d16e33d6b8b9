//! Which of the machines that an image is made for is this one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::descriptor::Descriptor;
use super::manifest::Index;
use crate::architecture::Architecture;

/// What a person is shown of a list.
const SHOWN_MAX: usize = 40;

/// In Go's words: `linux`, `arm64`, `v8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    #[error("the image is not made for {wanted}, but for {found}")]
    Other { wanted: Platform, found: String },
    #[error("the index lists no images")]
    Empty,
}

impl Platform {
    /// That of the guests.
    pub fn of(architecture: Architecture) -> Self {
        Self { os: "linux".to_owned(), architecture: go_name(architecture), variant: None }
    }

    /// Whether what is made for `self` runs on `host`. Where nothing is said, it is believed to.
    pub(crate) fn suits(&self, host: &Self) -> bool {
        let same = |ours: &str, theirs: &str| ours.is_empty() || ours.eq_ignore_ascii_case(theirs);
        same(&self.os, &host.os) && same(usual(&self.architecture), &host.architecture)
    }

    /// `v1` of `amd64` is what every processor of the kind can do.
    fn level(&self) -> &str {
        self.variant.as_deref().filter(|variant| *variant != "v1").unwrap_or_default()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(out, "/{variant}"))
    }
}

/// Some tools write the kernel's name for it.
fn usual(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        other => other,
    }
}

fn go_name(architecture: Architecture) -> String {
    match architecture {
        Architecture::X86_64 => "amd64".to_owned(),
    }
}

/// The manifest in an index for this architecture: of several the one that asks least of the
/// processor, and of these the first. A single one that says nothing is taken.
pub fn choose(index: &Index, architecture: Architecture) -> Result<&Descriptor, PlatformError> {
    let wanted = Platform::of(architecture);
    let is_for = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|platform| !platform.architecture.is_empty() && platform.suits(&wanted))
    };
    let level =
        |entry: &&Descriptor| entry.platform.as_ref().map(|platform| platform.level().to_owned());
    if let Some(found) = index.manifests.iter().filter(is_for).min_by_key(level) {
        return Ok(found);
    }
    match index.manifests.as_slice() {
        [] => Err(PlatformError::Empty),
        [only] if only.platform.is_none() => Ok(only),
        entries => Err(PlatformError::Other { wanted, found: list(entries) }),
    }
}

fn list(entries: &[Descriptor]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for entry in entries {
        let text = entry.platform.as_ref().map_or("unknown".to_owned(), Platform::to_string);
        let text: String = text.chars().take(SHOWN_MAX).collect();
        if !shown.contains(&text) && shown.len() < SHOWN_MAX {
            shown.push(text);
        }
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
