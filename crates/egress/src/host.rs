//! Host names, parsed once and strictly.

use std::{fmt, sync::Arc};

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

impl Host {
    /// Takes a name as a client wrote it.
    pub fn parse(_text: &str) -> Result<Self, InvalidHost> {
        Err(InvalidHost::Empty)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
