//! Starting a process, and finding out in words why one did not start.

use std::{
    ffi::{CString, NulError},
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use protocol::{Io, Refusal, RefusalCode, Stdin};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, open},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::Pid,
    pty::OpenptFlags,
    termios::{Winsize, tcsetwinsize},
};

use super::launch::{Launch, PATH};
use crate::{
    refusal::{refuse, refuse_errno, refuse_io},
    sys::spawn::{CHDIR_FAILED, Child, Terminal, environment},
};

/// Group of terminals, as everywhere.
const TTY_GID: u32 = 5;

/// A process that runs, with our ends of what it was given.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    pub(crate) ends: Ends,
}

/// Our ends; none of them blocks. A terminal is both `stdin` and `stdout`.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: Option<OwnedFd>,
}

/// The process's ends: standard input, output and error.
type Given = [OwnedFd; 3];

pub(crate) fn spawn(launch: &Launch) -> Result<Spawned, Refusal> {
    let child = child(launch)?;
    let (ends, given) = connect(launch).map_err(|error| refuse_io(&error, "pipes"))?;
    let pid = child.spawn(given).map_err(|error| explain(&error, launch))?;
    Ok(Spawned { pid, ends })
}

/// With nothing to read, and nobody to read what it says.
pub(super) fn spawn_unheard(launch: &Launch) -> Result<Pid, Refusal> {
    let child = child(launch)?;
    let given = null().and_then(|null| Ok([null.try_clone()?, null.try_clone()?, null]));
    let given = given.map_err(|error| refuse_io(&error, "/dev/null"))?;
    child.spawn(given).map_err(|error| explain(&error, launch))
}

fn child(launch: &Launch) -> Result<Child, Refusal> {
    check_folder(&launch.cwd)?;
    let terminal = match launch.io {
        Io::Pipes => Terminal::None,
        Io::Pty { .. } => Terminal::Stdin,
    };
    let texts = || -> Result<_, NulError> {
        let argv = launch.argv.iter().map(|word| CString::new(word.as_str()));
        let argv = argv.collect::<Result<_, _>>()?;
        let places = places(launch).map(CString::new).collect::<Result<_, _>>()?;
        let cwd = CString::new(launch.cwd.as_os_str().as_bytes())?;
        let (account, env) = (launch.account.clone(), environment(&launch.env)?);
        Ok(Child { argv, env, places, cwd, account, terminal })
    };
    texts().map_err(|_nul| refuse(RefusalCode::Invalid, "a word of the command holds a zero byte"))
}

/// Where the program may be: what has a slash is a path. An empty part of the search path is the
/// folder that it starts in.
fn places(launch: &Launch) -> impl Iterator<Item = String> {
    let name = launch.argv[0].as_str();
    let path = if name.contains('/') { "" } else { launch.env("PATH").unwrap_or(PATH) };
    path.split(':').map(move |folder| match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    })
}

fn null() -> io::Result<OwnedFd> {
    Ok(open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

fn connect(launch: &Launch) -> io::Result<(Ends, Given)> {
    match launch.io {
        Io::Pipes => connect_pipes(launch.stdin),
        Io::Pty { rows, cols } => connect_terminal(launch, rows, cols),
    }
}

fn connect_pipes(stdin: Stdin) -> io::Result<(Ends, Given)> {
    let (stdin, given_stdin) = match stdin {
        Stdin::Null => (None, null()?),
        Stdin::Stream => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            (Some(nonblocking(write)?), read)
        }
    };
    let (stdout, given_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, given_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        Ends { stdin, stdout: nonblocking(stdout)?, stderr: Some(nonblocking(stderr)?) },
        [given_stdin, given_stdout, given_stderr],
    ))
}

fn connect_terminal(launch: &Launch, rows: u16, cols: u16) -> io::Result<(Ends, Given)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    if let Some(account) = &launch.account {
        std::os::unix::fs::fchown(&slave, Some(account.uid), Some(TTY_GID))?;
        rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    }
    resize(&master, rows, cols)?;
    let master = nonblocking(master)?;
    let stdin = match launch.stdin {
        Stdin::Null => None,
        Stdin::Stream => Some(rustix::io::fcntl_dupfd_cloexec(&master, 0)?),
    };
    let given = [slave.try_clone()?, slave.try_clone()?, slave];
    Ok((Ends { stdin, stdout: master, stderr: None }, given))
}

/// Sets the size of a terminal; its foreground processes hear of it.
pub(crate) fn resize(terminal: impl AsFd, rows: u16, cols: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    Ok(fd)
}

fn check_folder(cwd: &Path) -> Result<(), Refusal> {
    let what = format!("working directory {}", cwd.display());
    let folder = fs::metadata(cwd).map_err(|error| refuse_io(&error, &what))?;
    if folder.is_dir() { Ok(()) } else { Err(refuse_errno(Errno::NOTDIR, &what)) }
}

/// The kernel says only that something is missing or not allowed; find out what it was.
fn explain(error: &io::Error, launch: &Launch) -> Refusal {
    let raw = error.raw_os_error().unwrap_or(0);
    if raw > CHDIR_FAILED {
        let errno = Errno::from_raw_os_error(raw - CHDIR_FAILED);
        return refuse_errno(errno, &format!("working directory {}", launch.cwd.display()));
    }
    let name = launch.argv[0].as_str();
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => match look_up(launch) {
            Found::Executable | Found::Plain => {
                let message = format!("{name}: its interpreter was not found");
                refuse(RefusalCode::NotExecutable, message)
            }
            Found::Nothing => {
                let message = format!("executable file not found in $PATH: {name}");
                refuse(RefusalCode::ExecutableNotFound, message)
            }
        },
        // A folder of the path that may not be entered is no sign that the file is there.
        Some(Errno::ACCESS) if !name.contains('/') && look_up(launch) == Found::Nothing => {
            let message = format!("executable file not found in $PATH: {name}");
            refuse(RefusalCode::ExecutableNotFound, message)
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            refuse(RefusalCode::NotExecutable, format!("{name}: permission denied"))
        }
        Some(Errno::NOEXEC) => {
            refuse(RefusalCode::NotExecutable, format!("{name}: exec format error"))
        }
        Some(Errno::TOOBIG) => refuse(RefusalCode::Invalid, format!("{name}: arguments too long")),
        Some(_) | None => refuse_io(error, name),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A file that nobody may execute, or a folder.
    Plain,
    Executable,
}

fn look_up(launch: &Launch) -> Found {
    let mut found = Found::Nothing;
    for place in places(launch) {
        match fs::metadata(launch.cwd.join(place)) {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => {
                return Found::Executable;
            }
            Ok(_) => found = Found::Plain,
            Err(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use protocol::Stdin;

    use super::*;

    #[test]
    fn a_program_is_looked_for_along_the_path_or_is_one() {
        let table = [
            ("sh", Some("/bin:/usr/bin"), "/bin/sh /usr/bin/sh"),
            ("sh", Some(":/bin:"), "sh /bin/sh sh"),
            ("sh", Some(""), "sh"),
            ("./sh", Some("/bin"), "./sh"),
            ("/bin/sh", None, "/bin/sh"),
            (
                "sh",
                None,
                &PATH.split(':').map(|at| format!("{at}/sh")).collect::<Vec<_>>().join(" "),
            ),
        ];
        for (name, path, expected) in table {
            let launch = Launch {
                argv: vec![name.to_owned()],
                env: path.map(|path| ("PATH".to_owned(), path.to_owned())).into_iter().collect(),
                cwd: "/".into(),
                account: None,
                stdin: Stdin::Null,
                io: Io::Pipes,
            };
            assert_eq!(places(&launch).collect::<Vec<_>>().join(" "), expected);
        }
    }
}
