//! What is interrupted leaves nothing behind.

use std::thread;

use anyhow::Result;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::place;

/// From now on Ctrl-C ends what this run started, and then this program.
#[expect(clippy::exit, clippy::print_stderr, reason = "it is interrupted, and says so")]
pub(crate) fn cleans_up() -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("interrupted: machines and servers of this run are ended");
            place::sweep();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
