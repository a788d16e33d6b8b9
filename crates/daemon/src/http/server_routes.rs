//! `/v1/fumehood`: the server itself.

use axum::Json;

use super::{Administrator, Reader};

pub(crate) async fn version(Reader(server): Reader) -> Json<api::Version> {
    Json(server.shared.version)
}

pub(crate) async fn pool(Administrator(server): Administrator) -> Json<api::Pool> {
    let pool = &server.registry().context().pool;
    let parked = pool.parked().into_iter().map(|(kind, machines)| api::ParkedMachines {
        image: kind.image,
        vcpus: kind.shape.vcpus,
        memory_mib: kind.shape.memory_mib,
        machines,
    });
    Json(api::Pool { size: pool.size(), parked: parked.collect() })
}

/// A newer command line takes over: the listeners close, requests under way end, machines run on.
pub(crate) async fn handover(Administrator(server): Administrator) -> Json<api::Version> {
    tracing::info!("handing over to a newer server");
    server.shared.handover.cancel();
    Json(server.shared.version)
}
