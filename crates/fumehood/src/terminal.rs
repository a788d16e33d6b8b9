//! The terminal: its size, and modes of it that always end.

use std::io::{self, IsTerminal};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use api::PtySize;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What a pty gets when there is no terminal to copy.
const SIZE_WITHOUT_TERMINAL: PtySize = PtySize { cols: 80, rows: 24 };

/// A terminal in another mode and how it was before, for whoever has to restore it: the guard or
/// the panic hook.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Another mode until dropped. There is one terminal, and so one of these at a time.
#[must_use = "the mode ends when this is dropped"]
#[derive(Debug)]
pub(crate) struct Mode(());

impl Mode {
    /// From here on keys arrive as they are pressed; none when this is no terminal.
    pub(crate) fn raw(input: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        Self::enter(input, Termios::make_raw)
    }

    /// From here on what is typed is not shown, but for the end of a line; none when this is no
    /// terminal.
    pub(crate) fn hidden(input: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        Self::enter(input, |mode| {
            mode.local_modes.remove(LocalModes::ECHO);
            mode.local_modes.insert(LocalModes::ECHONL);
        })
    }

    fn enter(input: BorrowedFd<'_>, change: impl FnOnce(&mut Termios)) -> io::Result<Option<Self>> {
        if !input.is_terminal() {
            return Ok(None);
        }
        let input = input.try_clone_to_owned()?;
        let before = tcgetattr(&input)?;
        let mut after = before.clone();
        change(&mut after);
        tcsetattr(&input, OptionalActions::Now, &after)?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((input, before));
        Ok(Some(Self(())))
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, before)) = before {
        // The terminal may be gone; then there is nothing to restore.
        tcsetattr(terminal, OptionalActions::Now, &before).ok();
    }
}

/// A panic aborts without dropping anything, so the hook gives the terminal back first.
pub(crate) fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}

/// The size of the terminal we run in.
pub(crate) fn size() -> PtySize {
    let known = |found: rustix::io::Result<rustix::termios::Winsize>| {
        found.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0)
    };
    known(tcgetwinsize(io::stdin()))
        .or_else(|| known(tcgetwinsize(io::stdout())))
        .or_else(|| known(tcgetwinsize(io::stderr())))
        .map_or(SIZE_WITHOUT_TERMINAL, |size| PtySize { cols: size.ws_col, rows: size.ws_row })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    /// Both ends of a new terminal.
    fn terminal() -> (OwnedFd, File) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let theirs = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
        (ours, File::from(theirs))
    }

    fn is_raw(terminal: &File) -> bool {
        let modes = tcgetattr(terminal).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    #[test]
    fn raw_mode_ends_on_every_way_out() {
        let (_ours, theirs) = terminal();
        assert!(!is_raw(&theirs));
        let raw = Mode::raw(theirs.as_fd()).unwrap();
        assert!(raw.is_some() && is_raw(&theirs));
        drop(raw);
        assert!(!is_raw(&theirs));
        // As the panic hook does, with no destructor run.
        std::mem::forget(Mode::raw(theirs.as_fd()).unwrap());
        assert!(is_raw(&theirs));
        restore();
        assert!(!is_raw(&theirs));
    }

    #[test]
    fn what_is_hidden_is_a_line_like_any_other() {
        let (_ours, theirs) = terminal();
        let modes = || tcgetattr(&theirs).unwrap().local_modes;
        let before = modes();
        let hidden = Mode::hidden(theirs.as_fd()).unwrap();
        assert!(hidden.is_some() && !modes().contains(LocalModes::ECHO));
        assert!(modes().contains(LocalModes::ICANON | LocalModes::ISIG));
        drop(hidden);
        assert_eq!(modes(), before);
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let file = tempfile::tempfile().unwrap();
        assert!(Mode::raw(file.as_fd()).unwrap().is_none());
    }
}
