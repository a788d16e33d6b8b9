//! Programs of the host that do a part of the work.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

/// What is kept of a program's words for an error.
const KEPT_LINES: usize = 12;
const LINE_BYTES_MAX: u64 = 4096;
const OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// A program and the Debian package that it is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const APT_CACHE: Program = Program { name: "apt-cache", package: "apt" };
pub(crate) const APT_GET: Program = Program { name: "apt-get", package: "apt" };
pub(crate) const DEPMOD: Program = Program { name: "depmod", package: "kmod" };
pub(crate) const DPKG_DEB: Program = Program { name: "dpkg-deb", package: "dpkg" };
pub(crate) const MMDEBSTRAP: Program = Program { name: "mmdebstrap", package: "mmdebstrap" };
pub(crate) const NEWUIDMAP: Program = Program { name: "newuidmap", package: "uidmap" };
pub(crate) const NPM: Program = Program { name: "npm", package: "npm" };
pub(crate) const TAR: Program = Program { name: "tar", package: "tar" };

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("{name} is not installed; it is in Debian's package {package}")]
    Missing { name: &'static str, package: &'static str },
    #[error("could not start {name}")]
    Start { name: &'static str, source: io::Error },
    #[error("{name} failed ({status}):\n{said}")]
    Failed { name: &'static str, status: ExitStatus, said: String },
    #[error("could not read what {name} says")]
    Read { name: &'static str, source: io::Error },
}

impl Program {
    /// Fails where another program would look for this one in vain.
    pub(crate) fn require(self) -> Result<(), ProgramError> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&folders).map(|folder| folder.join(self.name));
        if places.any(|place| place.exists()) {
            return Ok(());
        }
        Err(ProgramError::Missing { name: self.name, package: self.package })
    }

    /// Runs to the end and gives what it wrote to its standard output.
    pub(crate) fn run<A: AsRef<OsStr>>(
        self,
        folder: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, ProgramError> {
        let command = |command: &mut Command| {
            command.current_dir(folder).args(arguments);
        };
        self.stream(
            command,
            |_| {},
            |mut stdout| {
                let mut text = String::new();
                let read = stdout.by_ref().take(OUTPUT_BYTES_MAX).read_to_string(&mut text);
                read.map(|_| text).map_err(|source| ProgramError::Read { name: self.name, source })
            },
        )
    }

    /// Runs, while `consume` reads its standard output and `said` gets the lines of its standard
    /// error (from another thread). When `consume` gives up, the program meets a closed pipe and
    /// so can clean up after itself; that it failed then is of no interest.
    pub(crate) fn stream<T, E: From<ProgramError>>(
        self,
        prepare: impl FnOnce(&mut Command),
        said: impl Fn(&str) + Sync,
        consume: impl FnOnce(ChildStdout) -> Result<T, E>,
    ) -> Result<T, E> {
        // Away from root the search path may not have this folder.
        let privileged = Path::new("/usr/sbin").join(self.name);
        let mut command = Command::new(if privileged.exists() {
            privileged.as_os_str()
        } else {
            self.name.as_ref()
        });
        prepare(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What they say is read by us and must not depend on who runs us.
        command.env("LC_ALL", "C.UTF-8");
        let mut child = self.start(command)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both are pipes");
        };
        let (result, kept) = thread::scope(|scope| {
            let words = scope.spawn(|| relay(stderr, &said));
            (consume(stdout), words.join().unwrap_or_default())
        });
        let waited = child.wait();
        let value = result?;
        let status = waited.map_err(|source| ProgramError::Read { name: self.name, source })?;
        if !status.success() {
            let said = kept.into_iter().collect::<Vec<_>>().join("\n");
            return Err(ProgramError::Failed { name: self.name, status, said }.into());
        }
        Ok(value)
    }

    fn start(self, mut command: Command) -> Result<Child, ProgramError> {
        let Self { name, package } = self;
        match command.spawn() {
            Ok(child) => Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ProgramError::Missing { name, package })
            }
            Err(source) => Err(ProgramError::Start { name, source }),
        }
    }
}

/// Passes lines on and keeps the last ones.
fn relay(stderr: impl Read, said: &impl Fn(&str)) -> VecDeque<String> {
    let mut reader = BufReader::new(stderr);
    let mut kept = VecDeque::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return kept,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        if text.is_empty() {
            continue;
        }
        said(&text);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}

#[cfg(test)]
mod tests;
