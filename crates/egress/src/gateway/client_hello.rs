//! The first message of a TLS client, read from the bytes of a connection before anything answers.
//!
//! Only what a policy looks at is taken out of it. What is passed on untouched is judged by this
//! reading alone, so that it refuses what two readers could understand in two ways.

use std::ops::Range;

use crate::host::Host;

/// Longest hello in bytes, over all its records.
pub const BYTES_MAX: usize = 64 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// A record holds at most this many bytes (RFC 8446, 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;
/// Fewer bytes a record than this, and a hello would be spread over thousands of them.
const RECORDS_MAX: usize = 128;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// What a client says about where it wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    pub server_name: Option<Host>,
    /// The protocols offered, in the client's order; empty if it offers none.
    pub protocols: Vec<Vec<u8>>,
    pub encrypted: Encrypted,
}

/// Whether the hello may hold another one inside (ECH).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encrypted {
    No,
    /// It has the extension. A client that has no key for the host sends a random one, so that
    /// nobody can tell the two apart; neither do we.
    Perhaps,
}

/// The hello cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHello {
    #[error("it is no TLS client hello")]
    NotTls,
    #[error("the client hello is longer than 64 KiB or in too many pieces")]
    TooLong,
    #[error("the client hello is cut off or its lengths are wrong")]
    Lengths,
    #[error("the client hello has an extension twice")]
    Twice,
    #[error("the client hello names no host or several (SNI)")]
    Names,
    #[error("the client hello's name is not a host name (SNI)")]
    Name,
    #[error("the client hello says that it is inside another one (ECH)")]
    Inner,
}

/// Reads the hello at the beginning of `bytes`; `None` if it does not end in them.
pub fn parse(bytes: &[u8]) -> Result<Option<ClientHello>, InvalidHello> {
    let Some(message) = reassemble(bytes)? else { return Ok(None) };
    read(&message).map(Some)
}

/// The body of the handshake message, put together from its records.
fn reassemble(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, InvalidHello> {
    let mut message = Vec::new();
    for _ in 0..RECORDS_MAX {
        let Some(record) = record(bytes)? else { return Ok(None) };
        message.extend_from_slice(&bytes[record.clone()]);
        bytes = &bytes[record.end..];
        let Some(&[kind, high, middle, low]) = message.first_chunk::<4>() else { continue };
        if kind != CLIENT_HELLO {
            return Err(InvalidHello::NotTls);
        }
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if BYTES_MAX < length {
            return Err(InvalidHello::TooLong);
        }
        if length + 4 <= message.len() {
            // Nothing may follow in the same record: the server has not answered.
            let whole = length + 4 == message.len();
            message.drain(..4);
            return if whole { Ok(Some(message)) } else { Err(InvalidHello::Lengths) };
        }
    }
    Err(InvalidHello::TooLong)
}

/// Where in `bytes` the content of the first record is; `None` if it is not all there yet.
fn record(bytes: &[u8]) -> Result<Option<Range<usize>>, InvalidHello> {
    if bytes.first().is_some_and(|&kind| kind != HANDSHAKE)
        || bytes.get(1).is_some_and(|&major| major != 3)
    {
        return Err(InvalidHello::NotTls);
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<5>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length == 0 || RECORD_BYTES_MAX < length {
        return Err(InvalidHello::Lengths);
    }
    Ok((5 + length <= bytes.len()).then_some(5..5 + length))
}

fn read(message: &[u8]) -> Result<ClientHello, InvalidHello> {
    let mut fields = Fields(message);
    fields.take(2 + 32)?;
    fields.list8()?;
    fields.list16()?;
    fields.list8()?;
    let mut hello =
        ClientHello { server_name: None, protocols: Vec::new(), encrypted: Encrypted::No };
    if fields.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Fields(fields.list16()?);
    fields.end()?;
    let mut seen = [false; 3];
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.list16()?;
        let slot = match kind {
            SERVER_NAME => 0,
            ALPN => 1,
            ENCRYPTED_CLIENT_HELLO => 2,
            _ => continue,
        };
        if std::mem::replace(&mut seen[slot], true) {
            return Err(InvalidHello::Twice);
        }
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(content)?),
            ALPN => hello.protocols = protocols(content)?,
            _ => hello.encrypted = encrypted(content)?,
        }
    }
    Ok(hello)
}

/// The one name of the list, which must be a host's.
fn server_name(content: &[u8]) -> Result<Host, InvalidHello> {
    let mut content = Fields(content);
    let mut names = Fields(content.list16()?);
    content.end()?;
    let &[kind] = names.take(1).map_err(|_short| InvalidHello::Names)? else {
        return Err(InvalidHello::Names);
    };
    let name = names.list16()?;
    if kind != 0 || !names.0.is_empty() {
        return Err(InvalidHello::Names);
    }
    let text = str::from_utf8(name).map_err(|_error| InvalidHello::Name)?;
    // A dot at its end is not allowed here (RFC 6066, 3), and servers disagree about it.
    if text.ends_with('.') {
        return Err(InvalidHello::Name);
    }
    Host::parse_ascii(text).map_err(|_error| InvalidHello::Name)
}

fn protocols(content: &[u8]) -> Result<Vec<Vec<u8>>, InvalidHello> {
    let mut content = Fields(content);
    let mut list = Fields(content.list16()?);
    content.end()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.list8()?;
        if name.is_empty() {
            return Err(InvalidHello::Lengths);
        }
        protocols.push(name.to_vec());
    }
    Ok(protocols)
}

fn encrypted(content: &[u8]) -> Result<Encrypted, InvalidHello> {
    match content.first() {
        Some(0) => Ok(Encrypted::Perhaps),
        // The inner form is for the encrypted part alone.
        Some(1) => Err(InvalidHello::Inner),
        _ => Err(InvalidHello::Lengths),
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], InvalidHello> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(InvalidHello::Lengths)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, InvalidHello> {
        let (&bytes, rest) = self.0.split_first_chunk::<2>().ok_or(InvalidHello::Lengths)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    fn list8(&mut self) -> Result<&'a [u8], InvalidHello> {
        let (&length, rest) = self.0.split_first().ok_or(InvalidHello::Lengths)?;
        self.0 = rest;
        self.take(usize::from(length))
    }

    fn list16(&mut self) -> Result<&'a [u8], InvalidHello> {
        let length = self.number()?;
        self.take(usize::from(length))
    }

    const fn end(&self) -> Result<(), InvalidHello> {
        if self.0.is_empty() { Ok(()) } else { Err(InvalidHello::Lengths) }
    }
}

#[cfg(test)]
mod tests;
