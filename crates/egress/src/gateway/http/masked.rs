//! Secrets that a reply would carry back, made unreadable.
//!
//! A host may repeat what it was sent: an echo, an error message. Where the reply holds a secret of
//! its request byte by byte, the guest sees as many asterisks. This catches an accident, not intent:
//! a reply that is compressed, asked for in ranges, or writes the secret in another way keeps it.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use hyper::body::Frame;
use regex::bytes::Regex;
use zeroize::Zeroizing;

use super::account::Account;

/// Shorter ones are not looked for: they would be found where they are not.
const SECRET_BYTES_MIN: usize = 12;

/// What is told when something was masked.
const FOUND: &str = "the reply held the secret; it was masked";

/// The secrets of one request, as they might come back.
pub(crate) struct Secrets {
    texts: Vec<Zeroizing<Vec<u8>>>,
    found: Regex,
}

/// A body that is looked through. What could be the beginning of a secret is held back until more
/// comes.
pub(crate) struct Masked {
    secrets: Rc<Secrets>,
    account: Rc<Account>,
    held: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Secrets {
    /// `None` if there is nothing to look for.
    pub(crate) fn new(texts: Vec<Zeroizing<Vec<u8>>>) -> Option<Rc<Self>> {
        let texts: Vec<_> =
            texts.into_iter().filter(|text| SECRET_BYTES_MIN <= text.len()).collect();
        if texts.is_empty() {
            return None;
        }
        let mut pattern = Zeroizing::new(String::from("(?-u)"));
        for (n, text) in texts.iter().enumerate() {
            if 0 < n {
                pattern.push('|');
            }
            for byte in text.iter() {
                use std::fmt::Write;
                // Writing to a string does not fail.
                if write!(pattern, "\\x{byte:02x}").is_err() {
                    return None;
                }
            }
        }
        Some(Rc::new(Self { found: Regex::new(&pattern).ok()?, texts }))
    }

    /// Masks them in the headers of a reply.
    pub(crate) fn mask_headers(&self, headers: &mut HeaderMap, account: &Account) {
        for value in headers.values_mut() {
            let mut bytes = BytesMut::from(value.as_bytes());
            if self.mask(&mut bytes)
                && let Ok(masked) = HeaderValue::from_bytes(&bytes)
            {
                *value = masked;
                account.fail(FOUND);
            }
        }
    }

    fn mask(&self, bytes: &mut [u8]) -> bool {
        let places: Vec<_> = self.found.find_iter(bytes).map(|place| place.range()).collect();
        for place in &places {
            bytes[place.clone()].fill(b'*');
        }
        !places.is_empty()
    }

    /// How many of the last bytes could be the beginning of a secret.
    fn begun(&self, bytes: &[u8]) -> usize {
        let begun = |text: &Zeroizing<Vec<u8>>| {
            let most = text.len().saturating_sub(1).min(bytes.len());
            (1..=most).rev().find(|&length| text.starts_with(&bytes[bytes.len() - length..]))
        };
        self.texts.iter().filter_map(begun).max().unwrap_or(0)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Masked {
    /// `None` if the body cannot be looked through.
    pub(crate) fn new(
        secrets: &Rc<Secrets>,
        headers: &HeaderMap,
        account: &Rc<Account>,
    ) -> Option<Self> {
        let plain = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        plain.then(|| Self {
            secrets: Rc::clone(secrets),
            account: Rc::clone(account),
            held: BytesMut::new(),
            trailers: None,
        })
    }

    /// What may go on now that this has come.
    pub(crate) fn frame(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        match frame.into_data() {
            Ok(data) => self.data(&data).map(Frame::data),
            Err(frame) => {
                let mut trailers = frame.into_trailers().ok()?;
                self.secrets.mask_headers(&mut trailers, &self.account);
                match self.rest() {
                    Some(rest) => {
                        self.trailers = Some(trailers);
                        Some(rest)
                    }
                    None => Some(Frame::trailers(trailers)),
                }
            }
        }
    }

    fn data(&mut self, data: &Bytes) -> Option<Bytes> {
        // Most data is untouched, and then it is not copied.
        if self.held.is_empty() && !self.secrets.found.is_match(data) {
            let begun = self.secrets.begun(data);
            let (goes, stays) = data.split_at(data.len() - begun);
            self.held.extend_from_slice(stays);
            return (!goes.is_empty()).then(|| data.slice(..goes.len()));
        }
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(data);
        if self.secrets.mask(&mut bytes) {
            self.account.fail(FOUND);
        }
        let begun = self.secrets.begun(&bytes);
        self.held = bytes.split_off(bytes.len() - begun);
        (!bytes.is_empty()).then(|| bytes.freeze())
    }

    /// What was held back, at the end of the body.
    pub(crate) fn rest(&mut self) -> Option<Frame<Bytes>> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| Frame::data(held.freeze()))
    }

    pub(crate) fn pending_trailers(&mut self) -> Option<Frame<Bytes>> {
        self.trailers.take().map(Frame::trailers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.trailers.is_none()
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}
