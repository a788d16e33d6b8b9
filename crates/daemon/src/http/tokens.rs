//! Tokens of projects: made, listed and revoked by the administrator.

use api::{Code, CreateToken, NewToken, RevokedTokens, SecretValue, TokenList};
use axum::{Json, extract::Path};

use super::{
    Administrator,
    error::{Failure, Reply},
    json::Body400,
};
use crate::{limits, store::TokenRecord};

pub(crate) async fn create(
    Administrator(server): Administrator,
    Body400(asked): Body400<CreateToken>,
) -> Reply<Json<NewToken>> {
    let project = server.project(asked.project_id.as_deref())?;
    if asked.expires_in.is_some_and(|ms| ms < limits::TOKEN_MS_MIN) {
        let min = limits::TOKEN_MS_MIN;
        let text = format!("Invalid request: `expiresIn` must be at least {min} ms");
        return Err(Failure::bad_request(text));
    }
    let made = server.shared.tokens.create(project, asked.scope, asked.expires_in).await?;
    let (record, text) = made;
    Ok(Json(NewToken { token: told(record), value: SecretValue::new(text) }))
}

/// Those of one project if the request names it.
pub(crate) async fn list(Administrator(server): Administrator) -> Json<TokenList> {
    let all = server.shared.tokens.list().into_iter();
    let tokens = all.filter(|record| server.covers(&record.project)).map(told).collect();
    Json(TokenList { tokens })
}

pub(crate) async fn revoke(
    Administrator(server): Administrator,
    Path(id): Path<String>,
) -> Reply<Json<RevokedTokens>> {
    let revoked = server.shared.tokens.revoke(&id).await?;
    let revoked = revoked
        .ok_or_else(|| Failure::new(Code::NotFound, format!("There is no token '{id}'.")))?;
    Ok(Json(RevokedTokens { tokens: vec![told(revoked)] }))
}

/// Another key from now on, and so the end of all tokens.
pub(crate) async fn rotate_key(Administrator(server): Administrator) -> Reply<Json<RevokedTokens>> {
    let revoked = server.shared.tokens.rotate_key().await?;
    Ok(Json(RevokedTokens { tokens: revoked.into_iter().map(told).collect() }))
}

fn told(record: TokenRecord) -> api::Token {
    let TokenRecord { id, project, scope, created_at, expires_at } = record;
    api::Token {
        id: id.to_string(),
        project_id: project.to_string(),
        scope,
        created_at,
        expires_at,
    }
}
