//! Messages off the control socket, one a line, of bounded length.

use std::io;

use serde_json::Value;
use tokio::net::UnixStream;

/// The longest of QEMU's answers that we ask for is a filled console buffer in base64.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// What has been read and not yet taken.
#[derive(Debug)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Up to here there is no line end.
    searched: usize,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), searched: 0 }
    }

    /// The next message. Nothing is lost when the future is dropped half way.
    pub(super) async fn next(&mut self, stream: &UnixStream) -> io::Result<Value> {
        loop {
            if let Some(line) = self.take_line() {
                return serde_json::from_slice(&line).map_err(io::Error::from);
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(io::Error::other("a line of the control socket is too long"));
            }
            stream.readable().await?;
            self.buffer.reserve(4096);
            match stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.searched + end + 1);
        self.searched = 0;
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}
