//! From a name to the one manifest that is for this computer.

use http::HeaderName;
use serde::Deserialize;

use super::error::RegistryError;
use super::session::{Ask, Session};
use crate::architecture::Architecture;
use crate::oci::digest::Digest;
use crate::reference::Remote;

/// As the distribution specification recommends.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Docker's own bound is 127.
const LAYERS_MAX: usize = 256;
const MANIFESTS_MAX: usize = 1024;
/// A disk has no more room.
const LAYERS_BYTES_MAX: u64 = 32 << 30;
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// An index may lead to an index, as OCI allows it.
const DEPTH_MAX: u32 = 3;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";
static CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The manifest of an image for this computer.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) config: Descriptor,
    /// Each blob once.
    pub(super) layers: Vec<Descriptor>,
}

/// What a blob is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Descriptor {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// An index has `manifests`, a manifest the other two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    manifests: Option<Vec<Entry>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

/// What a document says.
#[derive(Debug)]
enum Step {
    Further(Digest),
    Here { config: Descriptor, layers: Vec<Descriptor> },
}

/// Asks for the manifest, through an index if there is one.
pub(super) async fn find(
    session: &Session,
    image: &Remote,
    architecture: Architecture,
) -> Result<Found, RegistryError> {
    let mut wanted = image.wanted();
    for _ in 0..DEPTH_MAX {
        let bytes = fetch(session, &wanted).await?;
        match read(&bytes, image, architecture)? {
            Step::Further(digest) => wanted = digest.to_string(),
            Step::Here { config, layers } => {
                let digest = Digest::of(&bytes);
                return Ok(Found { bytes, digest, config, layers });
            }
        }
    }
    Err(form(image, "its index leads to an index that leads to another one"))
}

/// A manifest that has the digest that was asked for, or else the one that the registry says.
async fn fetch(session: &Session, wanted: &str) -> Result<Vec<u8>, RegistryError> {
    let ask = Ask {
        path: format!("manifests/{wanted}"),
        accept: ACCEPT.to_owned(),
        from: 0,
        what: format!("the manifest {wanted}"),
    };
    let reply = session.get(&ask).await?;
    let said = reply.header(&CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
    let bytes = reply.whole(&ask.what, (MANIFEST_BYTES_MAX, session.patience())).await?;
    let expected = wanted.parse::<Digest>().ok().or(said);
    if expected.is_some_and(|expected| expected != Digest::of(&bytes)) {
        return Err(RegistryError::WrongDigest { what: ask.what });
    }
    Ok(bytes)
}

fn read(bytes: &[u8], image: &Remote, architecture: Architecture) -> Result<Step, RegistryError> {
    let document: Result<Document, _> = serde_json::from_slice(bytes);
    let document = document.map_err(|error| form(image, &format!("its manifest: {error}")))?;
    if document.schema_version == 1 {
        return Err(form(image, "its manifest is of Docker's first form, which nobody makes now"));
    }
    if let Some(manifests) = document.manifests {
        if manifests.len() > MANIFESTS_MAX {
            return Err(form(image, "its index has too many manifests"));
        }
        return choose(&manifests, image, architecture).map(Step::Further);
    }
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(form(image, "what the registry has under this name is no image"));
    };
    let mut unique: Vec<Descriptor> = Vec::new();
    for layer in layers {
        if !unique.iter().any(|known| known.digest == layer.digest) {
            unique.push(layer);
        }
    }
    check(&config, &unique).map_err(|fault| form(image, fault))?;
    Ok(Step::Here { config, layers: unique })
}

fn check(config: &Descriptor, layers: &[Descriptor]) -> Result<(), &'static str> {
    if config.size > CONFIG_BYTES_MAX {
        return Err("its configuration is too large");
    }
    if layers.len() > LAYERS_MAX {
        return Err("it has too many layers");
    }
    let sum = layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
    match sum {
        Some(sum) if sum <= LAYERS_BYTES_MAX => Ok(()),
        Some(_) | None => Err("its layers are larger than a disk"),
    }
}

/// The first manifest for this computer, a plain one before a variant.
fn choose(
    manifests: &[Entry],
    image: &Remote,
    architecture: Architecture,
) -> Result<Digest, RegistryError> {
    let wanted = architecture.oci();
    let fits = |entry: &&Entry, variant: &str| {
        let platform = entry.platform.as_ref();
        platform.is_some_and(|platform| {
            platform.os == "linux" && platform.architecture == wanted && platform.variant == variant
        })
    };
    let found = ["", "v1"].iter().find_map(|variant| manifests.iter().find(|it| fits(it, variant)));
    // Some tools write an index of one without a word about whom it is for.
    let only = || match manifests {
        [Entry { digest, platform: None }] => Some(*digest),
        _ => None,
    };
    found.map(|entry| entry.digest).or_else(only).ok_or_else(|| RegistryError::WrongArchitecture {
        image: image.familiar(),
        wanted: format!("linux/{wanted}"),
        offered: offered(manifests.iter().filter_map(|entry| entry.platform.clone())),
    })
}

/// For whom an image is, of what its configuration says.
pub(super) fn check_config(
    config: &[u8],
    image: &Remote,
    architecture: Architecture,
) -> Result<(), RegistryError> {
    let platform: Result<Platform, _> = serde_json::from_slice(config);
    let platform = platform.map_err(|error| form(image, &format!("its configuration: {error}")))?;
    let wanted = architecture.oci();
    let is_ours = ["linux", ""].contains(&platform.os.as_str())
        && [wanted, ""].contains(&platform.architecture.as_str());
    if is_ours {
        return Ok(());
    }
    Err(RegistryError::WrongArchitecture {
        image: image.familiar(),
        wanted: format!("linux/{wanted}"),
        offered: offered([platform].into_iter()),
    })
}

fn offered(platforms: impl Iterator<Item = Platform>) -> String {
    let is_word = |text: &str| {
        (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let known =
        platforms.filter(|platform| is_word(&platform.os) && is_word(&platform.architecture));
    let known = known.filter(|platform| platform.os != "unknown");
    let mut names: Vec<String> =
        known.map(|platform| format!("{}/{}", platform.os, platform.architecture)).collect();
    names.dedup();
    names.truncate(16);
    if names.is_empty() { "another platform".to_owned() } else { names.join(", ") }
}

fn form(image: &Remote, fault: &str) -> RegistryError {
    RegistryError::Form { image: image.familiar(), fault: fault.to_owned() }
}

#[cfg(test)]
mod tests;
