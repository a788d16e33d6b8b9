//! An image out of here again, as a tar of an OCI layout that `docker load` and `skopeo` read.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::blob::{BlobError, Blobs};
use super::convert::{self, ConvertError};
use super::descriptor::Descriptor;
use super::digest::Digest;
use super::layered::{self, LayeredError};
use super::manifest::{Index, MANIFEST_BYTES_MAX};
use crate::cache::Cache;
use crate::catalog::Image;
use crate::progress::{Event, Progress, Step};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error(transparent)]
    Layered(#[from] LayeredError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("could not write the archive")]
    Write(#[source] io::Error),
}

/// What `docker load` looks for first.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry<'a> {
    config: String,
    repo_tags: &'a [String],
    layers: Vec<String>,
}

/// Writes the image to `out`, under its names. The same image and names give the same bytes; what is
/// written is checked on the way, and an archive whose end is missing is of no use to anyone.
pub fn save(
    cache: &Cache,
    blobs: &Blobs,
    image: &Image,
    out: &mut impl Write,
    progress: Progress<'_>,
) -> Result<(), SaveError> {
    let digest = layered::layered(cache, blobs, image, progress)?;
    let manifest = convert::manifest(blobs, &digest)?;
    progress(Event::Began(Step::WriteArchive));
    let bytes = blobs.read(&digest, MANIFEST_BYTES_MAX)?;
    let of_manifest = Descriptor::new(&manifest.media_type, digest, bytes.len() as u64);
    let mut archive = Archive { builder: Builder::new(out), written: BTreeMap::new() };
    archive.folder("blobs/")?;
    archive.folder("blobs/sha256/")?;
    archive.bytes(&blob_path(&digest), &bytes)?;
    let total: u64 = manifest.blobs().map(|blob| blob.size).sum();
    let mut done = 0;
    for blob in manifest.blobs() {
        archive.blob(blobs, blob)?;
        done += blob.size;
        progress(Event::Advanced { bytes: done, total: Some(total) });
    }
    archive.bytes("index.json", &index(image, &of_manifest).to_json())?;
    let layers = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    let config = blob_path(&manifest.config.digest);
    let docker = [DockerEntry { config, repo_tags: image.names(), layers }];
    archive.bytes("manifest.json", &json(&docker))?;
    archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.builder.finish().map_err(SaveError::Write)
}

/// One entry for each name, all for the one manifest.
fn index(image: &Image, manifest: &Descriptor) -> Index {
    let entry = |name: Option<&String>| {
        let mut entry = manifest.clone();
        if let Some(name) = name {
            let tag = name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
            entry.annotations.insert(CONTAINERD_NAME.to_owned(), name.clone());
            entry.annotations.insert(REF_NAME.to_owned(), tag.unwrap_or(name).to_owned());
        }
        entry
    };
    let names = image.names();
    let nameless = names.is_empty().then(|| entry(None));
    Index { manifests: names.iter().map(|name| entry(Some(name))).chain(nameless).collect() }
}

struct Archive<W: Write> {
    builder: Builder<W>,
    /// What is in it already: two layers may be the same.
    written: BTreeMap<Digest, ()>,
}

impl<W: Write> Archive<W> {
    fn folder(&mut self, path: &str) -> Result<(), SaveError> {
        self.append(EntryType::Directory, path, 0, &mut io::empty())
    }

    fn bytes(&mut self, path: &str, mut bytes: &[u8]) -> Result<(), SaveError> {
        self.append(EntryType::Regular, path, bytes.len() as u64, &mut bytes)
    }

    fn blob(&mut self, blobs: &Blobs, blob: &Descriptor) -> Result<(), SaveError> {
        let digest = blob.digest;
        if self.written.insert(digest, ()).is_some() {
            return Ok(());
        }
        let mut source = Hashed { source: blobs.open(&digest)?, hash: Sha256::new() };
        self.append(EntryType::Regular, &blob_path(&digest), blob.size, &mut source)?;
        match Digest::finish(source.hash) {
            found if found == digest => Ok(()),
            found => Err(BlobError::Digest { digest, found }.into()),
        }
    }

    fn append(
        &mut self,
        kind: EntryType,
        path: &str,
        bytes: u64,
        source: &mut dyn Read,
    ) -> Result<(), SaveError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes);
        let appended = self.builder.append_data(&mut header, path, source.take(bytes));
        appended.map_err(SaveError::Write)
    }
}

struct Hashed<R> {
    source: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        self.hash.update(&buf[..got]);
        Ok(got)
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
