//! Passes: what lets a visitor in at a private port, for a time. A pass is for one route and says
//! when it ends; it is signed with a key of this server, so nothing is kept of it.

use std::path::Path;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;

use crate::{
    key_file::{self, KeyFileError},
    route::Subdomain,
};

/// Longer than any pass is.
const PASS_BYTES_MAX: usize = 100;

/// The header, the query's field and the cookie that a pass comes in.
pub const PASS_HEADER: &str = "x-fumehood-pass";
pub const PASS_FIELD: &str = "fumehood_pass";
pub const PASS_COOKIE: &str = "fumehood_pass";

/// Signs passes and checks them.
pub struct Passes(hmac::Key);

impl std::fmt::Debug for Passes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passes(…)")
    }
}

impl Passes {
    /// With the key in this file, which is made at the first start.
    pub(crate) fn load(path: &Path) -> Result<Self, KeyFileError> {
        Ok(Self::with(&*key_file::load_or_make(path)?))
    }

    pub fn with(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A pass for this route until then, in milliseconds since 1970.
    pub fn sign(&self, subdomain: &Subdomain, until_ms: u64) -> String {
        let tag = hmac::sign(&self.0, &signed(subdomain, until_ms));
        format!("{until_ms:x}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// Until when a pass holds, if it is ours, for this route, and holds now.
    pub fn check(&self, subdomain: &Subdomain, pass: &str, now_ms: u64) -> Option<u64> {
        let (until, tag) = pass.split_once('.').filter(|_| pass.len() <= PASS_BYTES_MAX)?;
        let is_hex = until.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let until = u64::from_str_radix(until, 16).ok().filter(|_| is_hex)?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, &signed(subdomain, until), &tag).ok()?;
        (now_ms < until).then_some(until)
    }
}

fn signed(subdomain: &Subdomain, until_ms: u64) -> Vec<u8> {
    format!("fumehood\0port\0{subdomain}\0{until_ms}").into_bytes()
}

/// A query without the field of a pass, and the pass.
pub fn take_from_query(query: &str) -> (String, Option<String>) {
    let mut pass = None;
    let rest = query.split('&').filter(|field| match field.split_once('=') {
        Some((name, value)) if name == PASS_FIELD => {
            pass = Some(value.to_owned());
            false
        }
        Some(_) | None => true,
    });
    (rest.collect::<Vec<_>>().join("&"), pass)
}

/// A `Cookie` header without our cookie, and the passes in it: a neighbour under the same domain may
/// have set one that is none.
pub fn take_from_cookies(header: &str, cookie: &str) -> (String, Vec<String>) {
    let mut passes = Vec::new();
    let rest = header.split(';').map(str::trim).filter(|pair| match pair.split_once('=') {
        Some((name, value)) if name == cookie => {
            passes.push(value.to_owned());
            false
        }
        Some(_) | None => !pair.is_empty(),
    });
    (rest.collect::<Vec<_>>().join("; "), passes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Admission, routes};

    fn subdomain() -> Subdomain {
        routes(&[], &[(1, Admission::Private)]).remove(0).subdomain
    }

    #[test]
    fn a_pass_is_for_one_route_and_a_time() {
        let (passes, other) = (Passes::with(&[1; 32]), Passes::with(&[2; 32]));
        let (here, there) = (subdomain(), subdomain());
        let pass = passes.sign(&here, 1000);
        assert_eq!(passes.check(&here, &pass, 999), Some(1000));
        assert_eq!(passes.check(&here, &pass, 1000), None);
        assert_eq!(passes.check(&there, &pass, 0), None);
        assert_eq!(other.check(&here, &pass, 0), None);
        let longer = pass.replacen("3e8.", "3e9.", 1);
        assert_ne!(longer, pass);
        let capital = pass.replacen("3e8.", "3E8.", 1);
        let padded = format!("{pass}=");
        let cut = &pass[..pass.len() - 1];
        for bad in
            [&longer, &capital, &padded, cut, "", ".", "3e8", "3e8.", "+3e8.x", &"9".repeat(200)]
        {
            assert_eq!(passes.check(&here, bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn the_guest_is_not_shown_passes() {
        assert_eq!(
            take_from_query("a=1&fumehood_pass=x.y&b"),
            ("a=1&b".into(), Some("x.y".into()))
        );
        assert_eq!(take_from_query("fumehood_passes=1"), ("fumehood_passes=1".into(), None));
        assert_eq!(take_from_query(""), (String::new(), None));
        let (rest, passes) = take_from_cookies("a=1; p=x;p=y; ;pp=3", "p");
        assert_eq!((rest.as_str(), passes), ("a=1; pp=3", vec!["x".to_owned(), "y".to_owned()]));
    }

    #[test]
    fn the_key_stays_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let here = subdomain();
        let pass = Passes::load(&path).unwrap().sign(&here, 5);
        let again = Passes::load(&path).unwrap();
        assert_eq!(again.check(&here, &pass, 1), Some(5));
        assert_eq!(format!("{again:?}"), "Passes(…)");
    }
}
