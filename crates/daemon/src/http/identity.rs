//! The keys that receivers of forwarded requests check identities with, for whoever asks.

use api::Code;
use axum::{Json, extract::State};
use serde_json::Value;

use super::{
    Shared,
    error::{Failure, Reply},
};
use crate::causes;

/// Below the issuer's name, where Vercel's clients look for them.
pub(super) const PATH: &str = "/.well-known/jwks";

pub(super) async fn keys(State(shared): State<Shared>) -> Reply<Json<Value>> {
    let egress = shared.registry.context().egress.clone();
    let failed = |error: &dyn std::error::Error| {
        tracing::error!(error = causes(error), "no identity can be signed or checked");
        Failure::new(Code::Internal, "There are no keys to check with; the server's log says why.")
    };
    // It may have to be made.
    let keys = tokio::task::spawn_blocking(move || egress.issuer.keys()).await;
    Ok(Json(keys.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?))
}
