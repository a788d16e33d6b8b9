//! Words for scripts go to stdout, words for people to stderr; here and nowhere else.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use crate::duration;
use crate::failure::{Failure, printable};

/// Prints what a script reads.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|fault| Failure::host("writing to stdout", fault))
}

/// Prints a line for a person.
pub(crate) fn note(text: &str) {
    let line = format!("fumehood: {}\n", printable(text));
    // Nobody can be told that telling failed.
    drop(io::stderr().lock().write_all(line.as_bytes()));
}

/// How much a person wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    Normal,
    Verbose,
}

/// Before this nobody wonders.
const PATIENCE: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(120);
const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

/// Does the work, and says what is being waited for if it takes a while: on a terminal a line that
/// goes away again, elsewhere a plain one for those who asked.
pub(crate) async fn waiting<F: Future>(what: &str, verbosity: Verbosity, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    let began = Instant::now();
    let mut ticks = interval_at(began + PATIENCE, TICK);
    let mut line = Line { place: Place::of_stderr(), shown: false };
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => line.show(what, began.elapsed(), verbosity),
        }
    }
}

/// The line that says what is being waited for; taken back when dropped.
struct Line {
    place: Place,
    shown: bool,
}

#[derive(PartialEq, Eq)]
enum Place {
    /// Written over and over.
    Terminal,
    /// Written once.
    Elsewhere,
}

impl Place {
    fn of_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Terminal } else { Self::Elsewhere }
    }
}

impl Line {
    fn show(&mut self, what: &str, elapsed: Duration, verbosity: Verbosity) {
        if self.place == Place::Terminal {
            let turn = usize::try_from(elapsed.as_millis() / TICK.as_millis()).unwrap_or(0);
            let spinner = SPINNER[turn % SPINNER.len()];
            let elapsed = duration::short(elapsed);
            drop(write!(io::stderr().lock(), "\r\x1b[K{spinner} {what} ({elapsed})"));
        } else if verbosity == Verbosity::Verbose && !self.shown {
            note(what);
        }
        self.shown = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.place == Place::Terminal && self.shown {
            drop(io::stderr().lock().write_all(b"\r\x1b[K"));
        }
    }
}
