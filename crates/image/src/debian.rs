//! Debian's packages, got through the host's own apt without touching what the host has installed.

use std::path::Path;

use crate::program::{APT_GET, ProgramError};

pub(crate) mod apt;

/// What kernel and default image are made from, on whatever host.
pub(crate) const SUITE: &str = "trixie";

/// Is updated by itself alone.
const UNSTABLE: &str = "sid";

/// Newer releases of the package have the first name.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// Where the packages come from, and whose signature holds for them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    archive: String,
    security: Option<String>,
    keyring: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error("Debian's keys are missing; they are in the package debian-archive-keyring")]
    Keyring,
    #[error("the host's apt has no mirror of Debian; add one to its sources")]
    NoMirror,
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl Sources {
    /// The mirrors that the host's apt uses for Debian.
    pub(crate) fn of_host() -> Result<Self, SourcesError> {
        let found = KEYRINGS.into_iter().find(|path| Path::new(path).exists());
        let keyring = found.ok_or(SourcesError::Keyring)?;
        let format = "$(LABEL)\t$(SITE)";
        let arguments = ["indextargets", "--format", format, "Created-By: Packages"];
        let targets = APT_GET.run(Path::new("/"), arguments)?;
        Self::choose(&targets, keyring).ok_or(SourcesError::NoMirror)
    }

    fn choose(targets: &str, keyring: &'static str) -> Option<Self> {
        let site = |wanted: &str| {
            let mut lines = targets.lines().filter_map(|line| line.split_once('\t'));
            // A site goes into a line of sources, so it must be one word.
            let usable = |site: &str| !site.contains(|c: char| c.is_whitespace() || c == ']');
            let found = lines.find(|(label, site)| *label == wanted && usable(site));
            found.map(|(_, site)| site.to_owned())
        };
        Some(Self { archive: site("Debian")?, security: site("Debian-Security"), keyring })
    }

    /// In the form of a `sources.list`.
    pub(crate) fn list(&self, suite: &str) -> String {
        let Self { archive, security, keyring } = self;
        let line =
            |site: &str, suite: String| format!("deb [signed-by={keyring}] {site} {suite} main\n");
        let mut list = line(archive, suite.to_owned());
        if suite == UNSTABLE {
            return list;
        }
        list += &line(archive, format!("{suite}-updates"));
        if let Some(security) = security {
            list += &line(security, format!("{suite}-security"));
        }
        list
    }
}

#[cfg(test)]
mod tests;
