//! `/v1/fumehood`: the server itself.

use std::{io, sync::Arc};

use api::Code;
use axum::Json;

use super::{
    Access, Administrator, Reader, Shared,
    error::{Failure, Reply},
    router,
};
use crate::server;

pub(crate) async fn version(Reader(server): Reader) -> Json<api::Version> {
    Json(server.shared.version)
}

pub(crate) async fn pool(Administrator(server): Administrator) -> Json<api::Pool> {
    let pool = &server.registry().context().pool;
    let parked = pool.stock().into_iter().map(|stock| api::ParkedMachines {
        image: stock.kind.image,
        vcpus: stock.kind.shape.vcpus,
        memory_mib: stock.kind.shape.memory_mib,
        machines: stock.parked,
        wanted: stock.wanted,
    });
    Json(api::Pool { size: pool.size(), parked: parked.collect() })
}

/// A newer command line takes over: the listeners close, requests under way end, machines run on.
pub(crate) async fn handover(Administrator(server): Administrator) -> Json<api::Version> {
    tracing::info!("handing over to a newer server");
    server.shared.handover.cancel();
    Json(server.shared.version)
}

/// Opens a door on this computer's loopback, for clients that cannot use a Unix socket.
pub(crate) async fn listen(Administrator(server): Administrator) -> Reply<Json<api::Listener>> {
    let url = open_loopback(&server.shared).await.map_err(|error| {
        Failure::new(
            Code::Internal,
            format!("no port of this computer can be listened on: {error}"),
        )
    })?;
    Ok(Json(api::Listener { url }))
}

/// The URL of the door on loopback; every request there needs a token.
pub(crate) async fn open_loopback(shared: &Shared) -> io::Result<String> {
    let behind = |address| {
        let administrator = server::token(&shared.registry.context().paths.token())?;
        let tokens = Arc::clone(&shared.tokens);
        let access = Access::Bearer { administrator, tokens, address, names: Vec::new() };
        Ok(router(shared.clone(), access))
    };
    shared.loopback.open(behind).await
}

/// Clients that an earlier server told its port find this one there.
pub(crate) async fn reopen_loopback(shared: &Shared) {
    if shared.loopback.was_open()
        && let Err(error) = open_loopback(shared).await
    {
        tracing::warn!(%error, "clients on this computer do not find the server at its port");
    }
}
