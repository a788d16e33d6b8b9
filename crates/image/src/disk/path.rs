//! The name of an entry, checked: relative to the root, with no way out of it.

use std::fmt;

/// As the kernel has it.
const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;

/// The components of a path below the root; none for the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreePath(Vec<String>);

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    Empty,
    LeavesRoot,
    TooLong,
    NotUtf8,
    HoldsNul,
}

impl fmt::Display for PathFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "is empty",
            Self::LeavesRoot => "leaves the root through `..`",
            Self::TooLong => "is too long",
            Self::NotUtf8 => "is not UTF-8",
            Self::HoldsNul => "holds a zero byte",
        })
    }
}

impl TreePath {
    /// Leading `/` and `./` mean the root. Any `..` is refused, even one that would stay inside.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathFault> {
        if bytes.is_empty() {
            return Err(PathFault::Empty);
        }
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathFault::TooLong);
        }
        if bytes.contains(&0) {
            return Err(PathFault::HoldsNul);
        }
        let text = str::from_utf8(bytes).or(Err(PathFault::NotUtf8))?;
        let mut names = Vec::new();
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => return Err(PathFault::LeavesRoot),
                _ if name.len() > NAME_BYTES_MAX => return Err(PathFault::TooLong),
                _ => names.push(name.to_owned()),
            }
        }
        Ok(Self(names))
    }

    /// Of names known to be good ones.
    pub(crate) fn from_names(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }

    pub(super) fn names(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "/{}", self.0.join("/"))
    }
}
