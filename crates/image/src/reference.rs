//! What a user names an image by: a name in a registry as Docker reads it, a file or folder here,
//! a release of Debian, or the default image.
//!
//! Parsing is pure and total: it looks at no file and takes any text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::oci::digest::Digest;

mod grammar;

/// The registry of names that name none.
pub const DOCKER_HUB: &str = "docker.io";
/// The tag of names that have neither tag nor digest.
pub const LATEST: &str = "latest";
/// Nobody needs longer ones; a path of the host has 4096 at most.
const TEXT_BYTES_MAX: usize = 4096 + 256;
/// As the distribution specification has it, for registry and repository together.
const NAME_BYTES_MAX: usize = 255;

/// An image by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// The one that `fumehood setup` makes.
    Default,
    /// Made of packages, for `fumehood image build`.
    Builder,
    /// Made of a release's packages.
    Debian(Suite),
    Registry(Remote),
    Local(Local),
}

/// A release of Debian that images are made of, by its code name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    Bookworm,
    Trixie,
    Forky,
    Sid,
}

/// An image in a registry, its name spelt out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// An image in a file or folder of this computer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Local {
    pub form: LocalForm,
    pub path: PathBuf,
    /// Which image, where there are several.
    pub tag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalForm {
    /// Whatever is found at the path.
    Found,
    /// A folder in OCI's image layout.
    Layout,
    /// Such a folder as a tar file.
    LayoutArchive,
    /// What `docker save` writes.
    DockerArchive,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("an image needs a name")]
    Empty,
    #[error("an image's name has {NAME_BYTES_MAX} bytes at most")]
    TooLong,
    #[error("{0:?} names no image: a repository has lowercase letters only")]
    Uppercase(String),
    #[error(
        "{0:?} names no image: it may be REPOSITORY[:TAG][@sha256:DIGEST], ./FILE, oci:FOLDER, \
         debian:SUITE or default"
    )]
    Name(String),
    #[error("{0:?} is no tag: letters, digits, _ . and -, 128 at most, the first no . or -")]
    Tag(String),
    #[error("{0:?} is no digest: sha256: and 64 hexadecimal digits")]
    Digest(String),
    #[error("{0:?} is no registry")]
    Registry(String),
    #[error("{0:?} is the digits of a digest; write it as NAME@sha256:DIGITS")]
    BareDigest(String),
    #[error("{0} needs a path")]
    NoPath(&'static str),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
            return Err(ReferenceError::TooLong);
        }
        if text == crate::recipe::NAME {
            return Ok(Self::Default);
        }
        if text == crate::recipe::BUILDER {
            return Ok(Self::Builder);
        }
        if let Some(local) = Local::parse(text)? {
            return Ok(Self::Local(local));
        }
        if let Some(suite) = text.strip_prefix("debian:").and_then(Suite::named) {
            return Ok(Self::Debian(suite));
        }
        text.parse().map(Self::Registry)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str(crate::recipe::NAME),
            Self::Builder => out.write_str(crate::recipe::BUILDER),
            Self::Debian(suite) => write!(out, "debian:{}", suite.name()),
            Self::Registry(remote) => remote.fmt(out),
            Self::Local(local) => local.fmt(out),
        }
    }
}

impl Suite {
    pub const ALL: [Self; 4] = [Self::Bookworm, Self::Trixie, Self::Forky, Self::Sid];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
            Self::Sid => "sid",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }
}

impl Remote {
    /// Host and port as in the name, `docker.io` where it had none.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// None only beside a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// What the image is pinned to.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a registry is asked for: the digest, if there is one.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// As short as people write it, and still the same image.
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let Some(rest) = whole.strip_prefix("docker.io/") else { return whole };
        let short = rest.strip_prefix("library/").unwrap_or(rest);
        let is_same = short.parse() == Ok(Reference::Registry(self.clone()));
        if is_same { short.to_owned() } else { whole }
    }

    fn check(self, text: &str) -> Result<Self, ReferenceError> {
        if self.registry.len() + 1 + self.repository.len() > NAME_BYTES_MAX {
            return Err(ReferenceError::TooLong);
        }
        if !grammar::is_registry(&self.registry) {
            return Err(ReferenceError::Registry(self.registry));
        }
        if grammar::is_repository(&self.repository) {
            return Ok(self);
        }
        let lower = self.repository.to_ascii_lowercase();
        if lower != self.repository && grammar::is_repository(&lower) {
            return Err(ReferenceError::Uppercase(self.repository));
        }
        Err(ReferenceError::Name(text.to_owned()))
    }
}

impl FromStr for Remote {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let parsed = digest.parse::<Digest>();
                (name, Some(parsed.map_err(|_fault| ReferenceError::Digest(digest.to_owned()))?))
            }
            None => (text, None),
        };
        // A colon before the last slash is a port's.
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            Some(_) | None => (name, None),
        };
        if let Some(tag) = tag.filter(|tag| !grammar::is_tag(tag)) {
            return Err(ReferenceError::Tag(tag.to_owned()));
        }
        if grammar::is_bare_digest(path) {
            return Err(ReferenceError::BareDigest(path.to_owned()));
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if grammar::names_a_registry(first) => (first, rest),
            Some(_) | None => (DOCKER_HUB, path),
        };
        // In small letters, unless its capital ones are all that says that it is a registry.
        let lower = Some(registry.to_ascii_lowercase());
        let lower = lower.filter(|lower| grammar::names_a_registry(lower));
        let registry = match lower.unwrap_or_else(|| registry.to_owned()) {
            index if index == "index.docker.io" => DOCKER_HUB.to_owned(),
            registry => registry,
        };
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let tag = tag.or_else(|| digest.is_none().then_some(LATEST)).map(str::to_owned);
        // In small letters, unless its capital ones are all that says that it is a registry.
        let lower = registry.to_ascii_lowercase();
        let registry = if grammar::names_a_registry(&lower) { lower } else { registry.to_owned() };
        Self { registry, repository, tag, digest }.check(text)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(out, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(out, "@{digest}")?;
        }
        Ok(())
    }
}

impl Local {
    /// None for what names an image elsewhere.
    fn parse(text: &str) -> Result<Option<Self>, ReferenceError> {
        let forms = [
            ("oci:", LocalForm::Layout),
            ("oci-archive:", LocalForm::LayoutArchive),
            ("docker-archive:", LocalForm::DockerArchive),
        ];
        for (prefix, form) in forms {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            let (path, tag) = grammar::path_and_tag(rest);
            if path.is_empty() {
                return Err(ReferenceError::NoPath(prefix));
            }
            let (path, tag) = (PathBuf::from(path), tag.map(str::to_owned));
            return Ok(Some(Self { form, path, tag }));
        }
        let is_path = text.starts_with('/')
            || matches!(text, "." | "..")
            || text.starts_with("./")
            || text.starts_with("../");
        Ok(is_path.then(|| Self { form: LocalForm::Found, path: PathBuf::from(text), tag: None }))
    }

    /// The same with its path below `folder`, unless it is absolute.
    pub fn from_folder(self, folder: &Path) -> Self {
        // Without `.`, so that one path has one name.
        Self { path: folder.join(&self.path).components().collect(), ..self }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.form {
            LocalForm::Found => "",
            LocalForm::Layout => "oci:",
            LocalForm::LayoutArchive => "oci-archive:",
            LocalForm::DockerArchive => "docker-archive:",
        };
        write!(out, "{prefix}{}", self.path.display())?;
        if let Some(tag) = &self.tag {
            write!(out, ":{tag}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
