//! An image on its way out, piece by piece.

use std::io::{self, Write};

use bytes::Bytes;
use image::{
    catalog::Image,
    oci::{blob::Blobs, save},
    progress::silent,
};
use tokio::sync::mpsc;

use super::{ImageError, Images};
use crate::platform;

/// Pieces that wait for who reads slowly.
const QUEUE: usize = 8;
const PIECE_BYTES: usize = 128 << 10;

pub(crate) type Pieces = mpsc::Receiver<Result<Bytes, ImageError>>;

impl Images {
    /// The image as a tar file. An error is the last piece.
    pub(crate) fn save(&self, image: Image) -> Pieces {
        let (out, pieces) = mpsc::channel(QUEUE);
        let paths = self.paths.clone();
        tokio::task::spawn_blocking(move || {
            let saved = platform::cache(&paths).map_err(ImageError::from).and_then(|cache| {
                let mut writer = io::BufWriter::with_capacity(PIECE_BYTES, Sender(&out));
                save::save(&cache, &Blobs::of(&cache), &image, &mut writer, &silent)?;
                let flushed = writer.flush();
                flushed.map_err(|source| ImageError::Io { what: "nobody reads it", source })
            });
            if let Err(error) = saved {
                // Nobody may be there to hear it.
                drop(out.blocking_send(Err(error)));
            }
        });
        pieces
    }
}

struct Sender<'a>(&'a mpsc::Sender<Result<Bytes, ImageError>>);

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_gone| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
