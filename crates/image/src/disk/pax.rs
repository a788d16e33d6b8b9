//! The records of a PAX extended header: what overrides the fields of the plain one.

use std::collections::BTreeMap;

use super::sparse;
use super::tree::Time;

const XATTR_PREFIX: &str = "SCHILY.xattr.";
const SPARSE_PREFIX: &str = "GNU.sparse.";

/// Fields that a plain header has too small a place for.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) sparse: sparse::Records,
    /// The name of a sparse file, whose entry has one that says what it is.
    pub(super) sparse_path: Option<Vec<u8>>,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaxFault {
    Form,
    Number,
    Sparse,
}

impl Overrides {
    /// Lays the records in `text` over what is there.
    pub(super) fn read(&mut self, mut text: &[u8]) -> Result<(), PaxFault> {
        while !text.is_empty() {
            let (key, value, rest) = record(text).ok_or(PaxFault::Form)?;
            self.set(key, value)?;
            text = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), PaxFault> {
        // An empty value takes an earlier one back; an attribute may be empty, though.
        if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
            self.xattrs.insert(name.to_owned(), value.to_vec());
            return Ok(());
        }
        match key {
            "path" => self.path = present(value).map(<[u8]>::to_vec),
            "linkpath" => self.link = present(value).map(<[u8]>::to_vec),
            "uid" => self.uid = number(value)?,
            "gid" => self.gid = number(value)?,
            "size" => self.size = number(value)?,
            "mtime" => self.mtime = present(value).map(time).transpose()?,
            _ => return self.set_sparse(key, value),
        }
        Ok(())
    }

    fn set_sparse(&mut self, key: &str, value: &[u8]) -> Result<(), PaxFault> {
        match key.strip_prefix(SPARSE_PREFIX) {
            Some("name") => self.sparse_path = present(value).map(<[u8]>::to_vec),
            Some(key) => self.sparse.set(key, value).ok_or(PaxFault::Sparse)?,
            None => {}
        }
        Ok(())
    }
}

/// The first record of `LENGTH KEY=VALUE\n…`, its length counting the whole of it.
fn record(text: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let len: usize = str::from_utf8(&text[..space]).ok()?.parse().ok()?;
    let record = text.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let key = str::from_utf8(&record[..equals]).ok()?;
    Some((key, &record[equals + 1..], &text[len..]))
}

fn present(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Result<Option<T>, PaxFault> {
    let Some(value) = present(value) else { return Ok(None) };
    let text = str::from_utf8(value).or(Err(PaxFault::Number))?;
    text.parse().map(Some).or(Err(PaxFault::Number))
}

/// Seconds with an optional fraction, of which nine digits count: `-1.5` is 1.5 s before 1970.
fn time(value: &[u8]) -> Result<Time, PaxFault> {
    let text = str::from_utf8(value).or(Err(PaxFault::Number))?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().or(Err(PaxFault::Number))?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PaxFault::Number);
    }
    let digits = format!("{fraction:0<9.9}");
    let nanoseconds: u32 = digits.parse().or(Err(PaxFault::Number))?;
    if !whole.starts_with('-') || nanoseconds == 0 {
        return Ok(Time { seconds, nanoseconds });
    }
    let seconds = seconds.checked_sub(1).ok_or(PaxFault::Number)?;
    Ok(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds })
}
