//! All of an image to a registry: first what it is made of, then its manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, Method};
use tokio_util::sync::CancellationToken;

use super::error::RegistryError;
use super::manifest::Blob;
use super::payload::Payload;
use super::session::{Client, Order, Purpose, Session};
use super::settings::Settings;
use super::transport::Transport;
use super::turns::{self, Counter};
use super::upload::{Upload, Way};
use crate::oci::blob::{BlobError, Blobs};
use crate::oci::digest::Digest;
use crate::oci::manifest::{Document, MANIFEST_BYTES_MAX, Manifest};
use crate::progress::{Event, Progress, Step};
use crate::reference::Remote;

static CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A token has room for so many repositories.
const NEIGHBOURS_MAX: usize = 8;

/// What is to be pushed, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    pub settings: &'a Settings,
    /// Where to, and what it is to be called there.
    pub target: &'a Remote,
    pub blobs: &'a Blobs,
    pub manifest: Digest,
    /// Repositories of the same registry that are thought to have a blob, so that it need not be
    /// sent to be in another one too.
    pub neighbours: &'a BTreeMap<Digest, String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Bytes that were sent, and how many blobs that were.
    pub sent_bytes: u64,
    pub sent: u64,
    /// Blobs that the registry took from another repository.
    pub mounted: u64,
    /// Blobs that it had.
    pub present: u64,
}

/// Sends what the registry does not have. It blocks until the manifest is there under its name, or
/// the push is broken off; what has been sent by then need not be sent again.
pub fn push(
    push: Push<'_>,
    progress: Progress<'_>,
    stop: &CancellationToken,
) -> Result<Pushed, RegistryError> {
    let (bytes, manifest) = read(push)?;
    turns::block_on(send(push, (&bytes, &manifest), progress), stop)
}

/// The manifest, all of whose blobs are here.
fn read(push: Push<'_>) -> Result<(Vec<u8>, Manifest), RegistryError> {
    let image = || push.target.familiar();
    let not_kept = |source| RegistryError::NotKept { image: image(), source };
    let bytes = match push.blobs.read(&push.manifest, MANIFEST_BYTES_MAX) {
        Err(source @ BlobError::Missing { .. }) => return Err(not_kept(source)),
        read => read?,
    };
    let document = Document::parse(&bytes, None);
    let manifest = match document {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => {
            let fault = "it is an index, and no image".to_owned();
            return Err(RegistryError::Form { image: image(), fault });
        }
        Err(source) => return Err(RegistryError::Manifest { image: image(), source }),
    };
    for blob in manifest.blobs() {
        if push.blobs.size(&blob.digest)? != Some(blob.size) {
            return Err(not_kept(BlobError::Missing { digest: blob.digest }));
        }
    }
    Ok((bytes, manifest))
}

async fn send(
    push: Push<'_>,
    (bytes, manifest): (&[u8], &Manifest),
    progress: Progress<'_>,
) -> Result<Pushed, RegistryError> {
    progress(Event::Began(Step::SendLayers));
    let settings = push.settings.clone();
    let client = Arc::new(Client { transport: Transport::new(&settings), settings });
    // Mirrors are for reading.
    let endpoint = push.settings.registries.endpoints(push.target.registry())?.pop();
    let endpoint = endpoint.ok_or(RegistryError::Cancelled)?;
    let neighbours = neighbours(push, manifest);
    let from: BTreeSet<&String> = neighbours.values().collect();
    let purpose = Purpose::Push { from: from.into_iter().cloned().collect() };
    let session = Session::begin(client, (push.target.clone(), purpose), endpoint).await?;
    let (session, counter) = (Arc::new(session), Arc::new(Counter::default()));
    let upload = Upload {
        session: Arc::clone(&session),
        blobs: push.blobs.clone(),
        counter: Arc::clone(&counter),
        neighbours: Arc::new(neighbours),
    };
    let blobs: BTreeMap<Digest, Blob> =
        manifest.blobs().map(|blob| (blob.digest, Blob::from(blob))).collect();
    let total = blobs.values().map(|blob| blob.size).sum();
    let jobs = blobs.into_values().map(|blob| upload.clone().put(blob));
    let ways = turns::work_off(jobs, (&counter, total), progress).await?;
    name(&session, push, (bytes, manifest)).await?;
    let mut pushed = Pushed::default();
    for (way, bytes) in ways {
        match way {
            Way::Present => pushed.present += 1,
            Way::Mounted => pushed.mounted += 1,
            Way::Sent => {
                pushed.sent += 1;
                pushed.sent_bytes += bytes;
            }
        }
    }
    Ok(pushed)
}

/// As many repositories as one token can be for.
fn neighbours(push: Push<'_>, manifest: &Manifest) -> BTreeMap<Digest, String> {
    let mut repositories = BTreeSet::new();
    let mut chosen = BTreeMap::new();
    for blob in manifest.blobs() {
        let Some(repository) = push.neighbours.get(&blob.digest) else { continue };
        let is_known = repositories.contains(repository);
        if repository != push.target.repository()
            && (is_known || repositories.len() < NEIGHBOURS_MAX)
        {
            repositories.insert(repository);
            chosen.insert(blob.digest, repository.clone());
        }
    }
    chosen
}

/// Last: who finds the manifest finds the rest.
async fn name(
    session: &Session,
    push: Push<'_>,
    (bytes, manifest): (&[u8], &Manifest),
) -> Result<(), RegistryError> {
    let wanted = push.target.wanted();
    let what = format!("the manifest {wanted}");
    let text = String::from_utf8(bytes.to_vec()).unwrap_or_default();
    let to = session.place(&format!("manifests/{wanted}"))?;
    let payload = || Ok(Payload::from(text.clone()));
    let order = Order::bare(Method::PUT, &to, (&[200, 201, 202, 204], &what));
    let headers = vec![(CONTENT_TYPE, manifest.media_type.clone())];
    let reply = session.insist(&Order { headers, payload: &payload, ..order }).await?;
    let said = reply.header(&CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
    match said {
        Some(found) if found != push.manifest => {
            let (host, expected) = (reply.url.authority(), push.manifest);
            Err(RegistryError::OtherManifest { host, expected, found })
        }
        Some(_) | None => Ok(()),
    }
}
