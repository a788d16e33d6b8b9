//! Sealing: what is secret is stored encrypted, with a key that is not in the store.
//!
//! The key is 32 bytes: the service manager's credential `fumehood-seal-key` if there is one
//! (systemd's `LoadCredential=` or `LoadCredentialEncrypted=`), else `seal.key` in the state folder,
//! made at the first start with mode 0600. So a copy of the store alone, in a backup or on a
//! borrowed disk, shows no secret. It does not keep them from who can read the key's file too (the
//! server's own user, root), nor from who can look into the memory of a running server.

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    ids,
    key_file::{self, KEY_BYTES, KeyFileError},
};

const NONCE_BYTES: usize = 12;
/// The first byte of what is sealed, so that another way can follow.
const VERSION: u8 = 1;
/// The name of the credential with systemd.
const CREDENTIAL: &str = "fumehood-seal-key";

/// Where the key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The service manager keeps it, and says who may read it.
    Credential(PathBuf),
    /// A file of the server's own, for this user alone; made if it is not there.
    File(PathBuf),
}

impl KeySource {
    /// The credential in `credentials` (the value of `$CREDENTIALS_DIRECTORY`) if it is there, else
    /// the file.
    pub(crate) fn find(credentials: Option<&Path>, file: PathBuf) -> Self {
        let credential = credentials.map(|folder| folder.join(CREDENTIAL));
        match credential.filter(|path| path.exists()) {
            Some(path) => Self::Credential(path),
            None => Self::File(file),
        }
    }
}

/// What is sealed does not open: it was changed, it is another thing than the one asked for, or it
/// was sealed with another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is sealed does not open: it was changed, or sealed with another key")]
pub(crate) struct Unopened;

/// What is sealed, and whose it is: one is never taken for another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label<'a> {
    pub(crate) kind: &'static str,
    pub(crate) id: &'a str,
}

impl Label<'_> {
    fn bytes(&self) -> Vec<u8> {
        format!("fumehood\0{}\0{}", self.kind, self.id).into_bytes()
    }
}

/// Sealed bytes; without the key they say nothing but their length.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sealed(Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Seals and opens.
pub(crate) struct Seal(LessSafeKey);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

impl Seal {
    pub(crate) fn load(source: &KeySource) -> Result<Self, KeyFileError> {
        let key = match source {
            KeySource::Credential(path) => key_file::read(path, |_| true)?,
            KeySource::File(path) => key_file::load_or_make(path)?,
        };
        Ok(Self::with_key(&key))
    }

    fn with_key(key: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the right length");
        Self(LessSafeKey::new(key))
    }

    /// Nonces are random: with 96 bits of them some four thousand million things can be sealed
    /// with one key before two that are alike become thinkable.
    pub(crate) fn seal(&self, label: Label<'_>, plain: &[u8]) -> Sealed {
        let nonce: [u8; NONCE_BYTES] = ids::random();
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + plain.len() + 16);
        bytes.push(VERSION);
        bytes.extend(nonce);
        bytes.extend(plain);
        let (_, body) = bytes.split_at_mut(1 + NONCE_BYTES);
        let aad = Aad::from(label.bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, aad, body);
        bytes.extend(tag.expect("what is sealed is short").as_ref());
        Sealed(bytes)
    }

    pub(crate) fn open(
        &self,
        label: Label<'_>,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (&version, rest) = sealed.0.split_first().ok_or(Unopened)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Unopened)?;
        if version != VERSION {
            return Err(Unopened);
        }
        let mut plain = Zeroizing::new(body.to_vec());
        let aad = Aad::from(label.bytes());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, aad, &mut plain);
        let length = opened.map_err(|_unspecified| Unopened)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    /// Seals the JSON of a value.
    pub(crate) fn seal_json<T: Serialize>(
        &self,
        label: Label<'_>,
        value: &T,
    ) -> serde_json::Result<Sealed> {
        // Its length first, so that the buffer never moves and leaves a copy behind.
        let mut length = Counter(0);
        serde_json::to_writer(&mut length, value)?;
        let mut plain = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *plain, value)?;
        Ok(self.seal(label, &plain))
    }

    pub(crate) fn open_json<T: DeserializeOwned>(
        &self,
        label: Label<'_>,
        sealed: &Sealed,
    ) -> Result<T, Unopened> {
        let plain = self.open(label, sealed)?;
        // What is wrong with it would quote it.
        serde_json::from_slice(&plain).map_err(|_quoting| Unopened)
    }
}

struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
