//! Manifests and indexes, OCI's and Docker's: which blobs make up an image.

use serde::{Deserialize, Serialize};

use super::descriptor::{Descriptor, null_is_empty};
use super::media::{self, Kind};

/// As registries have it.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Docker's own limit is 127.
pub const LAYERS_MAX: usize = 500;
/// All layers together, as they are fetched; more than the disk has cannot be of use.
pub const LAYER_BYTES_MAX: u64 = 32 << 30;
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
const INDEX_ENTRIES_MAX: usize = 1000;

/// What a registry gives for a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// One image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it calls itself, OCI's where it says nothing.
    pub media_type: String,
    pub config: Descriptor,
    /// The lowest first.
    pub layers: Vec<Descriptor>,
}

/// Images for several platforms, or all that are in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub manifests: Vec<Descriptor>,
}

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("it is not a manifest or an index")]
    Json(#[from] serde_json::Error),
    #[error("its kind is {found:?}, which is not supported")]
    Kind { found: String },
    #[error("it is of Docker's schema 1, which nothing writes any more; push the image anew")]
    Schema1,
    #[error("it is {found}")]
    Form { found: &'static str },
    #[error("it holds no image but {found:?}")]
    NotAnImage { found: String },
    #[error("it has a layer of the kind {found:?}, which is not supported")]
    Layer { found: String },
    #[error("it has more {what} than the limit of {limit}")]
    Limit { what: &'static str, limit: u64 },
}

/// Both kinds in one, as only its fields tell what a document is.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<Descriptor>>,
}

impl Document {
    /// Of the bytes that the digest is of. `media_type` is what the sender calls them, where it
    /// does; a document that says something else of itself is refused.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Limit { what: "bytes", limit: MANIFEST_BYTES_MAX });
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            schema_version: u32,
        }
        let Version { schema_version } = serde_json::from_slice(bytes)?;
        if schema_version == 1 {
            return Err(ManifestError::Schema1);
        }
        let raw: Raw = serde_json::from_slice(bytes)?;
        let kind = raw.kind(media_type)?;
        // One that can be read as either is read differently by different programs.
        match (kind, raw) {
            (_, Raw { manifests: Some(_), layers: Some(_), .. }) => {
                Err(ManifestError::Form { found: "both a manifest and an index" })
            }
            (Kind::Index, Raw { manifests: Some(manifests), config: None, .. }) => {
                Index::checked(manifests).map(Self::Index)
            }
            (Kind::Manifest, raw) if raw.manifests.is_none() => {
                Manifest::checked(raw).map(Self::Manifest)
            }
            (Kind::Index | Kind::Manifest, _) => {
                Err(ManifestError::Form { found: "without the fields of its kind" })
            }
        }
    }
}

impl Raw {
    fn kind(&self, said: Option<&str>) -> Result<Kind, ManifestError> {
        let own = Some(self.media_type.as_str()).filter(|own| !own.is_empty());
        let kinds = [own, said].map(|text| text.map(media::document).transpose());
        match kinds {
            [Err(found), _] | [_, Err(found)] => Err(ManifestError::Kind { found }),
            [Ok(Some(own)), Ok(Some(said))] if own != said => {
                Err(ManifestError::Form { found: "of another kind than was said" })
            }
            [Ok(Some(kind)), _] | [_, Ok(Some(kind))] => Ok(kind),
            [Ok(None), Ok(None)] if self.manifests.is_some() => Ok(Kind::Index),
            [Ok(None), Ok(None)] => Ok(Kind::Manifest),
        }
    }
}

impl Manifest {
    /// Of OCI's kind, made here.
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { media_type: media::MANIFEST.to_owned(), config, layers }
    }

    fn checked(raw: Raw) -> Result<Self, ManifestError> {
        let Raw { media_type, config: Some(config), layers: Some(layers), .. } = raw else {
            return Err(ManifestError::Form { found: "without the fields of its kind" });
        };
        if !media::is_config(&config.media_type) {
            return Err(ManifestError::NotAnImage { found: media::shown(&config.media_type) });
        }
        if config.size > CONFIG_BYTES_MAX {
            let what = "bytes in its config";
            return Err(ManifestError::Limit { what, limit: CONFIG_BYTES_MAX });
        }
        if layers.len() > LAYERS_MAX {
            return Err(ManifestError::Limit { what: "layers", limit: LAYERS_MAX as u64 });
        }
        if let Some(layer) = layers.iter().find(|layer| !media::is_layer(&layer.media_type)) {
            return Err(ManifestError::Layer { found: media::shown(&layer.media_type) });
        }
        let sum = layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
        if sum.is_none_or(|sum| sum > LAYER_BYTES_MAX) {
            let what = "bytes in its layers";
            return Err(ManifestError::Limit { what, limit: LAYER_BYTES_MAX });
        }
        let is_silent = media_type.is_empty();
        let media_type = if is_silent { media::MANIFEST.to_owned() } else { media_type };
        Ok(Self { media_type, config, layers })
    }

    /// Config and layers: all that has to be here before it can be converted.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// The bytes of one that we make, the same for the same blobs.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let raw = Raw {
            schema_version: 2,
            media_type: self.media_type.clone(),
            config: Some(self.config.clone()),
            layers: Some(self.layers.clone()),
            manifests: None,
        };
        serde_json::to_vec(&raw).unwrap_or_default()
    }
}

impl Index {
    fn checked(manifests: Vec<Descriptor>) -> Result<Self, ManifestError> {
        if manifests.len() > INDEX_ENTRIES_MAX {
            return Err(ManifestError::Limit { what: "images", limit: INDEX_ENTRIES_MAX as u64 });
        }
        Ok(Self { manifests })
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let raw = Raw {
            schema_version: 2,
            media_type: media::INDEX.to_owned(),
            config: None,
            layers: None,
            manifests: Some(self.manifests.clone()),
        };
        serde_json::to_vec(&raw).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
