//! Bodies that cost next to nothing to make.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

const PIECE_BYTES: usize = 64 * 1024;
static PIECE: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// So many zero bytes, whose number is told beforehand.
#[derive(Debug)]
pub(crate) struct Zeros(pub(crate) u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.0).unwrap_or(usize::MAX).min(PIECE_BYTES);
        self.0 -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// Takes a body and counts its bytes.
pub(crate) async fn count(mut body: Incoming) -> hyper::Result<u64> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(length)
}
