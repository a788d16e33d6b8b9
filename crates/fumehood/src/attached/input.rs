//! Our stdin as pieces. A thread reads it, since a terminal or file cannot be awaited.

use std::io;
use std::thread;

use bytes::Bytes;
use tokio::sync::mpsc;

const PIECE_BYTES: usize = 64 << 10;

/// Pieces of stdin as they come; closed at its end. The thread is left behind when we end before
/// stdin does: it holds nothing but its read.
pub(crate) fn read() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match rustix::io::read(io::stdin(), &mut buffer) {
                Err(rustix::io::Errno::INTR) => {}
                // A terminal that is gone reads as an error; for the command it is the end.
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
