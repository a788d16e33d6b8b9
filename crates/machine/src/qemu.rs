//! The QEMU of this host.

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What is known to do all that is asked of it.
const NEEDED: Version = Version { major: 10, minor: 0, micro: 0 };
const NAME: &str = "qemu-system-x86_64";

/// QEMU's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// An emulator that was found and is recent enough.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    version: Version,
    build: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(
        "{program} was not found; on Debian 12 it comes with: \
         apt install -t bookworm-backports qemu-system-x86 qemu-utils"
    )]
    Absent { program: String },
    #[error("{program} does not run")]
    DoesNotRun { program: PathBuf, source: std::io::Error },
    #[error("{program} does not say its version")]
    NoVersion { program: PathBuf },
    #[error(
        "{program} is version {found}, and 10.0 is needed; on Debian 12 it comes with: \
         apt install -t bookworm-backports qemu-system-x86 qemu-utils"
    )]
    TooOld { program: PathBuf, found: Version },
}

impl Qemu {
    /// Finds `qemu-system-x86_64` in the path, or at `program`.
    pub async fn find(program: Option<&Path>) -> Result<Self, FindError> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => in_path(NAME).ok_or_else(|| FindError::Absent { program: NAME.to_owned() })?,
        };
        let output = tokio::process::Command::new(&program)
            .arg("--version")
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| {
                if source.kind() == std::io::ErrorKind::NotFound {
                    return FindError::Absent { program: program.display().to_string() };
                }
                FindError::DoesNotRun { program: program.clone(), source }
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().next().unwrap_or_default();
        let version =
            version_in(first).ok_or_else(|| FindError::NoVersion { program: program.clone() })?;
        if version < NEEDED {
            return Err(FindError::TooOld { program, found: version });
        }
        let build = build_of(&program, first)
            .map_err(|source| FindError::DoesNotRun { program: program.clone(), source })?;
        Ok(Self { program, version, build })
    }

    #[cfg(test)]
    pub(crate) fn pretended(build: &str) -> Self {
        Self { program: "/nonexistent".into(), version: NEEDED, build: build.to_owned() }
    }

    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Changes when the program does: path, size, modification time, version.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.build
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn version_in(line: &str) -> Option<Version> {
    let (_, rest) = line.split_once("version ")?;
    let word = rest.split_whitespace().next()?;
    let mut numbers = word.split('.').map(str::parse);
    let mut number = || numbers.next()?.ok();
    Some(Version { major: number()?, minor: number()?, micro: number().unwrap_or(0) })
}

fn build_of(program: &Path, version: &str) -> std::io::Result<String> {
    let program = program.canonicalize()?;
    let meta = program.metadata()?;
    let (size, seconds, nanos) = (meta.size(), meta.mtime(), meta.mtime_nsec());
    Ok(format!("{version} {} {size} {seconds}.{nanos:09}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let table = [
            ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)", Some((10, 0, 2))),
            ("QEMU emulator version 9.2.0", Some((9, 2, 0))),
            ("QEMU emulator version 11.0", Some((11, 0, 0))),
            ("QEMU emulator version", None),
            ("version x.y", None),
            ("", None),
        ];
        for (line, expected) in table {
            let found = version_in(line).map(|v| (v.major, v.minor, v.micro));
            assert_eq!(found, expected, "{line}");
        }
    }

    /// A program that runs this script. A process of its own writes it: while a file is open for writing here, a
    /// child that another test has just forked holds it too, and it cannot be run ("text file busy").
    fn pretend(folder: &Path, script: &str) -> PathBuf {
        let program = folder.join("qemu");
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", write, "sh", script]).arg(&program);
        assert!(shell.status().unwrap().success());
        program
    }

    #[tokio::test]
    async fn what_is_not_there_or_too_old_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let absent = Qemu::find(Some(&folder.path().join("none"))).await.unwrap_err();
        assert!(absent.to_string().contains("apt install -t bookworm-backports"), "{absent}");
        let old = pretend(folder.path(), "echo QEMU emulator version 7.2.22");
        let old = Qemu::find(Some(&old)).await.unwrap_err();
        assert!(matches!(old, FindError::TooOld { .. }), "{old}");
        let silent = pretend(folder.path(), "exit 0");
        let silent = Qemu::find(Some(&silent)).await.unwrap_err();
        assert!(matches!(silent, FindError::NoVersion { .. }), "{silent}");
    }

    #[tokio::test]
    async fn another_build_is_another_identity() {
        let folder = tempfile::tempdir().unwrap();
        let program = pretend(folder.path(), "echo QEMU emulator version 10.0.2");
        let one = Qemu::find(Some(&program)).await.unwrap();
        let again = Qemu::find(Some(&program)).await.unwrap();
        assert_eq!(one.build(), again.build());
        let program = pretend(folder.path(), "echo QEMU emulator version 10.0.2 ");
        let other = Qemu::find(Some(&program)).await.unwrap();
        assert_ne!(one.build(), other.build());
        assert_eq!(one.version(), other.version());
    }
}
