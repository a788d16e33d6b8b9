//! The OCI layout: `index.json`, and blobs under their digests.

use std::collections::BTreeMap;

use super::super::descriptor::Descriptor;
use super::super::digest::Digest;
use super::super::manifest::{Document, MANIFEST_BYTES_MAX};
use super::super::media;
use super::super::platform;
use super::{ImportError, Parts, pick};

const INDEX: &str = "index.json";
/// Indexes in indexes; two are in use.
const DEPTH_MAX: usize = 4;

/// A tag alone or a whole reference, as the tool that wrote it has it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Files the blobs of one image; gives its manifest and its names.
pub(super) fn import(
    parts: &Parts<'_>,
    wanted: Option<&str>,
) -> Result<(Digest, Vec<String>), ImportError> {
    let bytes = parts.archive.read(INDEX, MANIFEST_BYTES_MAX)?;
    let fault = |source| ImportError::Manifest { name: INDEX.to_owned(), source };
    let index = match Document::parse(&bytes, Some(media::INDEX)).map_err(fault)? {
        Document::Index(index) => index,
        Document::Manifest(_) => return Err(ImportError::Part { name: "index".to_owned() }),
    };
    let images = grouped(index.manifests.clone());
    // Several without names are one image for several platforms.
    let has_names = images.iter().any(|(_, names)| !names.is_empty());
    if wanted.is_none() && images.len() > 1 && !has_names {
        let entry = platform::choose(&index, parts.architecture)?;
        return Ok((follow(parts, entry)?, Vec::new()));
    }
    let (entry, names) = pick(&images, |(_, names)| names.clone(), wanted)?;
    Ok((follow(parts, entry)?, names.clone()))
}

/// Each image once, with all of its names: there is an entry for each of them.
fn grouped(entries: Vec<Descriptor>) -> Vec<(Descriptor, Vec<String>)> {
    let mut places = BTreeMap::new();
    let mut images: Vec<(Descriptor, Vec<String>)> = Vec::new();
    for entry in entries {
        let place = *places.entry(entry.digest).or_insert(images.len());
        let names = names(&entry);
        match images.get_mut(place) {
            Some((_, others)) => others.extend(names),
            None => images.push((entry, names)),
        }
    }
    images
}

fn names(entry: &Descriptor) -> Vec<String> {
    let found = [CONTAINERD_NAME, REF_NAME].map(|key| entry.annotations.get(key).cloned());
    found.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// From an entry to the manifest for this platform, through indexes, with all that it is made of.
fn follow(parts: &Parts<'_>, entry: &Descriptor) -> Result<Digest, ImportError> {
    let mut at = entry.clone();
    for _ in 0..DEPTH_MAX {
        let name = blob_path(&at.digest);
        let bytes = parts.archive.read(&name, MANIFEST_BYTES_MAX)?;
        let found = Digest::of(&bytes);
        if found != at.digest {
            let digest = at.digest;
            return Err(super::BlobError::Digest { digest, found }.into());
        }
        let said = Some(at.media_type.as_str()).filter(|said| !said.is_empty());
        let document = Document::parse(&bytes, said);
        match document.map_err(|source| ImportError::Manifest { name, source })? {
            Document::Index(index) => at = platform::choose(&index, parts.architecture)?.clone(),
            Document::Manifest(manifest) => {
                for blob in manifest.blobs() {
                    parts.file(&blob_path(&blob.digest), blob.digest, blob.size)?;
                }
                return parts.put(&bytes);
            }
        }
    }
    let limit = DEPTH_MAX as u64;
    Err(ImportError::Limit { name: INDEX.to_owned(), what: "indexes in indexes", limit })
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
