//! The terminal: its size, and raw mode that always ends.

use std::io::{self, IsTerminal};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use api::PtySize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What a pty gets when there is no terminal to copy.
const SIZE_WITHOUT_TERMINAL: PtySize = PtySize { cols: 80, rows: 24 };

/// A terminal in raw mode and how it was before, for whoever has to restore it: the guard or the
/// panic hook.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Raw mode until dropped. There is one terminal, and so one of these at a time.
#[must_use = "raw mode ends when this is dropped"]
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// From here on keys arrive as they are pressed; none when this is no terminal.
    pub(crate) fn enter(input: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        if !input.is_terminal() {
            return Ok(None);
        }
        let input = input.try_clone_to_owned()?;
        let before = tcgetattr(&input)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Now, &raw)?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((input, before));
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
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

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

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
        let raw = RawMode::enter(theirs.as_fd()).unwrap();
        assert!(raw.is_some() && is_raw(&theirs));
        drop(raw);
        assert!(!is_raw(&theirs));
        // As the panic hook does, with no destructor run.
        std::mem::forget(RawMode::enter(theirs.as_fd()).unwrap());
        assert!(is_raw(&theirs));
        restore();
        assert!(!is_raw(&theirs));
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let file = tempfile::tempfile().unwrap();
        assert!(RawMode::enter(file.as_fd()).unwrap().is_none());
    }
}
