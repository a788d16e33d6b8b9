//! The terminal: its size, and raw mode that always ends.

use std::io::{self, IsTerminal, Stdin};
use std::sync::{Mutex, PoisonError};

use api::PtySize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What a pty gets when there is no terminal to copy.
const SIZE_WITHOUT_TERMINAL: PtySize = PtySize { cols: 80, rows: 24 };

/// How the terminal was before raw mode, for whoever has to restore it: the guard or the panic
/// hook.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode until dropped.
#[must_use = "raw mode ends when this is dropped"]
#[derive(Debug)]
pub(crate) struct RawMode {
    stdin: Stdin,
}

impl RawMode {
    /// Keys go to the guest as they are pressed; none when stdin is not a terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let guard = Self { stdin };
        tcsetattr(&guard.stdin, OptionalActions::Now, &raw)?;
        Ok(Some(guard))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore(&self.stdin);
    }
}

fn restore(stdin: &Stdin) {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // The terminal may be gone; then there is nothing to restore.
        tcsetattr(stdin, OptionalActions::Now, &before).ok();
    }
}

/// A panic aborts without dropping anything, so the hook gives the terminal back first.
pub(crate) fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore(&io::stdin());
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
