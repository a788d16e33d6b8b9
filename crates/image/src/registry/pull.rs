//! All of an image, from the first place that has it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::download::Download;
use super::error::RegistryError;
use super::manifest::{self, Blob, Found};
use super::session::{Client, Purpose, Session};
use super::settings::{Endpoint, Settings};
use super::transport::Transport;
use super::turns::{self, Counter};
use crate::architecture::Architecture;
use crate::oci::blob::Blobs;
use crate::oci::digest::Digest;
use crate::oci::manifest::CONFIG_BYTES_MAX;
use crate::progress::{Event, Progress, Step};
use crate::reference::Remote;

/// What is to be pulled, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Pull<'a> {
    pub settings: &'a Settings,
    pub image: &'a Remote,
    pub blobs: &'a Blobs,
    pub architecture: Architecture,
}

/// Fetches what is not here of an image: afterwards its manifest, configuration and layers are all in
/// the store, each checked against its digest. Gives the manifest's digest. It blocks until it is done
/// or broken off; what has come by then is kept, for the next one to go on from.
pub fn pull(
    pull: Pull<'_>,
    progress: Progress<'_>,
    stop: &CancellationToken,
) -> Result<Digest, RegistryError> {
    turns::block_on(from_any(pull, progress), stop)
}

async fn from_any(pull: Pull<'_>, progress: Progress<'_>) -> Result<Digest, RegistryError> {
    progress(Event::Began(Step::AskRegistry));
    let settings = pull.settings.clone();
    let client = Arc::new(Client { transport: Transport::new(&settings), settings });
    let endpoints = pull.settings.registries.endpoints(pull.image.registry())?;
    let last = endpoints.len() - 1;
    for (index, endpoint) in endpoints.into_iter().enumerate() {
        let root = endpoint.root.clone();
        match from_one(pull, progress, (&client, endpoint)).await {
            Err(error) if index < last && is_of_the_place(&error) => {
                tracing::warn!(mirror = %root, error = %error, "a mirror does not have the image");
            }
            done => return done,
        }
    }
    Err(RegistryError::Cancelled)
}

/// Whether another place may do better.
fn is_of_the_place(error: &RegistryError) -> bool {
    !matches!(error, RegistryError::Blob(_) | RegistryError::Cancelled | RegistryError::Threads(_))
}

async fn from_one(
    pull: Pull<'_>,
    progress: Progress<'_>,
    (client, endpoint): (&Arc<Client>, Endpoint),
) -> Result<Digest, RegistryError> {
    let session =
        Session::begin(Arc::clone(client), (pull.image.clone(), Purpose::Pull), endpoint).await?;
    let session = Arc::new(session);
    let found = manifest::find(&session, pull.image, pull.architecture).await?;
    let Found { bytes, digest, config, layers } = found;
    let (blobs, counter) = (pull.blobs.clone(), Arc::new(Counter::default()));
    let download = Download { session, blobs, counter };
    // First what says that the rest is for nobody here.
    download.clone().fetch(config).await?;
    let config = pull.blobs.read(&config.digest, CONFIG_BYTES_MAX)?;
    manifest::check_config(&config, pull.image, pull.architecture)?;
    fetch_layers(&download, &layers, progress).await?;
    // Last: who finds the manifest finds the rest.
    pull.blobs.put(&bytes)?;
    Ok(digest)
}

async fn fetch_layers(
    download: &Download,
    layers: &[Blob],
    progress: Progress<'_>,
) -> Result<(), RegistryError> {
    progress(Event::Began(Step::FetchLayers));
    let counter = Arc::new(Counter::default());
    let total = layers.iter().map(|layer| layer.size).sum();
    let jobs = layers
        .iter()
        .map(|layer| Download { counter: Arc::clone(&counter), ..download.clone() }.fetch(*layer));
    turns::work_off(jobs, (&counter, total), progress).await.map(drop)
}
