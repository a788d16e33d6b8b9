//! What `docker save` wrote before it wrote OCI layouts, and what others write still:
//! `manifest.json`, a config and layers under names that mean nothing.

use serde::Deserialize;

use super::super::config::ImageConfig;
use super::super::descriptor::{Descriptor, null_is_empty};
use super::super::digest::Digest;
use super::super::manifest::{
    CONFIG_BYTES_MAX, LAYER_BYTES_MAX, LAYERS_MAX, MANIFEST_BYTES_MAX, Manifest,
};
use super::super::media;
use super::{ImportError, Parts, pick};

const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    layers: Vec<String>,
}

/// Files the blobs of one image, under a manifest that we make: the same for the same blobs.
pub(super) fn import(
    parts: &Parts<'_>,
    wanted: Option<&str>,
) -> Result<(Digest, Vec<String>), ImportError> {
    let bytes = parts.archive.read(MANIFEST, MANIFEST_BYTES_MAX)?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes)
        .map_err(|source| ImportError::Json { name: MANIFEST, source })?;
    let entry = pick(&entries, |entry| entry.repo_tags.clone(), wanted)?;
    if entry.layers.len() > LAYERS_MAX {
        let limit = LAYERS_MAX as u64;
        return Err(ImportError::Limit { name: MANIFEST.to_owned(), what: "layers", limit });
    }
    // Before anything is filed.
    let config = parts.archive.read(&entry.config, CONFIG_BYTES_MAX)?;
    ImageConfig::parse(&config)
        .map_err(|source| ImportError::Config { name: entry.config.clone(), source })?;
    let mut left = LAYER_BYTES_MAX;
    let mut layers = Vec::new();
    for name in &entry.layers {
        let (digest, bytes) = parts.take(name, left)?;
        left -= bytes;
        layers.push(Descriptor::new(media::LAYER, digest, bytes));
    }
    let digest = parts.put(&config)?;
    let config = Descriptor::new(media::CONFIG, digest, config.len() as u64);
    let manifest = parts.put(&Manifest::new(config, layers).to_json())?;
    Ok((manifest, entry.repo_tags.clone()))
}
