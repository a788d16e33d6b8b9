//! The form of a token: a JWT with the claims that Vercel's clients read, signed with HMAC-SHA-256,
//! which only this server makes and only this server checks.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::Error};
use serde::{Deserialize, Serialize};

use crate::{jws, key_file::Key, store::TokenRecord};

/// A token is shorter.
const TEXT_BYTES_MAX: usize = 4096;
const ISSUER: &str = "fumehood";
/// Whose projects they all are: the clients want a team.
pub(crate) const OWNER: &str = "team_fumehood";
/// The end of a token that does not end, in seconds since 1970: the first of 2100. Some clients
/// demand one.
const NEVER: u64 = 4_102_444_800;

/// What a token says. The clients read `owner_id`, `project_id` and `exp`, and check no signature.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    jti: String,
    owner: String,
    owner_id: String,
    project: String,
    project_id: String,
    scope: String,
    environment: String,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// A token that this server did not sign, or not with the key it has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOurs;

pub(super) fn sign(key: &Key, record: &TokenRecord) -> Result<String, Error> {
    jws::install();
    let project = record.project.to_string();
    let issued = record.created_at / 1000;
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: format!("project:{project}"),
        jti: record.id.to_string(),
        owner: ISSUER.to_owned(),
        owner_id: OWNER.to_owned(),
        project: project.clone(),
        project_id: project,
        scope: record.scope.as_str().to_owned(),
        environment: "development".to_owned(),
        iat: issued,
        nbf: issued,
        exp: record.expires_at.map_or(NEVER, |at| at.div_ceil(1000)),
    };
    let header = Header::new(Algorithm::HS256);
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&**key))
}

/// The id of a token that is signed with the key. When it ends is not looked at.
pub(super) fn id(key: &Key, text: &str) -> Result<String, NotOurs> {
    if TEXT_BYTES_MAX < text.len() {
        return Err(NotOurs);
    }
    jws::install();
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(&**key);
    let token = jsonwebtoken::decode::<Claims>(text, &key, &validation);
    token.map(|token| token.claims.jti).map_err(|_which| NotOurs)
}
