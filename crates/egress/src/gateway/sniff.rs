//! What a connection speaks, told from its first bytes.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

use super::client_hello::{self, ClientHello, InvalidHello};

/// Longest time until the first bytes say what they are. A client that speaks first has no reason
/// to wait; one that waits for the server is none that belongs here.
const PATIENCE: Duration = Duration::from_secs(15);

/// How an HTTP/2 client begins that does not ask first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest method of a request; no registered one is longer than 17 bytes.
const METHOD_BYTES_MAX: usize = 32;

/// What the first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Tls(ClientHello),
    /// It begins like TLS, and its hello is no good.
    BadTls(InvalidHello),
    Http1,
    /// HTTP/2 in the clear, without having asked.
    Http2,
    /// Something else, or nothing for too long.
    Other,
}

/// What it speaks, and the bytes read to find out.
pub(crate) async fn sniff<S>(stream: &mut S, patience: Patience) -> io::Result<(Spoken, Bytes)>
where
    S: AsyncRead + Unpin,
{
    let until = Instant::now() + patience.duration();
    let mut bytes = BytesMut::with_capacity(4096);
    loop {
        if let Some(spoken) = tell(&bytes) {
            return Ok((spoken, bytes.freeze()));
        }
        let read = match timeout_at(until, stream.read_buf(&mut bytes)).await {
            Ok(read) => read?,
            Err(_elapsed) => 0,
        };
        if read == 0 {
            return Ok((Spoken::Other, bytes.freeze()));
        }
    }
}

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It must say something.
    Long,
    /// It may also be a protocol in which the server speaks first, which should not be held up.
    Short,
}

impl Patience {
    const fn duration(self) -> Duration {
        match self {
            Self::Long => PATIENCE,
            Self::Short => Duration::from_millis(300),
        }
    }
}

/// `None` if more bytes are needed.
fn tell(bytes: &[u8]) -> Option<Spoken> {
    match bytes {
        [] => None,
        [22, ..] => match client_hello::parse(bytes) {
            Ok(Some(hello)) => Some(Spoken::Tls(hello)),
            Ok(None) if bytes.len() <= 2 * client_hello::BYTES_MAX => None,
            Ok(None) => Some(Spoken::BadTls(InvalidHello::TooLong)),
            Err(InvalidHello::NotTls) => Some(Spoken::Other),
            Err(error) => Some(Spoken::BadTls(error)),
        },
        _ if bytes.starts_with(PREFACE) => Some(Spoken::Http2),
        _ if PREFACE.starts_with(bytes) => None,
        _ => tell_http1(bytes),
    }
}

/// A request begins with a method and a space.
fn tell_http1(bytes: &[u8]) -> Option<Spoken> {
    // An empty line before a request is to be overlooked (RFC 9112, 2.2).
    let blank = bytes.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
    let line = &bytes[blank..];
    let head = &line[..line.len().min(METHOD_BYTES_MAX + 1)];
    match head.iter().position(|&byte| !is_token(byte)) {
        Some(0) => Some(Spoken::Other),
        Some(end) if head[end] == b' ' => Some(Spoken::Http1),
        Some(_) => Some(Spoken::Other),
        None if METHOD_BYTES_MAX < bytes.len() => Some(Spoken::Other),
        None => None,
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'!' | b'.' | b'*' | b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_bytes_are_told_apart_and_kept() {
        for (bytes, told) in [
            (&b"GET / HTTP/1.1\r\n"[..], Spoken::Http1),
            (b"\r\nPOST /", Spoken::Http1),
            (b"M-SEARCH * HTTP/1.1", Spoken::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n...", Spoken::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Spoken::Http1),
            (b"PRIX / HTTP/1.1\r\n", Spoken::Http1),
            (b"SSH-2.0-OpenSSH_9\r\n", Spoken::Other),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Spoken::Other),
            (b" GET / HTTP/1.1", Spoken::Other),
            (b"\x16\x02\x01", Spoken::Other),
            (b"\x16\x03\x01\x00\x00", Spoken::BadTls(InvalidHello::Lengths)),
            (b"\x80\x2e\x01\x03\x01", Spoken::Other),
            (b"GET", Spoken::Other),
            (b"", Spoken::Other),
        ] {
            // One byte at a time, as the slowest client would send them.
            let mut stream = tokio_test_stream(bytes);
            let (spoken, read) = sniff(&mut stream, Patience::Long).await.unwrap();
            assert_eq!(spoken, told, "{}", bytes.escape_ascii());
            assert!(bytes.starts_with(&read));
        }
        let endless = vec![b'A'; 1 << 20];
        let (spoken, read) = sniff(&mut &endless[..], Patience::Long).await.unwrap();
        assert_eq!(spoken, Spoken::Other);
        assert!(read.len() <= 4096);
    }

    /// A stream of single bytes that stays open for ever after them.
    fn tokio_test_stream(bytes: &[u8]) -> impl AsyncRead + Unpin {
        let (mut writer, reader) = tokio::io::duplex(1);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            if writer.write_all(&bytes).await.is_ok() {
                std::future::pending::<()>().await;
            }
        });
        reader
    }
}
