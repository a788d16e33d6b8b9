//! One blob from a registry into the store: from where an earlier try stopped, and checked.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_RANGE;
use tokio::time::sleep;

use super::error::RegistryError;
use super::manifest::Blob;
use super::session::{Ask, Session};
use super::transport::Reply;
use super::turns::Counter;
use crate::oci::blob::{BlobError, BlobWriter, Blobs, Wanted};

/// How often it is looked whether another has written a blob.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Clone)]
pub(super) struct Download {
    pub(super) session: Arc<Session>,
    pub(super) blobs: Blobs,
    pub(super) counter: Arc<Counter>,
}

impl Download {
    /// Fetches what is not here.
    pub(super) async fn fetch(self, blob: Blob) -> Result<(), RegistryError> {
        let mut resumed = false;
        loop {
            let Some(mut writer) = self.want(blob).await? else { return Ok(()) };
            resumed |= writer.received() > 0;
            self.fill(&mut writer, blob).await?;
            match writer.finish() {
                // What was here from an earlier try may have been wrong: once more, from the start.
                Err(BlobError::Digest { .. }) if resumed => resumed = false,
                Err(BlobError::Digest { .. }) => {
                    return Err(RegistryError::WrongDigest { what: what(blob) });
                }
                finished => return Ok(finished?),
            }
            self.counter.take_back(blob.size);
        }
    }

    /// None for a blob that is here. What has come of it before counts as done. Another who writes
    /// it is waited for.
    async fn want(&self, Blob { digest, size }: Blob) -> Result<Option<BlobWriter>, RegistryError> {
        loop {
            let blobs = self.blobs.clone();
            // What is here of it is read.
            let wanted = tokio::task::spawn_blocking(move || blobs.want(digest, size)).await;
            match wanted.map_err(|_ended| RegistryError::Cancelled)?? {
                Wanted::Present => {
                    self.counter.add(size);
                    return Ok(None);
                }
                Wanted::Missing(writer) => {
                    self.counter.add(writer.received());
                    return Ok(Some(writer));
                }
                Wanted::Underway => sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Until all bytes are here. A connection that breaks is tried again for as long as each try
    /// brings something.
    async fn fill(&self, writer: &mut BlobWriter, blob: Blob) -> Result<(), RegistryError> {
        let patience = self.session.patience();
        let mut fruitless = 0;
        while writer.received() < blob.size {
            let before = writer.received();
            let error = match self.stream(writer, blob).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            fruitless = if writer.received() > before { 0 } else { fruitless + 1 };
            if !error.is_passing() || fruitless >= patience.tries {
                return Err(error);
            }
            tracing::debug!(error = %error, received = writer.received(), "a download goes on");
            sleep(patience.pause).await;
        }
        Ok(())
    }

    /// One reply's worth.
    async fn stream(&self, writer: &mut BlobWriter, blob: Blob) -> Result<(), RegistryError> {
        let ask = Ask {
            path: format!("blobs/{}", blob.digest),
            accept: "*/*".to_owned(),
            from: writer.received(),
            what: what(blob),
        };
        let mut reply = self.session.get(&ask).await?;
        if ask.from > 0 && !goes_on(&reply, ask.from) {
            self.counter.take_back(writer.received());
            writer.restart()?;
        }
        while writer.received() < blob.size {
            let piece = reply.chunk(&ask.what, self.session.patience()).await?;
            let Some(piece) = piece else {
                return Err(RegistryError::Broken {
                    host: reply.url.authority(),
                    what: ask.what,
                    source: "it ended too early".into(),
                });
            };
            writer.write(&piece).map_err(|error| judge(error, &reply, &ask))?;
            self.counter.add(piece.len() as u64);
        }
        Ok(())
    }
}

/// More bytes than there are to be.
fn judge(error: BlobError, reply: &Reply, ask: &Ask) -> RegistryError {
    match error {
        BlobError::Size { .. } => RegistryError::Nonsense {
            host: reply.url.authority(),
            what: ask.what.clone(),
            fault: "it is longer than its manifest says".to_owned(),
        },
        BlobError::Io { .. }
        | BlobError::Missing { .. }
        | BlobError::Digest { .. }
        | BlobError::TooLarge { .. }
        | BlobError::Read(_) => error.into(),
    }
}

/// Whether the reply begins where it was asked to; servers may send all instead.
fn goes_on(reply: &Reply, from: u64) -> bool {
    let range = reply.header(&CONTENT_RANGE).and_then(|text| text.strip_prefix("bytes "));
    let begin = range.and_then(|range| range.split('-').next()).map(str::parse::<u64>);
    reply.status() == 206 && begin.is_some_and(|begin| begin == Ok(from))
}

fn what(blob: Blob) -> String {
    let digest = blob.digest.hex();
    format!("the layer {}", &digest[..12])
}
