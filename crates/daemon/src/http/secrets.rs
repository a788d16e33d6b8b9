//! Secrets: names and times out, values in.

use axum::{Json, extract::Path};
use egress::secret::{SecretName, SecretText};
use serde_json::json;

use super::{
    Reader, Server,
    error::{Failure, Reply},
    json::Body400,
};
use crate::store::SecretRecord;

pub(crate) async fn list(Reader(server): Reader) -> Reply<Json<api::SecretList>> {
    let secrets = server.context().egress.secrets.list(&server.project(None)?);
    Ok(Json(api::SecretList { secrets: secrets.into_iter().map(told).collect() }))
}

/// Stores a value in place of the one before; gateways that put it in have it when this returns.
pub(crate) async fn put(
    server: Server,
    Path(name): Path<String>,
    Body400(asked): Body400<api::PutSecret>,
) -> Reply<Json<api::Secret>> {
    let (name, project) = (parse(&name)?, server.project(None)?);
    let value = SecretText::new(asked.value.expose().to_owned());
    let secrets = &server.context().egress.secrets;
    let record = secrets.put(&project, &name, &value).await?;
    server.registry().secret_changed(&project, &name).await;
    Ok(Json(told(record)))
}

/// Forgets a secret. Requests that need it are refused when this returns.
pub(crate) async fn remove(
    server: Server,
    Path(name): Path<String>,
) -> Reply<Json<serde_json::Value>> {
    let (name, project) = (parse(&name)?, server.project(None)?);
    let removed = server.context().egress.secrets.remove(&project, &name).await?;
    if removed.is_none() {
        let message = format!("There is no secret '{name}' in this project.");
        return Err(Failure::new(api::Code::NotFound, message));
    }
    server.registry().secret_changed(&project, &name).await;
    Ok(Json(json!({})))
}

fn parse(name: &str) -> Reply<SecretName> {
    SecretName::parse(name)
        .map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))
}

fn told(record: SecretRecord) -> api::Secret {
    let SecretRecord { name, created_at, updated_at, .. } = record;
    api::Secret { name: name.to_string(), created_at, updated_at }
}
