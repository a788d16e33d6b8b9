//! Whom the guest trusts beside whom its image trusts: the certificates are put wherever systems and
//! programs look for them, so that what is made anew from these places later trusts them too.
//!
//! The image may have none of these places, or anything in place of one. Nothing here is needed for
//! the machine to run: what cannot be done is told, and the rest is done.

use std::{io, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use protocol::{
    network::Certificate,
    trust::{
        BUNDLE, BUNDLES, CLAIMED, DEBIAN_SOURCES, HASHED, KEYSTORES, NAME, RED_HAT_SOURCES, SUDO,
        TRUST_VARIABLES,
    },
};

use crate::tree::Tree;

mod keystore;
mod sha1;
mod subject;

const SUDO_FOLDER: &str = "etc/sudoers.d";
/// As many certificates of one hash are looked for.
const SAME_HASH_MAX: u32 = 10;
const PEM_LINE: usize = 64;

/// Puts the certificates in their places, and tells what could not be done. Done again it changes
/// nothing.
pub(crate) fn install(root: &Path, certificates: &[Certificate], unix_ms: u64) -> Vec<String> {
    if certificates.is_empty() {
        return Vec::new();
    }
    match Tree::open(root) {
        Ok(tree) => {
            let texts = certificates.iter().map(|certificate| pem(&certificate.0)).collect();
            let faults = Vec::new();
            Installer { tree, certificates, texts, unix_ms, faults }.install()
        }
        Err(error) => vec![error.to_string()],
    }
}

/// Reads what [`install`] will write on, so that a machine made from this one has it at hand.
pub(crate) fn warm(root: &Path) {
    let Ok(tree) = Tree::open(root) else { return };
    for bundle in BUNDLES {
        // It is there or not.
        let _is_there = tree.read(bundle).is_ok();
    }
    for folder in [DEBIAN_SOURCES, RED_HAT_SOURCES, HASHED, SUDO_FOLDER] {
        let _is_there = tree.has_folder(folder);
    }
}

struct Installer<'a> {
    tree: Tree,
    certificates: &'a [Certificate],
    /// The same in PEM.
    texts: Vec<String>,
    unix_ms: u64,
    faults: Vec<String>,
}

impl Installer<'_> {
    fn install(mut self) -> Vec<String> {
        for folder in [DEBIAN_SOURCES, HASHED] {
            self.note(folder, self.tree.make_folder(folder));
        }
        let mut before = Before::Perhaps;
        for index in 0..self.certificates.len() {
            if self.put_source(index) == Before::No {
                before = Before::No;
            }
            self.note(HASHED, self.link(index));
        }
        let claimed = CLAIMED.trim_start_matches('/');
        self.note(claimed, self.tree.replace(claimed, self.texts.concat().as_bytes(), 0o644));
        for bundle in BUNDLES {
            self.note(bundle, self.add_to_bundle(bundle, before));
        }
        for keystore in KEYSTORES {
            self.note(keystore, self.add_to_keystore(keystore));
        }
        if self.tree.has_folder(SUDO_FOLDER) {
            self.note(SUDO, self.tree.replace(SUDO, sudo_settings().as_bytes(), 0o440));
        }
        self.faults
    }

    fn note(&mut self, what: &str, done: io::Result<()>) {
        if let Err(error) = done {
            self.faults.push(format!("{what}: {error}"));
        }
    }

    /// What systems make their bundles from. Tells whether it was there.
    fn put_source(&mut self, index: usize) -> Before {
        let (name, text) = (name(index), self.texts[index].as_bytes());
        let source = format!("{DEBIAN_SOURCES}/{name}.crt");
        if self.tree.read(&source).is_ok_and(|content| content == text) {
            return Before::Perhaps;
        }
        let done = self.tree.replace(&source, text, 0o644);
        let mut all = vec![(source, done)];
        if self.tree.has_folder(RED_HAT_SOURCES) {
            let anchor = format!("{RED_HAT_SOURCES}/{name}.crt");
            let done = self.tree.replace(&anchor, text, 0o644);
            all.push((anchor, done));
        }
        all.into_iter().for_each(|(what, done)| self.note(&what, done));
        Before::No
    }

    /// As `update-ca-certificates` does it.
    fn link(&self, index: usize) -> io::Result<()> {
        let name = name(index);
        let link = format!("{HASHED}/{name}.pem");
        let target = format!("/{DEBIAN_SOURCES}/{name}.crt");
        if !self.leads_to(&link, &target) {
            self.tree.link(&link, &target)?;
        }
        let Some(hash) = subject::hash(&self.certificates[index].0) else { return Ok(()) };
        let target = format!("{name}.pem");
        for number in 0..SAME_HASH_MAX {
            let link = format!("{HASHED}/{hash}.{number}");
            if self.leads_to(&link, &target) {
                return Ok(());
            }
            if !self.tree.is_taken(&link) {
                return self.tree.link(&link, &target);
            }
        }
        Err(io::Error::other("too many certificates of one subject"))
    }

    fn leads_to(&self, link: &str, target: &str) -> bool {
        self.tree.link_target(link).as_deref() == Some(target.as_bytes())
    }

    /// Adds what is missing. Other bundles than the main one are there or not.
    fn add_to_bundle(&self, path: &str, before: Before) -> io::Result<()> {
        let is_main = BUNDLE.strip_prefix('/') == Some(path);
        if is_main && before == Before::No && self.tree.is_file(path) {
            // It need not be read: nobody has put all of them there.
            return self.tree.append(path, self.texts.concat().as_bytes());
        }
        match self.tree.read(path) {
            Ok(content) => {
                let missing = missing(&content, &self.texts);
                let is_whole = missing.is_empty();
                if is_whole { Ok(()) } else { self.tree.append(path, missing.as_bytes()) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_main => {
                self.tree.replace(path, self.texts.concat().as_bytes(), 0o644)
            }
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One of another form, or with a password of its own, is left as it is.
    fn add_to_keystore(&self, path: &str) -> io::Result<()> {
        let mut keystore = match self.tree.read(path) {
            Ok(keystore) => keystore,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut is_new = false;
        for certificate in self.certificates {
            if let Some(with) = keystore::with(&keystore, &certificate.0, self.unix_ms) {
                keystore = with;
                is_new = true;
            }
        }
        if is_new { self.tree.rewrite(path, &keystore) } else { Ok(()) }
    }
}

/// Whether an earlier claim has put the certificates in their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    No,
    Perhaps,
}

fn name(index: usize) -> String {
    format!("{NAME}{}", index + 1)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn missing(bundle: &[u8], texts: &[String]) -> String {
    let bundle = String::from_utf8_lossy(bundle);
    texts.iter().filter(|text| !bundle.contains(text.as_str())).map(String::as_str).collect()
}

fn pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// `sudo` empties the environment: what tells programs of the bundle is to stay.
fn sudo_settings() -> String {
    let names = TRUST_VARIABLES.map(|(name, _)| name);
    format!("Defaults env_keep += \"{}\"\n", names.join(" "))
}

#[cfg(test)]
mod tests;
