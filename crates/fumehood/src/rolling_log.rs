//! The log of a server in the background, bounded also while it runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// A log larger than this is put aside, in the place of the one that was put aside before.
pub(crate) const BYTES_MAX: u64 = 8 << 20;

/// Writes lines to a file and begins another when it is full.
#[derive(Debug)]
pub(crate) struct RollingLog {
    path: PathBuf,
    bytes_max: u64,
    /// Told of each new file.
    begun: fn(&File),
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    file: File,
    bytes: u64,
}

impl RollingLog {
    /// Goes on with the file that is there.
    pub(crate) fn open(path: PathBuf, bytes_max: u64, begun: fn(&File)) -> io::Result<Self> {
        let now = Mutex::new(Now::open(&path)?);
        Ok(Self { path, bytes_max, begun, now })
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes_max < now.bytes {
            put_aside(&self.path)?;
            *now = Now::open(&self.path)?;
            (self.begun)(&now.file);
        }
        now.file.write_all(line)?;
        now.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

impl Now {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

/// The log at `path`, made if need be, for its owner alone.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Renames the log so that a new one can begin; done already it is done.
pub(crate) fn put_aside(path: &Path) -> io::Result<()> {
    match fs::rename(path, path.with_extension("log.old")) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// One line on its way.
#[derive(Debug)]
pub(crate) struct Line<'a>(&'a RollingLog);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_line(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RollingLog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_put_aside_and_nothing_between_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        fs::write(&path, "before\n").unwrap();
        let log = RollingLog::open(path.clone(), 100, |_| {}).unwrap();
        for number in 0..1000 {
            log.make_writer().write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let (old, new) = (read(&path.with_extension("log.old")), read(&path));
        assert!(old.len() < 120 && new.len() < 120, "{} {}", old.len(), new.len());
        let kept = old + &new;
        let first: usize = kept.lines().next().unwrap().split_once(' ').unwrap().1.parse().unwrap();
        let expected: String = (first..1000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(kept, expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_log_that_is_put_aside_and_not_begun_again_is_begun_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let log = RollingLog::open(path.clone(), 10, |_| {}).unwrap();
        log.make_writer().write_all(b"more than ten bytes\n").unwrap();
        // As if there was no room for the next one.
        put_aside(&path).unwrap();
        log.make_writer().write_all(b"kept\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept\n");
    }
}
