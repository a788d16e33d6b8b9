//! What is around the agent: a machine that is its own, or, for tests, somebody's computer.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use protocol::{
    Claim, Mount, Refusal, RefusalCode, Wake,
    network::{Certificate, GATEWAY_V4},
};
use rustix::{
    thread::nanosleep,
    time::{ClockId, Timespec, clock_settime},
};

use crate::{
    accounts::Account,
    aside,
    boot::say,
    drive, freezer, outside,
    refusal::{refuse, refuse_io},
    root::Root,
    sys,
    tree::Tree,
    trust,
};

/// What ended processes and file systems leave to the kernel's threads is done by then. What is not, each
/// machine made from this one does again.
const SETTLING: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

#[derive(Debug)]
pub(crate) enum Place {
    /// PID 1 of a machine.
    Machine(Root),
    /// An ordinary process: the paths of the host lead below `root`, and all commands run as the
    /// agent's own user.
    Process { root: PathBuf },
}

impl Place {
    /// The folder that is the root of all paths.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::Machine(_) => Path::new("/"),
            Self::Process { root } => root,
        }
    }

    /// A path of the host's, relative ones being relative to `cwd`.
    pub(crate) fn resolve(&self, cwd: &str, path: &str) -> PathBuf {
        let below = |path: &str| PathBuf::from(path.trim_start_matches('/'));
        if path.starts_with('/') {
            self.root().join(below(path))
        } else {
            self.root().join(below(cwd)).join(path)
        }
    }

    /// Whom a process must become to run as `account`.
    pub(crate) fn switch_to(&self, account: Account) -> Option<Account> {
        match self {
            Self::Machine(_) => Some(account),
            Self::Process { .. } => None,
        }
    }

    /// Gives the root what a claim will change, and makes the programs of the image runnable, with nothing
    /// of theirs written.
    pub(crate) fn begin_warming(&mut self, stand_in: &Claim) -> Result<(), Refusal> {
        let Self::Machine(root) = self else { return Ok(()) };
        renew(stand_in)?;
        root.writable()?;
        // What cannot be done is for the claim to refuse.
        if let Err(error) = name(stand_in) {
            say(&format!("name of the machine: {error}"));
        }
        let faults = trust::stand_in(Path::new("/"), &stand_in.network.trust);
        faults.iter().for_each(|fault| say(&format!("certificates: {fault}")));
        root.guard()?;
        Root::mount_tmp();
        trust::warm(Path::new("/"));
        Ok(())
    }

    /// Ends what still runs and leaves no trace of it.
    pub(crate) fn end_warming(&mut self) {
        if let Self::Machine(_) = self {
            sys::kill_everything_else();
            Root::unmount_tmp();
            rustix::fs::sync();
            // Cut short by a signal, clones do a little more.
            let _slept = nanosleep(&SETTLING);
        }
    }

    /// Ends what still runs.
    pub(crate) fn end_rehearsal(&self) {
        if let Self::Machine(_) = self {
            sys::kill_everything_else();
        }
    }

    /// Clock and randomness first, before anything can ask for them; then names and disk. Those that are
    /// `trusted` have their places by now.
    pub(crate) fn claim(&mut self, claim: &Claim, trusted: &[Certificate]) -> Result<(), Refusal> {
        let Self::Machine(root) = self else { return Ok(()) };
        renew(claim)?;
        root.writable()?;
        make_folder(&claim.cwd);
        name(claim).map_err(|error| refuse_io(&error, "name of the machine"))?;
        if claim.network.trust != trusted {
            let unix_ms = claim.unix_nanos / 1_000_000;
            let faults = trust::install(self.root(), &claim.network.trust, trusted, unix_ms);
            faults.iter().for_each(|fault| say(&format!("certificates: {fault}")));
        }
        Ok(())
    }

    /// Another machine from now on: clock and randomness first, as in a claim.
    pub(crate) fn fork(&self, claim: &Claim) -> Result<(), Refusal> {
        let Self::Machine(_) = self else { return Ok(()) };
        renew(claim)?;
        name(claim).map_err(|error| refuse_io(&error, "name of the machine"))?;
        if let Err(error) = another_boot() {
            say(&format!("boot id: {error}"));
        }
        outside::reset_connections();
        Ok(())
    }

    /// The same machine, later.
    pub(crate) fn wake(&self, wake: &Wake) -> Result<(), Refusal> {
        let Self::Machine(_) = self else { return Ok(()) };
        set_clock(wake.unix_nanos)?;
        reseed(&wake.entropy.0).map_err(|error| refuse_io(&error, "random generator"))?;
        outside::reset_connections();
        Ok(())
    }

    /// See [`protocol::Request::ResetConnections`].
    pub(crate) fn reset_connections(&self) {
        if let Self::Machine(_) = self {
            outside::reset_connections();
        }
    }

    /// See [`protocol::Request::Gather`].
    pub(crate) fn gather(&self) -> Result<(), Refusal> {
        match self {
            Self::Machine(_) => freezer::gather(),
            Self::Process { .. } => Ok(()),
        }
    }

    /// Has all other processes stand still.
    pub(crate) fn freeze(&self) -> Result<(), Refusal> {
        match self {
            Self::Machine(_) => freezer::freeze(),
            Self::Process { .. } => Ok(()),
        }
    }

    /// Keeps free what is of these blocks of memory, and tells which that may be; that it cannot is no
    /// fault.
    pub(crate) fn set_aside(&self, blocks: Vec<u32>) -> Vec<u32> {
        let Self::Machine(_) = self else { return Vec::new() };
        aside::set_aside(blocks).unwrap_or_else(|error| {
            say(&format!("memory is not set aside: {error}"));
            Vec::new()
        })
    }

    /// Those of these blocks that are kept free, while nothing goes on.
    pub(crate) fn free_of(&self, blocks: &[u32]) -> Vec<u32> {
        match self {
            Self::Machine(_) => aside::free_of(blocks).unwrap_or_default(),
            Self::Process { .. } => Vec::new(),
        }
    }

    /// Keeps none free any more.
    pub(crate) fn give_back(&self) {
        if let Self::Machine(_) = self
            && let Err(error) = aside::give_back()
        {
            say(&format!("memory is not given back: {error}"));
        }
    }

    pub(crate) fn thaw(&self) -> Result<(), Refusal> {
        match self {
            Self::Machine(_) => freezer::thaw(),
            Self::Process { .. } => Ok(()),
        }
    }

    /// Mounts a disk; in a machine only.
    pub(crate) fn mount(&self, wanted: &Mount, user: &Account) -> Result<(), Refusal> {
        match self {
            Self::Machine(_) => drive::mount(wanted, user),
            Self::Process { .. } => Err(refuse(RefusalCode::Invalid, "a process has no disks")),
        }
    }

    pub(crate) fn set_clock(&self, unix_nanos: u64) -> Result<(), Refusal> {
        match self {
            Self::Machine(_) => set_clock(unix_nanos),
            Self::Process { .. } => Ok(()),
        }
    }
}

/// Clock and randomness.
fn renew(claim: &Claim) -> Result<(), Refusal> {
    set_clock(claim.unix_nanos)?;
    reseed(&claim.entropy.0).map_err(|error| refuse_io(&error, "random generator"))
}

/// The folder that commands start in is made where the image has none.
fn make_folder(cwd: &str) {
    let path = cwd.trim_matches('/');
    let made = Tree::open(Path::new("/")).and_then(|tree| match tree.has_folder(path) {
        true => Ok(()),
        false => tree.make_folder(path),
    });
    if let Err(error) = made {
        say(&format!("{cwd}: {error}"));
    }
}

fn set_clock(unix_nanos: u64) -> Result<(), Refusal> {
    let time = Timespec {
        tv_sec: i64::try_from(unix_nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(unix_nanos % 1_000_000_000).unwrap_or(0),
    };
    clock_settime(ClockId::Realtime, time).map_err(|errno| refuse_io(&errno.into(), "clock"))
}

fn reseed(seed: &[u8; 32]) -> io::Result<()> {
    sys::reseed(fs::File::open("/dev/urandom")?, seed)
}

/// The kernel keeps its own boot id for good, so another is laid over it.
fn another_boot() -> io::Result<()> {
    const COVER: &str = "/run/boot-id";
    let id = fs::read("/proc/sys/kernel/random/uuid")?;
    match fs::remove_file(COVER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).open(COVER)?.write_all(&id)?;
    Ok(rustix::mount::mount_bind(COVER, "/proc/sys/kernel/random/boot_id")?)
}

/// Host name and machine id, in the kernel and in the files that programs look at.
fn name(claim: &Claim) -> io::Result<()> {
    rustix::system::sethostname(claim.hostname.as_bytes())?;
    let tree = Tree::open(Path::new("/"))?;
    tree.make_folder("etc")?;
    let id: String = claim.machine_id.iter().map(|byte| format!("{byte:02x}")).collect();
    tree.write("etc/machine-id", (id + "\n").as_bytes())?;
    // `sudo` and others look their own host's name up.
    let hosts = tree.read("etc/hosts").unwrap_or_default();
    tree.write("etc/hosts", hosts_with(&hosts, &claim.hostname).as_bytes())?;
    let resolver = format!("nameserver {GATEWAY_V4}\n");
    tree.write("etc/resolv.conf", resolver.as_bytes())
}

/// The lines that are there, and those that have to be.
fn hosts_with(hosts: &[u8], hostname: &str) -> String {
    let hosts = String::from_utf8_lossy(hosts);
    let others: Vec<_> = hosts.lines().filter(|line| !line.starts_with("127.0.1.1")).collect();
    let names_itself = |line: &&str| {
        line.split('#')
            .next()
            .is_some_and(|line| line.split_whitespace().skip(1).any(|name| name == "localhost"))
    };
    let mut all = String::new();
    if !others.iter().any(names_itself) {
        all.push_str("127.0.0.1 localhost\n::1 localhost\n");
    }
    others.into_iter().for_each(|line| all.extend([line, "\n"]));
    all + &format!("127.0.1.1 {hostname}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_keep_what_they_have_and_name_the_machine_once() {
        let table = [
            ("", "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 box\n"),
            ("127.0.0.1\tlocalhost\n127.0.1.1 old", "127.0.0.1\tlocalhost\n127.0.1.1 box\n"),
            (
                "10.0.0.1 db # localhost\n",
                "127.0.0.1 localhost\n::1 localhost\n10.0.0.1 db # localhost\n127.0.1.1 box\n",
            ),
        ];
        for (hosts, expected) in table {
            assert_eq!(hosts_with(hosts.as_bytes(), "box"), expected);
            let again = hosts_with(expected.as_bytes(), "box");
            assert_eq!(again, expected);
        }
    }
}
