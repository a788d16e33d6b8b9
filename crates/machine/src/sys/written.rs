//! Which pages another process has written since it was asked last. The kernel notes it where it is told to
//! protect them: a page that is written then costs that process one fault, and nothing waits for us.
//!
//! Linux 6.7 and later, on x86-64 as yet.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, OwnedFd},
};

use super::tracing;

/// From the kernel's `linux/userfaultfd.h`: the interface's number, asked for by who knows it,
const UFFD_API: u64 = 0xaa;
/// that a page which is written is noted and nobody told,
const WP_ASYNC: u64 = 1 << 15;
const REGISTER_WP: u64 = 1 << 1;
const IOCTL_API: u64 = 0xc018_aa3f;
const IOCTL_REGISTER: u64 = 0xc020_aa00;
/// and from `linux/fs.h`.
const IOCTL_SCAN: u64 = 0xc060_6610;
const PROTECT_FOUND: u64 = 1 << 0;
const ONLY_PROTECTABLE: u64 = 1 << 1;
const IS_WRITTEN: u64 = 1 << 1;
const IS_FILES: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
/// What is told at once.
const RUNS: usize = 4096;

/// The writes of a process to some of its memory, from when this was made until it is dropped.
#[derive(Debug)]
pub(crate) struct Writes {
    /// What is told of it is over when this is closed.
    _noting: OwnedFd,
    map: File,
    areas: Vec<Range<u64>>,
}

/// Pages, by their addresses, that are the process's own and no file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) pages: Range<u64>,
    /// Since it was protected, or never protected.
    pub(crate) is_written: bool,
}

/// What becomes of the pages that are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Look,
    /// From now on it is noted if they are written.
    Protect,
}

/// Which pages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// Those written since they were protected.
    Written,
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Found {
    start: u64,
    end: u64,
    categories: u64,
}

#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    found: u64,
    found_len: u64,
    max_pages: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    told: u64,
}

impl Writes {
    /// `map` is the `pagemap` of that process. None of its pages is protected yet.
    pub(crate) fn of(pid: u32, map: File, areas: Vec<Range<u64>>) -> io::Result<Self> {
        let noting = tracing::userfaultfd_of(pid)?;
        let mut api = Api { api: UFFD_API, features: WP_ASYNC, ioctls: 0 };
        control(&noting, IOCTL_API, &mut api)?;
        for area in &areas {
            let len = area.end - area.start;
            let mut register = Register { start: area.start, len, mode: REGISTER_WP, ioctls: 0 };
            control(&noting, IOCTL_REGISTER, &mut register)?;
        }
        Ok(Self { _noting: noting, map, areas })
    }

    /// Runs of pages, in rising order, one kind beside the other.
    pub(crate) fn find(&self, which: Which, then: Then) -> io::Result<Vec<Run>> {
        let mut runs = Vec::new();
        let mut found = vec![Found::default(); RUNS];
        for area in &self.areas {
            let mut at = area.start;
            while at < area.end {
                let mut scan = Scan {
                    size: size_of::<Scan>() as u64,
                    flags: match then {
                        Then::Look => ONLY_PROTECTABLE,
                        Then::Protect => PROTECT_FOUND | ONLY_PROTECTABLE,
                    },
                    start: at,
                    end: area.end,
                    walk_end: 0,
                    found: found.as_mut_ptr().expose_provenance() as u64,
                    found_len: RUNS as u64,
                    max_pages: 0,
                    inverted: IS_FILES,
                    all_of: match which {
                        Which::All => IS_FILES,
                        Which::Written => IS_FILES | IS_WRITTEN,
                    },
                    any_of: IS_PRESENT | IS_SWAPPED,
                    told: IS_WRITTEN,
                };
                let count = control(&self.map, IOCTL_SCAN, &mut scan)?;
                runs.extend(found.iter().take(count).map(|found| Run {
                    pages: found.start..found.end,
                    is_written: found.categories & IS_WRITTEN != 0,
                }));
                // The kernel tells where it ended too, but as of some way back.
                at = match found.get(count.wrapping_sub(1)).filter(|_| count == RUNS) {
                    Some(last) if at < last.end => last.end,
                    Some(_) => return Err(io::Error::other("the kernel does not go on")),
                    None => area.end,
                };
            }
        }
        Ok(runs)
    }
}

/// Each of these calls takes a structure of its own and, what it finds, as many entries as that says.
fn control<T>(fd: &impl AsRawFd, call: u64, with: &mut T) -> io::Result<usize> {
    let with = std::ptr::from_mut(with);
    // SAFETY: the structures are the kernel's, by layout and length; the one that points somewhere has
    // room there for what it says.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), call, with) };
    usize::try_from(result).map_err(|_negative| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Lines, Write},
        process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    };

    use tempfile::TempDir;

    use super::*;

    const PAGE: u64 = 4096;

    /// More runs than are told at once, which the kernel gathers by the hundred.
    const PAGES: u64 = 10_000;

    /// Maps a file as its own, tells at which address, and each time that it has written what it is told: a
    /// range of pages, and how far they are apart.
    const WRITER: &str = "
import ctypes, mmap, sys
file = open(sys.argv[1], 'r+b')
memory = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE)
base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print(base, flush=True)
for line in sys.stdin:
    for page in range(*map(int, line.split())):
        memory[page * 4096] = 7
    print(base, flush=True)
";

    struct Writer {
        process: Child,
        to: ChildStdin,
        told: Lines<BufReader<ChildStdout>>,
        base: u64,
        writes: Option<Writes>,
        _folder: TempDir,
    }

    impl Writer {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("memory");
            File::create(&file).unwrap().set_len(PAGES * PAGE).unwrap();
            let mut command = Command::new("python3");
            command.args(["-c", WRITER]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = command.spawn().unwrap();
            let to = process.stdin.take().unwrap();
            let mut told = BufReader::new(process.stdout.take().unwrap()).lines();
            let base = told.next().unwrap().unwrap().parse().unwrap();
            Self { process, to, told, base, writes: None, _folder: folder }
        }

        fn write(&mut self, pages: Range<u64>, apart: u64) {
            writeln!(self.to, "{} {} {apart}", pages.start, pages.end).unwrap();
            let told = self.told.next().unwrap().unwrap();
            assert_eq!(told, self.base.to_string(), "it goes on as it was");
        }

        /// False where no debugger may do that.
        fn note(&mut self) -> bool {
            let map = File::open(format!("/proc/{}/pagemap", self.process.id())).unwrap();
            let area = self.base..self.base + PAGES * PAGE;
            match Writes::of(self.process.id(), map, vec![area]) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return false,
                writes => self.writes = Some(writes.unwrap()),
            }
            true
        }

        /// Pages, and whether they are written.
        fn find(&self, which: Which, then: Then) -> Vec<(Range<u64>, bool)> {
            let found = self.writes.as_ref().unwrap().find(which, then).unwrap();
            let page = |address| (address - self.base) / PAGE;
            let told = |run: Run| (page(run.pages.start)..page(run.pages.end), run.is_written);
            found.into_iter().map(told).collect()
        }

        fn end(mut self) {
            drop(self.to);
            assert!(self.process.wait().unwrap().success());
        }
    }

    #[test]
    fn what_another_process_writes_is_noted() {
        let mut writer = Writer::start();
        writer.write(1..3, 1);
        writer.write(5..6, 1);
        if !writer.note() {
            return;
        }
        let all = [(1..3, true), (5..6, true)];
        assert_eq!(writer.find(Which::All, Then::Look), all);
        assert_eq!(writer.find(Which::All, Then::Protect), all);
        assert_eq!(writer.find(Which::Written, Then::Look), []);
        // One again, and one that was the file's.
        writer.write(2..4, 1);
        assert_eq!(writer.find(Which::Written, Then::Look), [(2..4, true)]);
        let all = [(1..2, false), (2..4, true), (5..6, false)];
        assert_eq!(writer.find(Which::All, Then::Look), all);
        assert_eq!(writer.find(Which::Written, Then::Protect), [(2..4, true)]);
        assert_eq!(writer.find(Which::Written, Then::Look), []);
        writer.writes = None;
        writer.write(0..8, 1);
        writer.end();
    }

    #[test]
    fn many_runs_are_told_once_each_and_in_order() {
        let mut writer = Writer::start();
        writer.write(0..PAGES, 2);
        if !writer.note() {
            return;
        }
        let every_other =
            |written| (0..PAGES).step_by(2).map(move |page| (page..page + 1, written));
        let all = Vec::from_iter(every_other(true));
        assert_eq!(writer.find(Which::All, Then::Protect), all);
        assert_eq!(writer.find(Which::All, Then::Look), Vec::from_iter(every_other(false)));
        writer.write(0..PAGES, 2);
        assert_eq!(writer.find(Which::Written, Then::Look), all);
        writer.end();
    }

    #[test]
    fn of_who_is_not_there_nothing_is_noted() {
        let map = || File::open("/proc/self/pagemap").unwrap();
        let mut gone = Command::new("true").spawn().unwrap();
        let pid = gone.id();
        gone.wait().unwrap();
        for pid in [pid, u32::MAX, 0] {
            assert!(Writes::of(pid, map(), Vec::new()).is_err(), "{pid}");
        }
    }
}
