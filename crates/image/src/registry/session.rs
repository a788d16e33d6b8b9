//! Requests to one repository of one registry: with a token where one is asked for, tried again
//! where that may help, and following where the registry leads without taking its credentials along.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request};
use tokio::time::sleep;

use super::challenge::{self, Challenge};
use super::credentials::{Credentials, Login, Repository};
use super::error::{Anonymous, RegistryError};
use super::payload::Payload;
use super::settings::{Endpoint, Patience, Security, Settings};
use super::transport::{Reply, Transport};
use super::url::{Scheme, Url};
use crate::reference::Remote;

mod order;
mod said;
mod token;

pub(super) use order::{Order, nothing};

/// Blob stores are one step away, seldom two.
const REDIRECTS_MAX: u32 = 5;

/// What is asked of a registry.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// Below `/v2/NAME/`.
    pub(super) path: String,
    pub(super) accept: String,
    /// From this byte on.
    pub(super) from: u64,
    /// What it is, for messages.
    pub(super) what: String,
}

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    Pull,
    Push {
        /// Repositories of the same registry that blobs may be taken from.
        from: Vec<String>,
    },
}

/// What sessions with all registries share.
pub(super) struct Client {
    pub(super) transport: Transport,
    pub(super) settings: Settings,
}

/// See the module.
pub(super) struct Session {
    client: Arc<Client>,
    image: Remote,
    purpose: Purpose,
    endpoint: Endpoint,
    /// The registry as credentials know it.
    name: String,
    authorization: Mutex<Option<HeaderValue>>,
    credentials: Option<Credentials>,
}

impl Session {
    pub(super) async fn begin(
        client: Arc<Client>,
        (image, purpose): (Remote, Purpose),
        endpoint: Endpoint,
    ) -> Result<Self, RegistryError> {
        let name = match endpoint.role {
            super::settings::Role::Registry => image.registry().to_owned(),
            super::settings::Role::Mirror => endpoint.root.authority(),
        };
        let wanted = Repository { registry: &name, repository: image.repository() };
        let credentials = client.settings.credentials.find(wanted).await?;
        let authorization = Mutex::default();
        Ok(Self { client, image, purpose, endpoint, name, authorization, credentials })
    }

    pub(super) fn patience(&self) -> Patience {
        self.client.transport.patience()
    }

    /// The reply to a request, which is one of success.
    pub(super) async fn get(&self, ask: &Ask) -> Result<Reply, RegistryError> {
        let mut tries = 1;
        loop {
            match self.authorized(ask).await {
                Ok(reply) => return Ok(reply),
                Err(error) => self.wait(error, tries).await?,
            }
            tries += 1;
        }
    }

    /// Waits before another try; where none may help the error is given back.
    async fn wait(&self, error: RegistryError, tries: u32) -> Result<(), RegistryError> {
        let Some(pause) = pause(&error, tries, self.patience()) else { return Err(error) };
        tracing::debug!(error = %error, ?pause, "a request to a registry is tried again");
        sleep(pause).await;
        Ok(())
    }

    /// One try, and a second one when it was about who we are: tokens end.
    async fn authorized(&self, ask: &Ask) -> Result<Reply, RegistryError> {
        let reply = self.follow(ask).await?;
        if reply.status() != 401 {
            return self.judge(reply, &ask.what).await;
        }
        self.log_in(reply).await?;
        let reply = self.follow(ask).await?;
        self.judge(reply, &ask.what).await
    }

    /// Finds out what is asked of who comes, and keeps what answers that.
    async fn log_in(&self, reply: Reply) -> Result<(), RegistryError> {
        let challenges = reply.response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge::choose(challenges) else { return Err(self.refused()) };
        let url = reply.url.clone();
        drop(reply);
        let value = self.answer(&challenge, &url).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// What a token is to be good for: what the registry says, or else what we want.
    fn scopes(&self, said: Option<&str>) -> Vec<String> {
        let of = |repository: &str, actions| format!("repository:{repository}:{actions}");
        let own = self.image.repository();
        match &self.purpose {
            Purpose::Pull => vec![said.map_or_else(|| of(own, "pull"), str::to_owned)],
            // For a question it says less than is needed next.
            Purpose::Push { from } => {
                let others = from.iter().map(|other| of(other, "pull"));
                std::iter::once(of(own, "pull,push")).chain(others).collect()
            }
        }
    }

    async fn answer(
        &self,
        challenge: &Challenge,
        from: &Url,
    ) -> Result<HeaderValue, RegistryError> {
        let value = match (challenge, self.credentials.as_ref().map(|all| &all.login)) {
            (Challenge::Basic, Some(Login::Password { user, password })) => {
                let both = format!("{user}:{}", password.expose());
                format!("Basic {}", STANDARD.encode(both))
            }
            (Challenge::Basic, Some(Login::Identity(_)) | None) => return Err(self.refused()),
            (Challenge::Bearer { .. }, _) => token::fetch(self, challenge, from).await?,
        };
        let nonsense = || RegistryError::Nonsense {
            host: from.authority(),
            what: "a token".to_owned(),
            fault: "it is none that can be sent".to_owned(),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_invalid| nonsense())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Sends the request to where the registry leads; only the registry itself sees credentials.
    async fn follow(&self, ask: &Ask) -> Result<Reply, RegistryError> {
        let path = format!("/v2/{}/{}", self.image.repository(), ask.path);
        let mut url = self.endpoint.root.below(&path)?;
        let mut security = self.endpoint.security;
        let mut origin = None;
        for _ in 0..=REDIRECTS_MAX {
            let (spoken, connection) = self.client.transport.connect(&url, security).await?;
            let origin = origin.get_or_insert_with(|| spoken.clone());
            let request = self.request(ask, &spoken, origin);
            let sent = connection.send((&spoken, &ask.what), request, self.patience()).await;
            let reply = Reply { response: sent?, url: spoken };
            if !matches!(reply.status(), 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            url = self.lead(&reply, origin, &ask.what)?;
            security = self.client.settings.registries.security_of(&url);
        }
        Err(self.astray(&url, &ask.what, "it leads on and on"))
    }

    fn request(&self, ask: &Ask, url: &Url, origin: &Url) -> Request<Payload> {
        let mut request = Request::new(Payload::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.path().parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(accept) = HeaderValue::from_str(&ask.accept) {
            headers.insert(ACCEPT, accept);
        }
        if ask.from > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", ask.from))
        {
            headers.insert(RANGE, range);
        }
        self.authorize(headers, url, origin);
        request
    }

    /// Only the registry itself sees who we are.
    fn authorize(&self, headers: &mut HeaderMap, url: &Url, origin: &Url) {
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = authorization.as_ref().filter(|_| url.is_same_origin(origin)) {
            headers.insert(AUTHORIZATION, value.clone());
        }
    }

    /// Where a redirect leads, if we go there.
    fn lead(&self, reply: &Reply, origin: &Url, what: &str) -> Result<Url, RegistryError> {
        let from = &reply.url;
        let Some(location) = reply.header(&LOCATION) else {
            return Err(self.astray(from, what, "it does not say where to"));
        };
        let url = from.join(location);
        let url = url.map_err(|_fault| self.astray(from, what, "it is no address of the web"))?;
        self.check_lead(&url, origin).map_err(|fault| self.astray(from, what, fault))?;
        Ok(url)
    }

    /// Nobody elsewhere leads us to this computer, or to where others can listen.
    fn check_lead(&self, to: &Url, origin: &Url) -> Result<(), &'static str> {
        if to.is_loopback() && !origin.is_loopback() {
            return Err("it is this computer");
        }
        let security = self.client.settings.registries.security_of(to);
        if to.scheme() == Scheme::Http
            && security == Security::Trusted
            && self.endpoint.security == Security::Trusted
        {
            return Err("it is not encrypted");
        }
        Ok(())
    }

    fn astray(&self, from: &Url, what: &str, fault: &str) -> RegistryError {
        RegistryError::Redirect {
            host: from.authority(),
            what: what.to_owned(),
            fault: fault.to_owned(),
        }
    }

    /// Success, or what the status means.
    async fn judge(&self, reply: Reply, what: &str) -> Result<Reply, RegistryError> {
        match reply.status() {
            200 | 206 => Ok(reply),
            _ => Err(self.fault(reply, what).await),
        }
    }

    /// What a status means that is none of success.
    async fn fault(&self, reply: Reply, what: &str) -> RegistryError {
        let status = reply.status();
        match status {
            401 | 403 => self.refused(),
            404 if self.purpose == Purpose::Pull => {
                let said = said::codes(reply, self.patience()).await;
                self.missing(&said)
            }
            429 => RegistryError::RateLimited {
                registry: reply.url.authority(),
                wait: retry_after(&reply),
                anonymous: match self.credentials {
                    Some(_) => Anonymous::No,
                    None => Anonymous::Yes,
                },
            },
            _ => RegistryError::Status {
                host: reply.url.authority(),
                what: what.to_owned(),
                status,
                said: said::codes(reply, self.patience()).await,
            },
        }
    }

    fn missing(&self, said: &str) -> RegistryError {
        let (registry, repository) = (self.name.clone(), self.image.repository().to_owned());
        if said.contains("NAME_UNKNOWN") {
            return RegistryError::NoRepository { registry, repository };
        }
        RegistryError::NoTag { registry, repository, wanted: self.image.wanted() }
    }

    /// Not for us, as we are.
    fn refused(&self) -> RegistryError {
        let (image, registry) = (self.image.familiar(), self.name.clone());
        let Some(Credentials { login, origin }) = &self.credentials else {
            let config = self.client.settings.credentials.main();
            return match self.purpose {
                Purpose::Pull => RegistryError::LogIn { image, registry, config },
                Purpose::Push { .. } => RegistryError::PushLogIn { image, registry, config },
            };
        };
        let who = match login {
            Login::Password { user, .. } => user.clone(),
            Login::Identity(_) => "the token that we have".to_owned(),
        };
        let origin = origin.clone();
        match self.purpose {
            Purpose::Pull => RegistryError::Forbidden { image, registry, who, origin },
            Purpose::Push { .. } => RegistryError::PushForbidden { image, registry, who, origin },
        }
    }
}

/// In whole seconds; dates are not understood.
fn retry_after(reply: &Reply) -> Option<Duration> {
    let seconds = reply.header(&RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How long to wait before another try, if there is to be one.
fn pause(error: &RegistryError, tries: u32, patience: Patience) -> Option<Duration> {
    if tries >= patience.tries || !error.is_passing() {
        return None;
    }
    if let RegistryError::RateLimited { wait: Some(wait), .. } = error {
        return (*wait <= patience.pause_max).then_some((*wait).max(patience.pause));
    }
    // What is not there does not come by waiting long, and neither does one that limits without
    // saying for how long.
    let is_stubborn = matches!(
        error,
        RegistryError::Unreachable { .. } | RegistryError::RateLimited { wait: None, .. }
    );
    if is_stubborn && tries > 1 {
        return None;
    }
    let doubled = patience.pause * 2_u32.saturating_pow(tries - 1);
    Some(jittered(doubled.min(patience.pause_max)))
}

/// Not all at once who were turned away at once: up to a half longer.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness all wait alike.
    let drawn = getrandom::fill(&mut byte).is_ok();
    if drawn { pause + pause * u32::from(byte[0]) / 512 } else { pause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_another_try_is_made() {
        let patience = Patience { tries: 4, ..Patience::default() };
        let limited = |wait: Option<u64>| RegistryError::RateLimited {
            registry: "r".into(),
            wait: wait.map(Duration::from_secs),
            anonymous: Anonymous::Yes,
        };
        let status = |status| RegistryError::Status {
            host: "r".into(),
            what: "x".into(),
            status,
            said: String::new(),
        };
        let unreachable = || RegistryError::Unreachable {
            host: "r".into(),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        };
        // The error, which try it was, and the seconds waited: at least and at most.
        let table = [
            (status(503), 1, Some((1, 2))),
            (status(503), 2, Some((2, 3))),
            (status(500), 3, Some((4, 6))),
            (status(500), 4, None),
            (status(400), 1, None),
            (limited(Some(7)), 1, Some((7, 7))),
            (limited(Some(0)), 1, Some((1, 1))),
            (limited(Some(61)), 1, None),
            (limited(None), 1, Some((1, 2))),
            (limited(None), 2, None),
            (unreachable(), 1, Some((1, 2))),
            (unreachable(), 2, None),
            (RegistryError::Cancelled, 1, None),
        ];
        for (error, tries, expected) in table {
            let found = pause(&error, tries, patience);
            assert_eq!(found.is_some(), expected.is_some(), "{error}");
            if let (Some(found), Some((least, most))) = (found, expected) {
                let range = Duration::from_secs(least)..=Duration::from_secs(most);
                assert!(range.contains(&found), "{error}: {found:?}");
            }
        }
    }
}
