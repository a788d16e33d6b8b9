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

/// Puts the certificates in their places, and tells what could not be done. Those of `before` are theirs by
/// now, and give way: what can stay as it is stays, since each clone of a template does this. Done again it
/// changes nothing.
pub(crate) fn install(
    root: &Path,
    certificates: &[Certificate],
    before: &[Certificate],
    unix_ms: u64,
) -> Vec<String> {
    change(root, certificates, before, |installer| {
        installer.install();
        for keystore in KEYSTORES {
            installer.note(keystore, installer.add_to_keystore(keystore, unix_ms));
        }
    })
}

/// Puts certificates into places that others are to have. Not into Java's keystores, which none is taken
/// out of.
pub(crate) fn stand_in(root: &Path, certificates: &[Certificate]) -> Vec<String> {
    change(root, certificates, &[], Installer::install)
}

fn change<'a>(
    root: &Path,
    certificates: &'a [Certificate],
    before: &'a [Certificate],
    how: impl FnOnce(&mut Installer<'a>),
) -> Vec<String> {
    if certificates.is_empty() && before.is_empty() {
        return Vec::new();
    }
    match Tree::open(root) {
        Ok(tree) => {
            let (own, before) = (Own::of(certificates), Own::of(before));
            let mut installer = Installer { tree, own, before, faults: Vec::new() };
            how(&mut installer);
            installer.faults
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

/// Certificates, and the same in PEM: each, and all as one.
struct Own<'a> {
    certificates: &'a [Certificate],
    texts: Vec<String>,
    all: String,
}

impl<'a> Own<'a> {
    fn of(certificates: &'a [Certificate]) -> Self {
        let texts: Vec<_> = certificates.iter().map(|certificate| pem(&certificate.0)).collect();
        Self { certificates, all: texts.concat(), texts }
    }

    fn text(&self, index: usize) -> Option<&[u8]> {
        self.texts.get(index).map(String::as_bytes)
    }

    /// The names that OpenSSL looks for, of which one is this certificate's.
    fn hashed(&self, index: usize) -> Option<impl Iterator<Item = String> + use<>> {
        let hash = subject::hash(&self.certificates.get(index)?.0)?;
        Some((0..SAME_HASH_MAX).map(move |number| format!("{hash}.{number}")))
    }
}

struct Installer<'a> {
    tree: Tree,
    own: Own<'a>,
    /// Those that have their places.
    before: Own<'a>,
    faults: Vec<String>,
}

impl Installer<'_> {
    fn install(&mut self) {
        for folder in [DEBIAN_SOURCES, HASHED] {
            self.note(folder, self.tree.make_folder(folder));
        }
        for index in self.own.texts.len()..self.before.texts.len() {
            self.remove(index);
        }
        let mut before = Before::Perhaps;
        for index in 0..self.own.texts.len() {
            if self.put_source(index) == Before::No {
                before = Before::No;
            }
            self.note(HASHED, self.link(index));
        }
        let claimed = CLAIMED.trim_start_matches('/');
        let (all, old) = (self.own.all.as_bytes(), Some(self.before.all.as_bytes()));
        self.note(claimed, self.put(claimed, all, old, 0o644).map(drop));
        for bundle in BUNDLES {
            self.note(bundle, self.add_to_bundle(bundle, before));
        }
        if self.tree.has_folder(SUDO_FOLDER) {
            let settings = sudo_settings();
            self.note(SUDO, self.put(SUDO, settings.as_bytes(), None, 0o440).map(drop));
        }
    }

    /// A file with this content. One that has another is replaced, unless that is known to be ours.
    /// Tells whether it was there.
    fn put(&self, path: &str, new: &[u8], old: Option<&[u8]>, mode: u32) -> io::Result<Before> {
        match self.tree.read(path) {
            Ok(content) if content == new => return Ok(Before::Perhaps),
            Ok(content) if Some(content.as_slice()) == old => self.tree.rewrite(path, new)?,
            Ok(_) | Err(_) => self.tree.replace(path, new, mode)?,
        }
        Ok(Before::No)
    }

    fn note(&mut self, what: &str, done: io::Result<()>) {
        if let Err(error) = done {
            self.faults.push(format!("{what}: {error}"));
        }
    }

    /// What systems make their bundles from. Tells whether it was there.
    fn put_source(&mut self, index: usize) -> Before {
        let (name, text) = (name(index), self.own.texts[index].as_bytes());
        let (source, anchor) =
            (format!("{DEBIAN_SOURCES}/{name}.crt"), format!("{RED_HAT_SOURCES}/{name}.crt"));
        let old = self.before.text(index);
        let done = self.put(&source, text, old, 0o644);
        if let Ok(Before::Perhaps) = done {
            return Before::Perhaps;
        }
        let is_red_hat = self.tree.has_folder(RED_HAT_SOURCES);
        let anchored = is_red_hat.then(|| self.put(&anchor, text, old, 0o644));
        self.note(&source, done.map(drop));
        self.note(&anchor, anchored.map_or(Ok(()), |done| done.map(drop)));
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
        let Some(names) = self.own.hashed(index) else { return Ok(()) };
        let target = format!("{name}.pem");
        for name in names {
            let link = format!("{HASHED}/{name}");
            if self.leads_to(&link, &target) {
                return Ok(());
            }
            if !self.tree.is_taken(&link) {
                return match self.hashed_before(index) {
                    Some(old) => self.tree.rename(&old, &name),
                    None => self.tree.link(&link, &target),
                };
            }
        }
        Err(io::Error::other("too many certificates of one subject"))
    }

    /// The link by which OpenSSL finds an earlier certificate, if it is there.
    fn hashed_before(&self, index: usize) -> Option<String> {
        let target = format!("{}.pem", name(index));
        let mut links = self.before.hashed(index)?.map(|name| format!("{HASHED}/{name}"));
        links.find(|link| self.leads_to(link, &target))
    }

    /// Takes an earlier certificate that none follows out of its places but the bundles.
    fn remove(&mut self, index: usize) {
        let name = name(index);
        let files = [DEBIAN_SOURCES, RED_HAT_SOURCES].map(|folder| format!("{folder}/{name}.crt"));
        let text = self.before.text(index);
        let is_ours = |path: &String| self.tree.read(path).ok().as_deref() == text;
        let mut all = Vec::from_iter(files.into_iter().filter(is_ours));
        all.extend(self.hashed_before(index));
        all.push(format!("{HASHED}/{name}.pem"));
        all.into_iter().for_each(|path| self.note(&path, self.tree.remove(&path)));
    }

    fn leads_to(&self, link: &str, target: &str) -> bool {
        self.tree.link_target(link).as_deref() == Some(target.as_bytes())
    }

    /// Adds what is missing. Other bundles than the main one are there or not.
    fn add_to_bundle(&self, path: &str, before: Before) -> io::Result<()> {
        let is_main = BUNDLE.strip_prefix('/') == Some(path);
        let (all, old) = (self.own.all.as_bytes(), self.before.all.as_bytes());
        if !old.is_empty() && self.tree.swap_end(path, old, all).is_ok_and(|swapped| swapped) {
            return Ok(());
        }
        if is_main && before == Before::No && self.tree.is_file(path) {
            // It need not be read: nobody has put all of them there.
            return self.tree.append(path, all);
        }
        match self.tree.read(path) {
            Ok(content) => {
                let missing = missing(&content, &self.own.texts);
                let is_whole = missing.is_empty();
                if is_whole { Ok(()) } else { self.tree.append(path, missing.as_bytes()) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_main => {
                self.tree.replace(path, all, 0o644)
            }
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One of another form, or with a password of its own, is left as it is.
    fn add_to_keystore(&self, path: &str, unix_ms: u64) -> io::Result<()> {
        let mut keystore = match self.tree.read(path) {
            Ok(keystore) => keystore,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut is_new = false;
        for certificate in self.own.certificates {
            if let Some(with) = keystore::with(&keystore, &certificate.0, unix_ms) {
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
