//! `/v1/fumehood`: the server itself.

use axum::Json;

use super::{Administrator, Reader};

pub(crate) async fn version(Reader(server): Reader) -> Json<api::Version> {
    Json(server.shared.version)
}

/// A newer command line takes over: the listeners close, requests under way end, machines run on.
pub(crate) async fn handover(Administrator(server): Administrator) -> Json<api::Version> {
    tracing::info!("handing over to a newer server");
    server.shared.handover.cancel();
    Json(server.shared.version)
}
