//! Records: what a segment holds one after another.
//!
//! ```text
//! kind u8 | len u32 | crc u32 | payload
//! ```
//!
//! Numbers are little-endian; the CRC-32C is over all but itself, so that a tail that was torn off
//! is seen.

use bytes::{Buf, BufMut, Bytes};
use protocol::Exit;

use super::Output;

pub(super) const HEADER_LEN: usize = 9;
/// Longest payload of a record.
pub(super) const PAYLOAD_MAX: usize = 32 << 10;

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const END: u8 = 3;

/// What was found at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Output(Output, Bytes),
    End(Exit),
    /// The record goes on behind these bytes.
    Cut,
    Damaged,
}

pub(super) fn put_output(out: &mut Vec<u8>, output: Output, payload: &[u8]) {
    let kind = match output {
        Output::Stdout => STDOUT,
        Output::Stderr => STDERR,
    };
    put(out, kind, payload);
}

pub(super) fn put_end(out: &mut Vec<u8>, exit: &Exit) {
    put(out, END, &serde_json::to_vec(exit).expect("an exit is plain data"));
}

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let start = out.len();
    out.put_u8(kind);
    out.put_u32_le(u32::try_from(payload.len()).expect("payloads are cut to PAYLOAD_MAX"));
    let crc = checksum(&out[start..], payload);
    out.put_u32_le(crc);
    out.put_slice(payload);
}

/// Takes one record off the front of `bytes`, unless it is cut or damaged.
pub(super) fn take(bytes: &mut Bytes) -> Found {
    let Some(mut head) = bytes.get(..HEADER_LEN) else { return Found::Cut };
    let kind = head.get_u8();
    let len = usize::try_from(head.get_u32_le()).unwrap_or(usize::MAX);
    let crc = head.get_u32_le();
    if !(STDOUT..=END).contains(&kind) || PAYLOAD_MAX < len {
        return Found::Damaged;
    }
    let Some(payload) = bytes.get(HEADER_LEN..HEADER_LEN + len) else { return Found::Cut };
    if checksum(&bytes[..HEADER_LEN - 4], payload) != crc {
        return Found::Damaged;
    }
    let found = match kind {
        END => match serde_json::from_slice(payload) {
            Ok(exit) => Found::End(exit),
            Err(_) => return Found::Damaged,
        },
        kind => {
            let output = if kind == STDOUT { Output::Stdout } else { Output::Stderr };
            Found::Output(output, bytes.slice(HEADER_LEN..HEADER_LEN + len))
        }
    };
    bytes.advance(HEADER_LEN + len);
    found
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}
