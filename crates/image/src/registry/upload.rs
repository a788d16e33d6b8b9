//! One blob to a registry: not at all where it is there, from a neighbouring repository, or byte by
//! byte; where it breaks off, it goes on where the registry says that it stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use tokio::time::sleep;

use super::error::RegistryError;
use super::manifest::Blob;
use super::payload::Payload;
use super::session::{Order, Session, nothing};
use super::transport::Reply;
use super::turns::Counter;
use super::url::{Url, encoded};
use crate::oci::blob::{BlobError, Blobs};
use crate::oci::digest::Digest;

const BYTES: &str = "application/octet-stream";
/// What is sent at once where sending all of it has failed: the registry keeps what it has got so.
const PIECE_BYTES: u64 = 16 << 20;

/// See the module.
#[derive(Clone)]
pub(super) struct Upload {
    pub(super) session: Arc<Session>,
    pub(super) blobs: Blobs,
    pub(super) counter: Arc<Counter>,
    /// Repositories of the same registry that are thought to have a blob.
    pub(super) neighbours: Arc<BTreeMap<Digest, String>>,
}

/// How a blob came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Present,
    Mounted,
    Sent,
}

/// An upload that has begun.
struct Place {
    url: Url,
    /// So many bytes the registry has.
    has: u64,
    pieces: Pieces,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pieces {
    /// One request, which all registries know.
    One,
    Several,
}

enum Begun {
    Mounted,
    Place(Place),
}

impl Upload {
    pub(super) async fn put(self, blob: Blob) -> Result<(Way, u64), RegistryError> {
        let way = self.find_way(blob).await?;
        if way != Way::Sent {
            self.counter.add(blob.size);
        }
        Ok((way, blob.size))
    }

    async fn find_way(&self, blob: Blob) -> Result<Way, RegistryError> {
        if self.is_there(blob).await? {
            return Ok(Way::Present);
        }
        let neighbour = self.neighbours.get(&blob.digest).map(String::as_str);
        match self.begin(blob, neighbour).await? {
            Begun::Mounted => Ok(Way::Mounted),
            Begun::Place(place) => self.send(blob, place).await.map(|()| Way::Sent),
        }
    }

    async fn is_there(&self, blob: Blob) -> Result<bool, RegistryError> {
        let (to, what) = (self.session.place(&format!("blobs/{}", blob.digest))?, what(blob));
        let order = Order::bare(Method::HEAD, &to, (&[200, 404], &what));
        match self.session.insist(&order).await {
            Ok(reply) => Ok(reply.status() == 200),
            // Some have no answer to this question; to the next one they have.
            Err(RegistryError::Status { status: 400..=499, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, blob: Blob, neighbour: Option<&str>) -> Result<Begun, RegistryError> {
        let mount = neighbour.map(|from| {
            format!("?mount={}&from={}", encoded(&blob.digest.to_string()), encoded(from))
        });
        let path = format!("blobs/uploads/{}", mount.unwrap_or_default());
        let (to, what) = (self.session.place(&path)?, what(blob));
        let order = Order::bare(Method::POST, &to, (&[201, 202], &what));
        let reply = self.session.insist(&order).await?;
        if reply.status() == 201 {
            return Ok(Begun::Mounted);
        }
        let url = self.session.location(&reply, &what)?;
        Ok(Begun::Place(Place { url, has: 0, pieces: Pieces::One }))
    }

    /// Until the registry has all of it; tried again for as long as each try brings something.
    async fn send(&self, blob: Blob, mut place: Place) -> Result<(), RegistryError> {
        let patience = self.session.patience();
        let (mut fruitless, mut best) = (0, 0);
        loop {
            let gone = Arc::new(Counter::default());
            let Err(error) = self.try_once(blob, &mut place, &gone).await else { return Ok(()) };
            // What the registry has of it is counted, and nothing else.
            self.counter.take_back(gone.get());
            let is_about_place = matches!(error, RegistryError::Status { status: 404 | 416, .. });
            if !(error.is_passing() || is_about_place && place.has > 0) {
                return Err(self.whose_fault(blob, error).await);
            }
            tracing::debug!(error = %error, has = place.has, "an upload goes on");
            sleep(patience.pause).await;
            if self.is_there(blob).await? {
                // Only the answer was lost.
                self.counter.add(blob.size - place.has);
                return Ok(());
            }
            let before = place.has;
            place = self.stand(blob, place).await?;
            self.counter.add(place.has);
            self.counter.take_back(before);
            fruitless = if place.has > best { 0 } else { fruitless + 1 };
            best = best.max(place.has);
            if fruitless >= patience.tries {
                return Err(error);
            }
        }
    }

    /// What the registry does not have yet, until something breaks.
    async fn try_once(
        &self,
        blob: Blob,
        place: &mut Place,
        gone: &Arc<Counter>,
    ) -> Result<(), RegistryError> {
        if place.pieces == Pieces::One && place.has == 0 {
            return self.end(blob, place, &|| self.part(blob, (0, blob.size), gone)).await;
        }
        let what = what(blob);
        while place.has < blob.size {
            let end = blob.size.min(place.has + PIECE_BYTES);
            let part = || self.part(blob, (place.has, end - place.has), gone);
            let range = (CONTENT_RANGE, format!("{}-{}", place.has, end - 1));
            let order = Order::bare(Method::PATCH, &place.url, (&[201, 202, 204], &what));
            let headers = vec![(CONTENT_TYPE, BYTES.to_owned()), range];
            let reply = self.session.send(&Order { headers, payload: &part, ..order }).await?;
            place.url = self.session.location(&reply, &what)?;
            gone.take_back(end - place.has);
            place.has = end;
        }
        self.end(blob, place, &nothing).await
    }

    fn part(
        &self,
        blob: Blob,
        range: (u64, u64),
        gone: &Arc<Counter>,
    ) -> Result<Payload, RegistryError> {
        let file = self.blobs.open(&blob.digest)?;
        let counters = [Arc::clone(gone), Arc::clone(&self.counter)];
        let part = Payload::part(file, range, counters);
        part.map_err(|source| RegistryError::Blob(BlobError::Read(source)))
    }

    async fn end(
        &self,
        blob: Blob,
        place: &Place,
        payload: &(dyn Fn() -> Result<Payload, RegistryError> + Sync),
    ) -> Result<(), RegistryError> {
        let to = place.url.with_field("digest", &blob.digest.to_string())?;
        let what = what(blob);
        let order = Order::bare(Method::PUT, &to, (&[200, 201, 202, 204], &what));
        let headers = vec![(CONTENT_TYPE, BYTES.to_owned())];
        self.session.send(&Order { headers, payload, ..order }).await.map(drop)
    }

    /// Where an upload stands that has broken off, or a new one if the registry does not know.
    async fn stand(&self, blob: Blob, broken: Place) -> Result<Place, RegistryError> {
        let what = what(blob);
        let order = Order::bare(Method::GET, &broken.url, (&[204], &what));
        let known = match self.session.insist(&order).await {
            Ok(reply) => has(&reply).filter(|has| *has <= blob.size).zip(Some(reply)),
            Err(RegistryError::Status { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some((has, reply)) = known {
            let url = self.session.location(&reply, &what).unwrap_or(broken.url);
            return Ok(Place { url, has, pieces: Pieces::Several });
        }
        match self.begin(blob, None).await? {
            Begun::Place(place) => Ok(Place { pieces: Pieces::Several, ..place }),
            Begun::Mounted => Ok(Place { has: blob.size, pieces: Pieces::Several, ..broken }),
        }
    }

    /// Bytes that are not those of the digest are here, or got lost on the way.
    async fn whose_fault(&self, blob: Blob, error: RegistryError) -> RegistryError {
        let is_about_bytes =
            matches!(&error, RegistryError::Status { said, .. } if said.contains("DIGEST_INVALID"));
        if !is_about_bytes {
            return error;
        }
        let blobs = self.blobs.clone();
        let checked = tokio::task::spawn_blocking(move || blobs.check(&blob.digest)).await;
        match checked {
            Ok(Err(own)) => own.into(),
            Ok(Ok(())) | Err(_) => error,
        }
    }
}

/// How many bytes it says that the registry has. Of `0-0` nobody knows whether that is one.
fn has(reply: &Reply) -> Option<u64> {
    let range = reply.header(&RANGE)?;
    let last = range.trim_start_matches("bytes=").strip_prefix("0-")?.parse::<u64>().ok()?;
    (last > 0).then(|| last.checked_add(1)).flatten()
}

fn what(blob: Blob) -> String {
    let digest = blob.digest.hex();
    format!("the blob {}", &digest[..12])
}
