//! `--mount`: a drive, and where it goes.

use std::str::FromStr;

use api::{Mount, MountMode};

/// One drive of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountOption {
    pub(crate) path: String,
    pub(crate) mount: Mount,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MountError {
    #[error("a mount is PATH=DRIVE, such as /cache=my-cache or /data=set:snapshot")]
    Malformed,
    #[error("{0:?} is no mode: ro, snapshot, or rw, which it is without one")]
    Mode(String),
}

impl FromStr for MountOption {
    type Err = MountError;

    fn from_str(text: &str) -> Result<Self, MountError> {
        // No drive's name has either of these in it, and a path may.
        let (path, drive) = text.rsplit_once('=').ok_or(MountError::Malformed)?;
        let (drive, mode) = match drive.split_once(':') {
            None | Some((_, "rw")) => (drive, MountMode::ReadWrite),
            Some((_, "ro")) => (drive, MountMode::ReadOnly),
            Some((_, "snapshot")) => (drive, MountMode::Snapshot),
            Some((_, other)) => return Err(MountError::Mode(other.to_owned())),
        };
        let drive = drive.split_once(':').map_or(drive, |(name, _)| name).to_owned();
        if !path.starts_with('/') || drive.is_empty() {
            return Err(MountError::Malformed);
        }
        Ok(Self { path: path.to_owned(), mount: Mount { drive, mode } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        for (text, expected) in [
            ("/a=d", Ok(("/a", "d", MountMode::ReadWrite))),
            ("/a=d:rw", Ok(("/a", "d", MountMode::ReadWrite))),
            ("/a=d:ro", Ok(("/a", "d", MountMode::ReadOnly))),
            ("/a=b:c/d=e:snapshot", Ok(("/a=b:c/d", "e", MountMode::Snapshot))),
            ("/a", Err(MountError::Malformed)),
            ("a=d", Err(MountError::Malformed)),
            ("=d", Err(MountError::Malformed)),
            ("/a=", Err(MountError::Malformed)),
            ("/a=:ro", Err(MountError::Malformed)),
            ("/a=d:", Err(MountError::Mode(String::new()))),
            ("/a=d:wr", Err(MountError::Mode("wr".to_owned()))),
        ] {
            let found = text.parse().map(|found: MountOption| (found.path, found.mount));
            let expected = expected.map(|(path, drive, mode)| {
                (path.to_owned(), Mount { drive: drive.to_owned(), mode })
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
