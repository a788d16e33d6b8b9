//! What a claim puts into a guest, and who the machine is: no image has that.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::trust::{BUNDLES, CLAIMED, HASHED, KEYSTORES, NAME, SOURCES, SUDO};

/// Are as in the base, or not there.
const IDENTITY: [&str; 3] = ["etc/machine-id", "etc/hosts", "etc/resolv.conf"];
/// Of our own making.
const OURS: [&str; 2] = [CLAIMED.split_at(1).1, SUDO];
/// Who a machine is to who logs in to it: `ssh-keygen -A` makes them anew.
const HOST_KEYS: &str = "etc/ssh/ssh_host_";
/// Folders that the agent makes, or writes to, whatever is in them; beside those of certificates.
const FOLDERS: [&str; 15] = [
    "",
    "dev",
    "etc",
    "etc/ssl",
    "etc/sudoers.d",
    "lib",
    "lib/modules",
    "proc",
    "run",
    "sys",
    "usr",
    "usr/lib",
    "usr/lib/modules",
    "usr/local",
    "usr/local/share",
];
const PEM_LINE: usize = 64;

/// The certificates that were put into a guest, in DER.
#[derive(Debug, Clone, Default)]
pub struct Own {
    certificates: Vec<Vec<u8>>,
    texts: Vec<String>,
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// What is there is of the image.
    Whole,
    /// It is as in the base, and not there if the base has none.
    AsInBase,
    /// It is of the image without our certificates.
    Bundle,
    /// As in the base if it has one of our certificates.
    Keystore,
}

impl Own {
    pub fn new(certificates: Vec<Vec<u8>>) -> Self {
        let texts = certificates.iter().map(|certificate| pem(certificate)).collect();
        Self { certificates, texts }
    }

    #[cfg(test)]
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Of a path without a slash at its start. `link` is the target, if it is a link.
    pub(super) fn fate(&self, path: &str, link: Option<&str>) -> Fate {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_source = SOURCES.contains(&folder) && is_ours(name);
        // OpenSSL's names lead to ours.
        let is_hash = folder == HASHED && link.is_some_and(is_ours);
        let is_ours = IDENTITY.contains(&path) || OURS.contains(&path) || is_source || is_hash;
        if is_ours || path.starts_with(HOST_KEYS) {
            Fate::AsInBase
        } else if BUNDLES.contains(&path) {
            Fate::Bundle
        } else if KEYSTORES.contains(&path) {
            Fate::Keystore
        } else {
            Fate::Whole
        }
    }

    /// Whether the agent itself may have made the folder, or what is in it.
    pub(super) fn is_touched(path: &str) -> bool {
        FOLDERS.contains(&path) || SOURCES.contains(&path)
    }

    /// A bundle as it would be without us.
    pub(super) fn without(&self, bundle: &[u8]) -> Vec<u8> {
        let mut rest = bundle.to_vec();
        for text in &self.texts {
            while let Some(at) = find(&rest, text.as_bytes()) {
                rest.drain(at..at + text.len());
            }
        }
        rest
    }

    pub(super) fn is_in(&self, keystore: &[u8]) -> bool {
        self.certificates.iter().any(|certificate| find(keystore, certificate).is_some())
    }
}

/// `fumehood-1.crt`
fn is_ours(name: &str) -> bool {
    let number = name.strip_prefix(NAME).and_then(|rest| rest.split_once('.'));
    number.is_some_and(|(number, kind)| {
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && matches!(kind, "crt" | "pem")
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return None;
    }
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// As the agent writes them.
fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(PEM_LINE).map(String::from_utf8_lossy);
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_an_image() {
        let own = Own::new(vec![vec![7; 100]]);
        use Fate::*;
        let table = [
            ("etc/machine-id", None, AsInBase),
            ("etc/machine-id2", None, Whole),
            ("etc/hosts", None, AsInBase),
            ("home/etc/hosts", None, Whole),
            ("etc/ssl/fumehood.pem", None, AsInBase),
            ("usr/local/share/ca-certificates/fumehood-12.crt", None, AsInBase),
            ("usr/local/share/ca-certificates/fumehood-x.crt", None, Whole),
            ("usr/local/share/ca-certificates/corp.crt", None, Whole),
            ("etc/ssl/certs/fumehood-1.pem", Some("/usr/local/x"), AsInBase),
            ("etc/ssl/certs/0a1b2c3d.0", Some("fumehood-1.pem"), AsInBase),
            ("etc/ssl/certs/0a1b2c3d.0", Some("corp.pem"), Whole),
            ("etc/ssl/certs/ca-certificates.crt", None, Bundle),
            ("etc/ssl/certs/java/cacerts", None, Keystore),
            ("etc/ssh/ssh_host_ed25519_key", None, AsInBase),
            ("etc/ssh/sshd_config", None, Whole),
        ];
        for (path, link, expected) in table {
            assert_eq!(own.fate(path, link), expected, "{path}");
        }
    }

    #[test]
    fn a_bundle_without_us() {
        let (ours, other) = (vec![7; 100], pem(&[9; 50]));
        let own = Own::new(vec![ours.clone()]);
        let bundle = format!("# a\n{other}{}{other}", pem(&ours));
        assert_eq!(own.without(bundle.as_bytes()), format!("# a\n{other}{other}").as_bytes());
        assert_eq!(Own::default().without(b"x"), b"x");
        assert!(own.is_in(&[&[1, 2], &ours[..]].concat()));
        assert!(!own.is_in(&ours[1..]));
    }
}
