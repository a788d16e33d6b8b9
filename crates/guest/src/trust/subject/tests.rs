//! Certificates made by `openssl req`, with what `openssl x509 -hash` says of them.

use super::{super::tests::pem_bytes, *};

const PLAIN: &str = include_str!("../examples/plain.pem");

#[test]
fn a_hash_is_openssls() {
    let table = [
        (PLAIN, "ecc7d046"),
        // Spaces at the ends, several in a row, letters beyond ASCII.
        (include_str!("../examples/spaces.pem"), "dfb73ef9"),
        // Several attributes in one part, and another kind of string.
        (include_str!("../examples/several.pem"), "9d4343f1"),
        // Two bytes a character; and a certificate without a version.
        (include_str!("../examples/wide.pem"), "a5d8ffb9"),
    ];
    for (text, expected) in table {
        assert_eq!(hash(&pem_bytes(text)).as_deref(), Some(expected));
    }
}

#[test]
fn what_is_no_certificate_has_none() {
    let whole = pem_bytes(PLAIN);
    for end in 0..whole.len() {
        assert_eq!(hash(&whole[..end]), None, "{end} bytes");
    }
    // No byte of it makes us fail.
    for at in 0..whole.len() {
        for byte in [0, 0x30, 0x7f, 0x84, 0xff] {
            let mut broken = whole.clone();
            broken[at] = byte;
            let _is_there = hash(&broken).is_some();
        }
    }
}
