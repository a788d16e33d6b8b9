//! Our stdin as pieces. A thread reads it, since a terminal or file cannot be awaited.

use std::io::{self, IsTerminal};
use std::thread;

use bytes::Bytes;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc;

const PIECE_BYTES: usize = 64 << 10;

/// Pieces of stdin as they come; closed at its end. The thread is left behind when we end before
/// stdin does: it holds nothing but its read.
pub(crate) fn read() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let from_terminal = io::stdin().is_terminal();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match rustix::io::read(io::stdin(), &mut buffer) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) if from_terminal && !io::stdin().is_terminal() => hang_up(),
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    let piece = Bytes::copy_from_slice(&buffer[..length]);
                    if sender.blocking_send(piece).is_err() {
                        return;
                    }
                }
            }
        }
    });
    receiver
}

/// A terminal that is gone is a hang-up and no end: a shell that hears of an end first leaves its
/// jobs running. The signal goes only to those of the terminal's session, so we send our own.
fn hang_up() -> ! {
    kill_process(getpid(), Signal::HUP).ok();
    loop {
        thread::park();
    }
}
