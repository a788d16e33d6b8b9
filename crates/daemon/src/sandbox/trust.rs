//! Whom a guest is to trust beside whom its image trusts, and how its programs are told.
//!
//! That is the sandbox's own authority, by which its gateway opens connections, and, if asked for,
//! the authorities that somebody added to this host: a company's, for one, whose own filter stands
//! between the host and everything else.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use protocol::network::{
    BUNDLE, BUNDLE_VARIABLES, Certificate, NODE_VARIABLE, Network, TRUSTED_BYTES_MAX, TRUSTED_MAX,
};

/// Where an administrator of Debian, and one of Red Hat, puts certificates of their own.
const FOLDERS: [&str; 2] = ["/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors"];

/// Names a file with more of them.
const EXTRA_VARIABLE: &str = "FUMEHOOD_EXTRA_CA";

const FILE_BYTES_MAX: u64 = 1 << 20;
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The environment of commands: the image's, what leads programs to the guest's bundle if there is
/// anything of ours in it, and over both the user's own.
#[cfg_attr(not(test), expect(dead_code, reason = "called where a gateway is made"))]
pub(crate) fn environment(
    image: &[(String, String)],
    network: &Network,
    user: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut env = image.to_vec();
    if !network.trust.is_empty() {
        let bundle = BUNDLE_VARIABLES.map(|name| (name.to_owned(), BUNDLE.to_owned()));
        env.extend(bundle);
        env.push((NODE_VARIABLE.to_owned(), "1".to_owned()));
    }
    env.extend(user);
    env
}

/// What a guest is told: the sandbox's own authority first (in DER), then as many of the host's as
/// there is room for.
#[cfg_attr(not(test), expect(dead_code, reason = "called where a gateway is made"))]
pub(crate) fn network(authority: Vec<u8>, host: &[Vec<u8>]) -> Network {
    let mut found = Found { certificates: Vec::new(), bytes: 0, left_out: 0 };
    found.add(authority);
    host.iter().for_each(|certificate| found.add(certificate.clone()));
    Network { trust: found.certificates.into_iter().map(Certificate).collect() }
}

/// The authorities that somebody added to this host, in DER, each once: those in its folders for
/// them, and those in the file that `FUMEHOOD_EXTRA_CA` names. What cannot be read or is none is
/// passed over, with a warning.
#[expect(dead_code, reason = "called where a gateway is made")]
pub(crate) fn host_authorities() -> Vec<Vec<u8>> {
    let folders = FOLDERS.map(PathBuf::from);
    let extra = std::env::var_os(EXTRA_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    authorities(&folders, extra.as_deref())
}

fn authorities(folders: &[PathBuf], extra: Option<&Path>) -> Vec<Vec<u8>> {
    let mut found = Found { certificates: Vec::new(), bytes: 0, left_out: 0 };
    // The one that was named is not crowded out by those that happen to be there.
    let files = extra.map(Path::to_owned).into_iter();
    for file in files.chain(folders.iter().flat_map(|folder| files_of(folder))) {
        match read(&file) {
            Ok(content) => {
                let certificates = certificates(&content);
                if certificates.is_empty() {
                    tracing::warn!(file = %file.display(), "there is no certificate in it");
                }
                certificates.into_iter().for_each(|certificate| found.add(certificate));
            }
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "a certificate cannot be read");
            }
        }
    }
    if found.left_out > 0 {
        let kept = found.certificates.len();
        tracing::warn!(kept, left_out = found.left_out, "there are too many host certificates");
    }
    found.certificates
}

struct Found {
    certificates: Vec<Vec<u8>>,
    bytes: usize,
    left_out: usize,
}

impl Found {
    fn add(&mut self, certificate: Vec<u8>) {
        if self.certificates.contains(&certificate) {
            return;
        }
        let bytes = self.bytes + certificate.len();
        if self.certificates.len() == TRUSTED_MAX || bytes > TRUSTED_BYTES_MAX {
            self.left_out += 1;
            return;
        }
        self.bytes = bytes;
        self.certificates.push(certificate);
    }
}

/// In the order of their names. A folder that is not there has none.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_one = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|it| matches!(it, "crt" | "pem" | "cer" | "der")) && path.is_file()
    };
    let paths = entries.take(ENTRIES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = paths.filter(is_one).collect();
    files.sort();
    files
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    let is_whole = content.len() as u64 <= FILE_BYTES_MAX;
    if is_whole { Ok(content) } else { Err(io::ErrorKind::FileTooLarge.into()) }
}

/// All certificates of a file, which is one in DER or any number in PEM.
fn certificates(content: &[u8]) -> Vec<Vec<u8>> {
    if is_der(content) {
        return vec![content.to_vec()];
    }
    let text = String::from_utf8_lossy(content);
    let mut certificates = Vec::new();
    let mut rest = text.as_ref();
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (body, after) = after.split_once(END).unwrap_or((after, ""));
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        certificates.extend(BASE64_STANDARD.decode(body).ok().filter(|bytes| is_der(bytes)));
        rest = after;
    }
    certificates
}

/// Whether it is one value of DER, a sequence, and nothing behind it.
fn is_der(bytes: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = bytes else { return false };
    let (length, content) = match (*first, rest) {
        (0..=0x7f, content) => (usize::from(*first), content),
        (0x81, [a, content @ ..]) => (usize::from(*a), content),
        (0x82, [a, b, content @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), content),
        _ => return false,
    };
    length == content.len()
}

#[cfg(test)]
mod tests;
