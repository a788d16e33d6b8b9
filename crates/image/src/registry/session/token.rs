//! A token for one repository, from whom the registry names for that.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use serde::Deserialize;

use super::{Session, retry_after};
use crate::registry::challenge::Challenge;
use crate::registry::credentials::Login;
use crate::registry::error::{Anonymous, RegistryError};
use crate::registry::payload::Payload;
use crate::registry::secret::Secret;
use crate::registry::settings::Security;
use crate::registry::transport::Reply;
use crate::registry::url::{Scheme, Url, encoded};

const BODY_BYTES_MAX: u64 = 1 << 20;
const WHAT: &str = "a token";
/// Who asks, for realms that count.
const CLIENT: &str = "fumehood";

/// Registries call it by either name.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The value of an `Authorization` header.
pub(super) async fn fetch(
    session: &Session,
    challenge: &Challenge,
    from: &Url,
) -> Result<String, RegistryError> {
    let Challenge::Bearer { realm, service, scope } = challenge else {
        return Err(session.refused());
    };
    let realm = from.join(realm)?;
    let astray = |fault| session.astray(from, WHAT, fault);
    session.check_lead(&realm, from).map_err(astray)?;
    let security = session.client.settings.registries.security_of(&realm);
    if realm.scheme() == Scheme::Http
        && security == Security::Trusted
        && session.credentials.is_some()
    {
        return Err(astray("credentials would not be encrypted"));
    }
    let scopes = session.scopes(scope.as_deref());
    let service = service.clone().map(|service| ("service", service));
    let with = |scopes: Vec<String>| {
        let scopes = scopes.into_iter().map(|scope| ("scope", scope));
        scopes.chain(service.clone()).collect::<Fields>()
    };
    let request = match session.credentials.as_ref().map(|all| &all.login) {
        Some(Login::Identity(identity)) => {
            exchange(&realm, with(vec![scopes.join(" ")]), identity)?
        }
        Some(Login::Password { user, password }) => {
            let mut request = ask(&realm, with(scopes))?;
            let both = STANDARD.encode(format!("{user}:{}", password.expose()));
            if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {both}")) {
                value.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            request
        }
        None => ask(&realm, with(scopes))?,
    };
    let (spoken, connection) = session.client.transport.connect(&realm, security).await?;
    let sent = connection.send((&spoken, WHAT), request, session.patience()).await;
    let reply = Reply { response: sent?, url: spoken };
    read(session, reply).await
}

async fn read(session: &Session, reply: Reply) -> Result<String, RegistryError> {
    let host = reply.url.authority();
    match reply.status() {
        200 => {}
        401 | 403 => return Err(session.refused()),
        429 => {
            let anonymous =
                if session.credentials.is_some() { Anonymous::No } else { Anonymous::Yes };
            let wait = retry_after(&reply);
            return Err(RegistryError::RateLimited { registry: host, wait, anonymous });
        }
        status => {
            let (what, said) = (WHAT.to_owned(), String::new());
            return Err(RegistryError::Status { host, what, status, said });
        }
    }
    let body = reply.whole(WHAT, (BODY_BYTES_MAX, session.patience())).await?;
    // What is wrong with it is not said: it may hold the token.
    let answer = serde_json::from_slice::<Answer>(&body).ok();
    let both = answer.into_iter().flat_map(|answer| [answer.token, answer.access_token]);
    match both.into_iter().find(|token| !token.is_empty()) {
        Some(token) => Ok(format!("Bearer {token}")),
        None => {
            let fault = "it holds no token".to_owned();
            Err(RegistryError::Nonsense { host, what: WHAT.to_owned(), fault })
        }
    }
}

type Fields = Vec<(&'static str, String)>;

fn form(fields: Fields) -> String {
    let pairs = fields.into_iter().map(|(name, value)| format!("{name}={}", encoded(&value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn ask(realm: &Url, fields: Fields) -> Result<Request<Payload>, RegistryError> {
    let mark = if realm.path().contains('?') { '&' } else { '?' };
    let path = format!("{}{mark}{}", realm.path(), form(fields));
    let mut request = Request::new(Payload::empty());
    *request.uri_mut() = path.parse().map_err(|_invalid| nowhere(realm))?;
    Ok(request)
}

/// An identity token for one that the registry takes.
fn exchange(
    realm: &Url,
    mut fields: Fields,
    identity: &Secret,
) -> Result<Request<Payload>, RegistryError> {
    fields.push(("grant_type", "refresh_token".to_owned()));
    fields.push(("client_id", CLIENT.to_owned()));
    fields.push(("refresh_token", identity.expose().to_owned()));
    let mut request = Request::new(Payload::from(form(fields)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = realm.path().parse().map_err(|_invalid| nowhere(realm))?;
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(request)
}

fn nowhere(realm: &Url) -> RegistryError {
    RegistryError::Redirect {
        host: realm.authority(),
        what: WHAT.to_owned(),
        fault: "it is no address of the web".to_owned(),
    }
}
