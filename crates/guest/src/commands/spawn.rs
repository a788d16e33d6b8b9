//! Starting a process, and finding out in words why one did not start.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use protocol::{Io, Refusal, RefusalCode, Stdin};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::OFlags,
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::Pid,
    pty::OpenptFlags,
    termios::{Winsize, tcsetwinsize},
};

use super::launch::{Launch, PATH};
use crate::{
    refusal::{refuse, refuse_errno, refuse_io},
    sys::{CHDIR_FAILED, Child, Terminal},
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

/// The process's ends.
struct Given {
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
}

pub(crate) fn spawn(launch: &Launch) -> Result<Spawned, Refusal> {
    let mut command = command(launch)?;
    let (ends, given) = connect(launch).map_err(|error| refuse_io(&error, "pipes"))?;
    command.stdin(given.stdin).stdout(given.stdout).stderr(given.stderr);
    let child = command.spawn().map_err(|error| explain(&error, launch))?;
    Ok(Spawned { pid: Pid::from_child(&child), ends })
}

/// The process but for its standard streams.
pub(super) fn command(launch: &Launch) -> Result<Command, Refusal> {
    check_folder(&launch.cwd)?;
    let cwd = CString::new(launch.cwd.as_os_str().as_bytes())
        .map_err(|_nul| refuse(RefusalCode::Invalid, "the folder's name holds a zero byte"))?;
    let mut command = Command::new(&launch.argv[0]);
    command.args(&launch.argv[1..]);
    command.env_clear().envs(launch.env.iter().map(|(name, value)| (name, value)));
    let terminal = match launch.io {
        Io::Pipes => Terminal::None,
        Io::Pty { .. } => Terminal::Stdin,
    };
    Child { cwd, account: launch.account.clone(), terminal }.prepare(&mut command);
    Ok(command)
}

fn connect(launch: &Launch) -> io::Result<(Ends, Given)> {
    match launch.io {
        Io::Pipes => connect_pipes(launch.stdin),
        Io::Pty { rows, cols } => connect_terminal(launch, rows, cols),
    }
}

fn connect_pipes(stdin: Stdin) -> io::Result<(Ends, Given)> {
    let (stdin, given_stdin) = match stdin {
        Stdin::Null => (None, Stdio::null()),
        Stdin::Stream => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            (Some(nonblocking(write)?), read.into())
        }
    };
    let (stdout, given_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, given_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        Ends { stdin, stdout: nonblocking(stdout)?, stderr: Some(nonblocking(stderr)?) },
        Given { stdin: given_stdin, stdout: given_stdout.into(), stderr: given_stderr.into() },
    ))
}

fn connect_terminal(launch: &Launch, rows: u16, cols: u16) -> io::Result<(Ends, Given)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    if let Some(account) = &launch.account {
        std::os::unix::fs::fchown(&slave, Some(account.uid), Some(TTY_GID))?;
        rustix::fs::fchmod(&slave, rustix::fs::Mode::from_raw_mode(0o620))?;
    }
    resize(&master, rows, cols)?;
    let master = nonblocking(master)?;
    let stdin = match launch.stdin {
        Stdin::Null => None,
        Stdin::Stream => Some(rustix::io::fcntl_dupfd_cloexec(&master, 0)?),
    };
    let given = Given {
        stdin: slave.try_clone()?.into(),
        stdout: slave.try_clone()?.into(),
        stderr: slave.into(),
    };
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
    let name = launch.argv[0].as_str();
    let path = if name.contains('/') { "" } else { launch.env("PATH").unwrap_or(PATH) };
    let mut found = Found::Nothing;
    for folder in path.split(':') {
        match fs::metadata(launch.cwd.join(folder).join(name)) {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => {
                return Found::Executable;
            }
            Ok(_) => found = Found::Plain,
            Err(_) => {}
        }
    }
    found
}
