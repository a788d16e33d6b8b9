//! Where a command's output goes.

use std::io;

use api::Stream;
use tokio::io::{AsyncWriteExt, Stderr, Stdout};

use crate::failure::Failure;

/// How much of a stream is kept for a summary.
pub(crate) const CAPTURE_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(crate) enum Output {
    /// To our own stdout and stderr as it comes.
    Passed { stdout: Stdout, stderr: Stderr },
    /// Into memory, for a summary.
    Captured { stdout: Captured, stderr: Captured },
}

/// The beginning of a stream.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub(crate) bytes: Vec<u8>,
    /// There was more than is kept.
    pub(crate) truncated: bool,
}

impl Captured {
    fn take(&mut self, data: &[u8]) {
        let room = CAPTURE_BYTES_MAX - self.bytes.len();
        self.truncated |= data.len() > room;
        self.bytes.extend_from_slice(&data[..data.len().min(room)]);
    }
}

impl Output {
    pub(crate) fn passed() -> Self {
        Self::Passed { stdout: tokio::io::stdout(), stderr: tokio::io::stderr() }
    }

    pub(crate) fn captured() -> Self {
        Self::Captured { stdout: Captured::default(), stderr: Captured::default() }
    }

    /// Returns when the data is out of our hands.
    pub(crate) async fn write(&mut self, stream: Stream, data: &[u8]) -> Result<(), Failure> {
        match (self, stream) {
            (Self::Passed { stdout, .. }, Stream::Stdout) => {
                pass(stdout, data).await.map_err(|fault| Failure::host("writing to stdout", fault))
            }
            (Self::Passed { stderr, .. }, Stream::Stderr) => {
                pass(stderr, data).await.map_err(|fault| Failure::host("writing to stderr", fault))
            }
            (Self::Captured { stdout, .. }, Stream::Stdout) => {
                stdout.take(data);
                Ok(())
            }
            (Self::Captured { stderr, .. }, Stream::Stderr) => {
                stderr.take(data);
                Ok(())
            }
        }
    }
}

/// The flush keeps the two streams in the order they came in.
async fn pass(to: &mut (impl AsyncWriteExt + Unpin), data: &[u8]) -> io::Result<()> {
    to.write_all(data).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_said_to_be() {
        let mut captured = Captured::default();
        let piece = vec![b'x'; CAPTURE_BYTES_MAX - 1];
        captured.take(&piece);
        captured.take(b"y");
        assert!(!captured.truncated);
        captured.take(b"z");
        captured.take(b"z");
        assert!(captured.truncated);
        assert_eq!((captured.bytes.len(), captured.bytes.last()), (CAPTURE_BYTES_MAX, Some(&b'y')));
    }
}
