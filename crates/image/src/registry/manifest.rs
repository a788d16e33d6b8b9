//! From a name to the one manifest that is for this computer.

use http::HeaderName;
use http::header::CONTENT_TYPE;

use super::error::RegistryError;
use super::session::{Ask, Session};
use crate::architecture::Architecture;
use crate::oci::descriptor::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Document, MANIFEST_BYTES_MAX, Manifest};
use crate::oci::media::ACCEPTED;
use crate::oci::platform::{self, Platform, PlatformError};
use crate::reference::Remote;

/// An index may lead to an index, as OCI allows it.
const DEPTH_MAX: u32 = 3;

static CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The manifest of an image for this computer.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) config: Blob,
    /// Each blob once.
    pub(super) layers: Vec<Blob>,
}

/// What a blob is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl From<&Descriptor> for Blob {
    fn from(descriptor: &Descriptor) -> Self {
        Self { digest: descriptor.digest, size: descriptor.size }
    }
}

/// Asks for the manifest, through an index if there is one.
pub(super) async fn find(
    session: &Session,
    image: &Remote,
    architecture: Architecture,
) -> Result<Found, RegistryError> {
    let mut wanted = image.wanted();
    for _ in 0..DEPTH_MAX {
        let (bytes, kind) = fetch(session, &wanted).await?;
        let document = Document::parse(&bytes, kind.as_deref());
        match document
            .map_err(|source| RegistryError::Manifest { image: image.familiar(), source })?
        {
            Document::Index(index) => {
                let chosen = platform::choose(&index, architecture);
                wanted = chosen.map_err(|source| other(image, source))?.digest.to_string();
            }
            Document::Manifest(manifest) => {
                let (digest, config) = (Digest::of(&bytes), Blob::from(&manifest.config));
                return Ok(Found { bytes, digest, config, layers: unique(&manifest) });
            }
        }
    }
    let fault = "its index leads to an index that leads to another one".to_owned();
    Err(RegistryError::Form { image: image.familiar(), fault })
}

fn unique(manifest: &Manifest) -> Vec<Blob> {
    let mut unique: Vec<Blob> = Vec::new();
    for layer in manifest.layers.iter().map(Blob::from) {
        if !unique.iter().any(|known| known.digest == layer.digest) {
            unique.push(layer);
        }
    }
    unique
}

/// A manifest that has the digest that was asked for, or else the one that the registry says; and
/// what the registry calls it, where it knows.
async fn fetch(
    session: &Session,
    wanted: &str,
) -> Result<(Vec<u8>, Option<String>), RegistryError> {
    let ask = Ask {
        path: format!("manifests/{wanted}"),
        accept: ACCEPTED.join(", "),
        from: 0,
        what: format!("the manifest {wanted}"),
    };
    let reply = session.get(&ask).await?;
    let said = reply.header(&CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
    // Simple servers of files know no better than these.
    let vague = ["application/json", "application/octet-stream", "text/plain"];
    let kind = reply.header(&CONTENT_TYPE).filter(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        !vague.contains(&kind)
    });
    let kind = kind.map(str::to_owned);
    let bytes = reply.whole(&ask.what, (MANIFEST_BYTES_MAX, session.patience())).await?;
    let expected = wanted.parse::<Digest>().ok().or(said);
    if expected.is_some_and(|expected| expected != Digest::of(&bytes)) {
        return Err(RegistryError::WrongDigest { what: ask.what });
    }
    Ok((bytes, kind))
}

/// For whom an image is, of what its configuration says.
pub(super) fn check_config(
    config: &[u8],
    image: &Remote,
    architecture: Architecture,
) -> Result<(), RegistryError> {
    let platform: Result<Platform, _> = serde_json::from_slice(config);
    let platform = platform.map_err(|error| RegistryError::Form {
        image: image.familiar(),
        fault: format!("its configuration: {error}"),
    })?;
    let wanted = Platform::of(architecture);
    if platform.suits(&wanted) {
        return Ok(());
    }
    let found = platform.to_string().chars().take(80).collect();
    Err(other(image, PlatformError::Other { wanted, found }))
}

fn other(image: &Remote, source: PlatformError) -> RegistryError {
    RegistryError::Platform { image: image.familiar(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_whom_the_image_is_for() {
        let image = "example.com/app:1".parse().unwrap();
        for (config, ok) in [
            (r#"{"os":"linux","architecture":"amd64"}"#, true),
            ("{}", true),
            (r#"{"os":"linux","architecture":"arm64"}"#, false),
            (r#"{"os":"windows","architecture":"amd64"}"#, false),
            ("x", false),
        ] {
            let found = check_config(config.as_bytes(), &image, Architecture::X86_64);
            assert_eq!(found.is_ok(), ok, "{config}");
        }
    }
}
