//! A command's log as lines of JSON.

mod escape;

use std::{collections::VecDeque, convert::Infallible};

use api::LogLine;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use serde::Serialize;

use crate::command_log::{LogItem, LogReader, Output};

/// One JSON value and a line feed.
pub(crate) fn line<T: Serialize>(value: &T) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}

pub(crate) fn body(lines: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures_util::StreamExt;
    Body::from_stream(lines.map(Ok::<_, Infallible>))
}

/// Reads a log as lines. A character that came in two pieces is held back until it is whole, since
/// `data` has to be a JSON string; bytes that are no UTF-8 become U+FFFD.
#[derive(Debug)]
pub(crate) struct LogLines {
    reader: LogReader,
    stdout: BytesMut,
    stderr: BytesMut,
    ready: VecDeque<Bytes>,
}

impl LogLines {
    pub(crate) fn new(reader: LogReader) -> Self {
        Self { reader, stdout: BytesMut::new(), stderr: BytesMut::new(), ready: VecDeque::new() }
    }

    /// The next line; `None` at the end of the log.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            match self.reader.next().await {
                Ok(Some(LogItem::Output { output, bytes, .. })) => self.take(output, &bytes),
                Ok(Some(LogItem::Dropped { output, bytes })) => {
                    self.take(output, format!("\n[{bytes} bytes are no longer kept]\n").as_bytes());
                }
                Ok(Some(LogItem::Ended(_)) | None) => {
                    self.flush();
                    return self.ready.pop_front();
                }
                Err(error) => {
                    let message = crate::causes(&error);
                    let refusal = api::Refusal::new(api::Code::Internal, message);
                    return Some(line(&LogLine::Error(refusal)));
                }
            }
        }
    }

    fn take(&mut self, output: Output, bytes: &[u8]) {
        let held = match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        };
        let joined;
        let bytes = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            joined = held.split();
            &joined
        };
        let (whole, rest) = bytes.split_at(whole_characters(bytes));
        held.extend_from_slice(rest);
        if !whole.is_empty() {
            self.ready.push_back(log_line(output, whole));
        }
    }

    fn flush(&mut self) {
        for (output, held) in [(Output::Stdout, &self.stdout), (Output::Stderr, &self.stderr)] {
            if !held.is_empty() {
                self.ready.push_back(log_line(output, held));
            }
        }
        self.stdout.clear();
        self.stderr.clear();
    }
}

/// What [`line`] would make of a [`LogLine`] of this text.
fn log_line(output: Output, bytes: &[u8]) -> Bytes {
    let start: &[u8] = match output {
        Output::Stdout => br#"{"stream":"stdout","data":"#,
        Output::Stderr => br#"{"stream":"stderr","data":"#,
    };
    let mut out = Vec::with_capacity(start.len() + bytes.len() + bytes.len() / 16 + 8);
    out.extend_from_slice(start);
    match std::str::from_utf8(bytes) {
        Ok(text) => escape::put_string(text, &mut out),
        Err(_) => escape::put_string(&String::from_utf8_lossy(bytes), &mut out),
    }
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

/// How many bytes stand before a character that is not whole yet.
fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let needs = match bytes[at] {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if back < needs { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_character_is_held_back() {
        let text = "aä€😀z".as_bytes();
        for cut in 0..=text.len() {
            let whole = whole_characters(&text[..cut]);
            assert!(std::str::from_utf8(&text[..whole]).is_ok(), "{cut}");
            assert!(cut - whole < 4);
        }
    }

    #[test]
    fn a_line_is_that_of_the_api() {
        let log = log_line(Output::Stdout, "é\"\n".as_bytes());
        assert_eq!(log, line(&LogLine::Stdout("é\"\n".to_owned())));
        assert_eq!(
            log_line(Output::Stderr, b"a\xffb"),
            line(&LogLine::Stderr("a\u{fffd}b".to_owned()))
        );
    }

    #[test]
    fn what_is_no_utf8_is_not_held_back_for_ever() {
        for bytes in [&b"\xff"[..], b"\x80\x80\x80\x80", b"a\xc0", b"\xf5\x80"] {
            assert_eq!(whole_characters(bytes), bytes.len(), "{bytes:?}");
        }
    }
}
