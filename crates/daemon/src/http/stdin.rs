//! A running command's standard input.

use api::{Code, StdinReply, WriteStdin};
use axum::{
    Json,
    extract::Path,
    response::{IntoResponse, Response},
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;

use super::{
    Server, commands,
    error::{Failure, Reply},
    json::Body400,
    sessions, wire,
};
use crate::sandbox::{FeedError, Piece};

/// Answers once the command has been given the piece. Where it does not read for half a minute the
/// answer is 504, with how far it came, and the same piece may be sent again.
pub(crate) async fn write(
    server: Server,
    Path((session, command)): Path<(String, String)>,
    Body400(asked): Body400<WriteStdin>,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let _awake = server.awake(&sandbox).await?;
    let command = commands::find(&sandbox, &command)?;
    let data = BASE64_STANDARD.decode(asked.data).map_err(|error| {
        Failure::bad_request(format!("Invalid request: `data` is not Base64: {error}"))
    })?;
    let piece = Piece { offset: asked.offset, data: data.into(), last: asked.close };
    match command.feed(piece).await {
        Ok(bytes_written) => {
            let command = wire::command(command.record());
            Ok(Json(StdinReply { command, bytes_written }).into_response())
        }
        Err(FeedError::Stalled { given }) => Ok(stalled(given)),
        Err(error @ FeedError::Unavailable) => {
            Err(Failure::new(Code::CommandStdinUnavailable, error.to_string()))
        }
        Err(error @ FeedError::Ahead { .. }) => {
            Err(Failure::bad_request(format!("Invalid request: `offset`: {error}")))
        }
    }
}

/// An error that says beside its sentence how far it came.
fn stalled(given: u64) -> Response {
    let (code, message) = (Code::CommandStdinStalled, FeedError::Stalled { given }.to_string());
    let error = json!({ "code": code, "message": message, "bytesWritten": given });
    (code.status(), Json(json!({ "error": error }))).into_response()
}
