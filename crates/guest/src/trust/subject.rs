//! The name under which OpenSSL looks for a certificate in a folder: a hash of its subject, in the
//! form that makes equal subjects equal (spaces and capitals do not count).

use super::sha1;

const BMP_STRING: u8 = 30;
const UNIVERSAL_STRING: u8 = 28;
const UTF8_STRING: u8 = 12;
const SET: u8 = 0x31;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
/// UTF-8, Printable, T61, IA5 and Visible strings, of one byte or more a character.
const STRINGS: [u8; 5] = [UTF8_STRING, 19, 20, 22, 26];
const UTF8_STRINGS: [u8; 4] = [UTF8_STRING, 19, 22, 26];

/// The first part of `HASH.N`; none if it is no certificate.
pub(super) fn hash(certificate: &[u8]) -> Option<String> {
    let digest = sha1::digest(&[&canonical(subject(certificate)?)?]);
    let (first, _) = digest.split_first_chunk()?;
    Some(format!("{:08x}", u32::from_le_bytes(*first)))
}

/// One value of DER: its tag, its content, and what follows it.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn tagged(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = value(bytes)?;
    (tag == expected).then_some((content, rest))
}

/// The content of the subject.
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = tagged(certificate, SEQUENCE)?;
    let (mut rest, _) = tagged(certificate, SEQUENCE)?;
    if let Some((_, after)) = tagged(rest, VERSION) {
        rest = after;
    }
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        (_, _, rest) = value(rest)?;
    }
    tagged(rest, SEQUENCE).map(|(subject, _)| subject)
}

/// All its parts, one after another, without a frame around them.
fn canonical(mut subject: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while !subject.is_empty() {
        let (mut set, rest) = tagged(subject, SET)?;
        subject = rest;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let (attribute, rest) = tagged(set, SEQUENCE)?;
            attributes.push(canonical_attribute(attribute)?);
            set = rest;
        }
        attributes.sort();
        put(&mut all, SET, &attributes.concat());
    }
    Some(all)
}

fn canonical_attribute(attribute: &[u8]) -> Option<Vec<u8>> {
    let (_, _, after) = value(attribute)?;
    let mut content = attribute[..attribute.len() - after.len()].to_vec();
    let (tag, text, _) = value(after)?;
    match characters(tag, text) {
        Some(text) => put(&mut content, UTF8_STRING, plain(&text).as_bytes()),
        None => content.extend_from_slice(after),
    }
    let mut whole = Vec::new();
    put(&mut whole, SEQUENCE, &content);
    Some(whole)
}

/// The text; none of what is none and so stays as it is.
fn characters(tag: u8, bytes: &[u8]) -> Option<String> {
    if UTF8_STRINGS.contains(&tag) {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    if STRINGS.contains(&tag) {
        return Some(bytes.iter().copied().map(char::from).collect());
    }
    let wide: Vec<u32> = match tag {
        BMP_STRING => bytes.chunks(2).map(big_endian).collect(),
        UNIVERSAL_STRING => bytes.chunks(4).map(big_endian).collect(),
        _ => return None,
    };
    wide.into_iter().map(char::from_u32).collect()
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn plain(text: &str) -> String {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let words: Vec<_> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_ascii_lowercase()
}

fn put(to: &mut Vec<u8>, tag: u8, content: &[u8]) {
    to.push(tag);
    let length = content.len().to_be_bytes();
    match content.len() {
        0..0x80 => to.push(length[7]),
        0x80..0x100 => to.extend([0x81, length[7]]),
        _ => to.extend([0x82, length[6], length[7]]),
    }
    to.extend_from_slice(content);
}

#[cfg(test)]
mod tests;
