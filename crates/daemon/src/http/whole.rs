//! Short requests are taken in whole before they are answered.
//!
//! A handler that has no use for a body would answer before it is there; the connection is closed
//! then, under the hands of a client that is still writing and may lose the answer.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::header::CONTENT_LENGTH,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::error::Failure;

/// Longer ones are those of files and the like, which are read as they come.
const SHORT_BYTES: usize = 64 * 1024;

pub(crate) async fn take_in(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    if length.is_none_or(|length| length == 0 || SHORT_BYTES < length) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    match to_bytes(body, SHORT_BYTES).await {
        Ok(bytes) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(error) => Failure::bad_request(format!("the body broke off: {error}")).into_response(),
    }
}
