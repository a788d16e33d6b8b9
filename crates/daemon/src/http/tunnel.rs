//! A connection to a port of the guest, as it is: for `fumehood forward`.

use axum::{
    body::Body,
    extract::{Path, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use hyper_util::rt::TokioIo;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::copy_bidirectional;

use super::{
    Server,
    error::{Failure, Reply},
    json::Query400,
};
use crate::limits::GUEST_CONNECT_DEADLINE;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TunnelQuery {
    /// Of the guest.
    port: u16,
}

/// Connects, and then becomes the connection. The port need not be reached from outside: who asks may
/// run commands in the guest.
pub(crate) async fn open(
    server: Server,
    Path(session): Path<String>,
    Query400(query): Query400<TunnelQuery>,
    request: Request,
) -> Reply<Response> {
    let session = server.session(&session)?;
    if !wants_tunnel(request.headers()) {
        let text = format!("This route needs the header `Upgrade: {}`.", api::TUNNEL_PROTOCOL);
        return Err(Failure::bad_request(text));
    }
    let awake = server.awake(&session).await?;
    let mut tunnel = awake.agent.connect(query.port, GUEST_CONNECT_DEADLINE).await?;
    let handover = server.shared.handover.clone();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let _in_use = awake.in_use;
        let Ok(upgraded) = upgrade.await else { return };
        let mut client = TokioIo::new(upgraded);
        let copied = copy_bidirectional(&mut client, &mut tunnel);
        if let Some(Err(error)) = handover.run_until_cancelled(copied).await {
            tracing::debug!(%error, "a forwarded connection was broken off");
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(api::TUNNEL_PROTOCOL));
    Ok(response)
}

fn wants_tunnel(headers: &HeaderMap) -> bool {
    let wanted = headers.get(header::UPGRADE);
    wanted.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(api::TUNNEL_PROTOCOL.as_bytes()))
}
