//! Requests that give a registry something, or ask whether it has it.

use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{HeaderName, HeaderValue, Method, Request};

use super::{REDIRECTS_MAX, Session};
use crate::registry::error::RegistryError;
use crate::registry::payload::Payload;
use crate::registry::transport::Reply;
use crate::registry::url::Url;

/// What is to be done, and where.
pub(in crate::registry) struct Order<'a> {
    pub(in crate::registry) method: Method,
    pub(in crate::registry) to: &'a Url,
    pub(in crate::registry) headers: Vec<(HeaderName, String)>,
    /// Made anew for each try.
    pub(in crate::registry) payload: &'a (dyn Fn() -> Result<Payload, RegistryError> + Sync),
    /// The statuses that are answers; any other is an error.
    pub(in crate::registry) answers: &'static [u16],
    /// What it is about, for messages.
    pub(in crate::registry) what: &'a str,
}

impl<'a> Order<'a> {
    /// With nothing in it.
    pub(in crate::registry) fn bare(
        method: Method,
        to: &'a Url,
        (answers, what): (&'static [u16], &'a str),
    ) -> Self {
        Self { method, to, headers: Vec::new(), payload: &nothing, answers, what }
    }
}

pub(in crate::registry) fn nothing() -> Result<Payload, RegistryError> {
    Ok(Payload::empty())
}

impl Session {
    /// The address of something in the repository.
    pub(in crate::registry) fn place(&self, path: &str) -> Result<Url, RegistryError> {
        Ok(self.endpoint.root.below(&format!("/v2/{}/{path}", self.image.repository()))?)
    }

    /// Where a reply says that it goes on.
    pub(in crate::registry) fn location(
        &self,
        reply: &Reply,
        what: &str,
    ) -> Result<Url, RegistryError> {
        self.lead(reply, &self.client.transport.known(&self.endpoint.root), what)
    }

    /// As [`Session::send`], tried again where that may help.
    pub(in crate::registry) async fn insist(
        &self,
        order: &Order<'_>,
    ) -> Result<Reply, RegistryError> {
        let mut tries = 1;
        loop {
            match self.send(order).await {
                Ok(reply) => return Ok(reply),
                Err(error) => self.wait(error, tries).await?,
            }
            tries += 1;
        }
    }

    /// One try, and a second one when it was about who we are: tokens end.
    pub(in crate::registry) async fn send(
        &self,
        order: &Order<'_>,
    ) -> Result<Reply, RegistryError> {
        let mut reply = self.carry(order).await?;
        if reply.status() == 401 {
            self.log_in(reply).await?;
            reply = self.carry(order).await?;
        }
        if order.answers.contains(&reply.status()) {
            return Ok(reply);
        }
        Err(self.fault(reply, order.what).await)
    }

    async fn carry(&self, order: &Order<'_>) -> Result<Reply, RegistryError> {
        let mut url = order.to.clone();
        for _ in 0..=REDIRECTS_MAX {
            let is_own = url.authority() == self.endpoint.root.authority();
            let of_other = || self.client.settings.registries.security_of(&url);
            let security = if is_own { self.endpoint.security } else { of_other() };
            let (spoken, connection) = self.client.transport.connect(&url, security).await?;
            let origin = self.client.transport.known(&self.endpoint.root);
            let request = self.written(order, &spoken, &origin)?;
            let sent = connection.send((&spoken, order.what), request, self.patience()).await;
            let reply = Reply { response: sent?, url: spoken };
            // Others would make a GET of it.
            if !matches!(reply.status(), 307 | 308) {
                return Ok(reply);
            }
            url = self.lead(&reply, &origin, order.what)?;
        }
        Err(self.astray(&url, order.what, "it leads on and on"))
    }

    fn written(
        &self,
        order: &Order<'_>,
        url: &Url,
        origin: &Url,
    ) -> Result<Request<Payload>, RegistryError> {
        let mut request = Request::new((order.payload)()?);
        *request.method_mut() = order.method.clone();
        *request.uri_mut() = url.path().parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if order.method != Method::HEAD && order.method != Method::GET {
            // Also where it is nothing: some registries insist.
            let length = hyper::body::Body::size_hint(request.body()).exact().unwrap_or_default();
            request.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        let headers = request.headers_mut();
        for (name, value) in &order.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name.clone(), value);
            }
        }
        self.authorize(headers, url, origin);
        Ok(request)
    }
}
