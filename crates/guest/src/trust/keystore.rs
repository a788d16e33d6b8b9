//! Java's keystore in its old form (JKS): a list of certificates under names, sealed with the hash of
//! a password that everybody knows.

use super::sha1;

const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const VERSION: [u8; 4] = [0, 0, 0, 2];
const TRUSTED: [u8; 4] = [0, 0, 0, 2];
/// After magic and version.
const COUNT_AT: usize = 8;
const ENTRIES_AT: usize = 12;
const SEAL_LEN: usize = 20;
/// `changeit`, two bytes a character, and the words that the format adds to any password.
const SEAL_KEY: &[u8] = b"\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite";

/// The keystore with the certificate in it; none if there is nothing to do, or if it is not such a
/// keystore, or one with another password.
pub(super) fn with(keystore: &[u8], certificate: &[u8], unix_ms: u64) -> Option<Vec<u8>> {
    let (content, seal) = keystore.split_last_chunk::<SEAL_LEN>()?;
    if content.get(..COUNT_AT)? != [MAGIC, VERSION].concat() {
        return None;
    }
    if sha1::digest(&[SEAL_KEY, content]) != *seal || contains(content, certificate) {
        return None;
    }
    let count = u32::from_be_bytes(*content.get(COUNT_AT..)?.first_chunk()?).checked_add(1)?;
    let mut new = content.to_vec();
    new[COUNT_AT..ENTRIES_AT].copy_from_slice(&count.to_be_bytes());
    new.extend(TRUSTED);
    put(&mut new, name(certificate).as_bytes());
    new.extend(unix_ms.to_be_bytes());
    put(&mut new, b"X.509");
    new.extend(u32::try_from(certificate.len()).ok()?.to_be_bytes());
    new.extend(certificate);
    new.extend(sha1::digest(&[SEAL_KEY, &new]));
    Some(new)
}

/// Different for each certificate: names may not occur twice.
fn name(certificate: &[u8]) -> String {
    let digest = sha1::digest(&[certificate]);
    digest[..8].iter().fold("fumehood-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

fn put(to: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).expect("our names are short");
    to.extend(length.to_be_bytes());
    to.extend(text);
}

fn contains(content: &[u8], certificate: &[u8]) -> bool {
    content.windows(certificate.len()).any(|window| window == certificate)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn sealed(content: &[u8]) -> Vec<u8> {
        [content, &sha1::digest(&[SEAL_KEY, content])].concat()
    }

    pub(in crate::trust) fn empty() -> Vec<u8> {
        sealed(&[MAGIC, VERSION, [0; 4]].concat())
    }

    #[test]
    fn an_empty_keystore_is_what_java_writes() {
        // By `keytool -importcert -storetype JKS`, and `-delete` after it.
        let seal = [
            0xe2, 0x68, 0x6e, 0x45, 0xfb, 0x43, 0xdf, 0xa4, 0xd9, 0x92, 0xdd, 0x41, 0xce, 0xb6,
            0xb2, 0x1c, 0x63, 0x30, 0xd7, 0x92,
        ];
        assert_eq!(empty()[12..], seal);
    }

    #[test]
    fn a_certificate_is_added_once() {
        let one = with(&empty(), b"certificate", 5).unwrap();
        assert_eq!(one[COUNT_AT..ENTRIES_AT], [0, 0, 0, 1]);
        let entry = &one[ENTRIES_AT..one.len() - SEAL_LEN];
        assert!(entry.starts_with(b"\0\0\0\x02\0\x19fumehood-"));
        let rest = b"\0\0\0\0\0\0\0\x05\0\x05X.509\0\0\0\x0bcertificate";
        assert_eq!(entry[6 + 25..], rest[..]);
        assert_eq!(with(&one, b"certificate", 6), None);
        let two = with(&one, b"another one", 6).unwrap();
        assert_eq!(two[COUNT_AT..ENTRIES_AT], [0, 0, 0, 2]);
        assert_eq!(two, sealed(&two[..two.len() - SEAL_LEN]));
    }

    #[test]
    fn what_is_no_such_keystore_is_left_alone() {
        let mut broken = empty();
        broken[13] ^= 1;
        let cut = &empty()[..20];
        let pkcs12 = sealed(b"\x30\x82\x01\x02\x02\x01\x03and so on");
        for keystore in [&[], cut, &broken, &pkcs12] {
            assert_eq!(with(keystore, b"certificate", 0), None);
        }
    }
}
