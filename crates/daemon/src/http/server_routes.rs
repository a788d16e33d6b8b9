//! `/v1/fumehood`: the server itself.

use axum::{Json, extract::State};

use super::Server;

pub(crate) async fn version(State(server): State<Server>) -> Json<api::Version> {
    Json(server.version)
}

/// A newer command line takes over: the listeners close, requests under way end, machines run on.
pub(crate) async fn handover(State(server): State<Server>) -> Json<api::Version> {
    tracing::info!("handing over to a newer server");
    server.handover.cancel();
    Json(server.version)
}
