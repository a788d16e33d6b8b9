//! A request on its way to a host, and the reply on its way back.

use std::{rc::Rc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::{
    body::{Body, Incoming},
    upgrade::OnUpgrade,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    account::Account,
    edits::{self, Injected, Way},
    forward::{self, Original},
    masked::{Masked, Secrets},
    passing::{Passing, Towards},
    refusal::Refusal,
    session::{Answer, Judged, Session, Tunnel, bad_url},
    upstream::SendError,
};
use crate::{
    gateway::{active::Offer, authority::Inside},
    hops::{self, Upgrade},
    policy::{Denial, Edits, ForwardTo, Pin, Why},
};

/// How long the host may keep a guest waiting that waits to be told to go on (`Expect`). Some hosts
/// never say it, and clients send the body after a second on their own (RFC 9110, 10.1.1).
const CONTINUE: Duration = Duration::from_secs(2);

impl Session {
    /// Sends the request to its host, edited.
    pub(super) async fn send(
        &self,
        parts: &mut Parts,
        body: &mut Option<Incoming>,
        judged: &Judged<'_>,
        (edits, pin): (Option<&Edits>, &Pin),
    ) -> Result<Response<Passing>, Answer> {
        let active = judged.active;
        let injected = edits::apply(parts, edits, pin, &active.secrets, self.way);
        let refused = |why| Self::refused_by_rule(why, judged.account);
        let Injected { names, mut texts } = injected.map_err(refused)?;
        judged.account.change(|event| event.credentials = names);
        if *pin != Pin::Off {
            // A host may say later what it was sent before.
            let all = active.secrets.values().map(|secret| secret.expose().as_bytes().to_vec());
            texts.extend(all.map(Zeroizing::new));
        }
        let secrets = Secrets::new(texts);
        let version = parts.version;
        self.whole_url(parts, &judged.asked.text)?;
        let inside = inside(version);
        forward::fit(parts, inside).map_err(bad_url)?;
        let request = outgoing(parts, body, judged.account);
        let connect = async |closed: &CancellationToken| {
            self.gateway.connect_open(self, &judged.asked.whom, inside, closed).await
        };
        let sent = self.upstream.send(request, connect).await;
        let response = sent.map_err(|error| Self::failed(error, judged.account))?;
        self.pass_back(response, version, judged, secrets).await
    }

    /// Sends the request to somebody else.
    pub(super) async fn forward(
        &self,
        parts: &mut Parts,
        body: &mut Option<Incoming>,
        judged: &Judged<'_>,
        to: &ForwardTo,
    ) -> Result<Response<Passing>, Answer> {
        let version = parts.version;
        let original =
            Original { host: &judged.asked.whom.to_string(), port: self.port(), way: self.way };
        let identity = judged.active.identities.get(&to.to_string());
        forward::readdress(parts, &original, to, identity).map_err(bad_url)?;
        let offer = if version == http::Version::HTTP_2 { Offer::Both } else { Offer::Http1 };
        let connected = forward::connect(self, judged.active, to, offer).await;
        let failed = |error| Self::failed(error, judged.account);
        let mut sender = connected.map_err(failed)?;
        forward::fit(parts, sender.inside()).map_err(bad_url)?;
        let request = outgoing(parts, body, judged.account);
        let response = sender.send(request).await.map_err(failed)?;
        let said = identity.map(|identity| identity.expose().as_bytes().to_vec());
        let secrets = Secrets::new(said.into_iter().map(Zeroizing::new).collect());
        self.pass_back(response, version, judged, secrets).await
    }

    /// The reply, as the guest gets it.
    async fn pass_back(
        &self,
        response: Response<Incoming>,
        version: http::Version,
        judged: &Judged<'_>,
        secrets: Option<Rc<Secrets>>,
    ) -> Result<Response<Passing>, Answer> {
        let account = judged.account;
        let (mut parts, body) = response.into_parts();
        account.change(|event| event.status = Some(parts.status.as_u16()));
        if let Some(secrets) = &secrets {
            secrets.mask_headers(&mut parts.headers, account);
            parts.extensions.remove::<hyper::ext::ReasonPhrase>();
        }
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            if judged.upgrade != Upgrade::WebSocket {
                let error = SendError::Connect("the host changes the protocol unasked".to_owned());
                return Err(Self::failed(error, account));
            }
            let open = parts.extensions.remove();
            let mut response = Response::from_parts(parts, body);
            let upstream = hyper::upgrade::on(&mut response)
                .await
                .map_err(|error| Self::failed(SendError::Reply(error), account))?;
            self.become_tunnel(Tunnel { upstream, account: Rc::clone(account), open });
            return Ok(response.map(|_| Passing::own("")));
        }
        hops::strip_reply(&mut parts.headers, version);
        parts.version = version;
        let masked = secrets.and_then(|secrets| Masked::new(&secrets, &parts.headers, account));
        let body = Passing::new(body, account, Towards::Guest).masked(masked);
        Ok(Response::from_parts(parts, body))
    }

    /// What a request that failed is answered. Where the host closed the connection under it, the
    /// guest's is closed too: its client knows which requests may be sent again.
    fn failed(error: SendError, account: &Account) -> Answer {
        if matches!(error, SendError::Closed) {
            return Answer::Closed(error);
        }
        Answer::Refused(Refusal::Failed { rule: rule(account), reason: error.to_string() })
    }

    /// Of a request that a rule lets through, but not as it would be after its edits.
    fn refused_by_rule(why: Why, account: &Account) -> Answer {
        let denial = Denial { rule: rule(account), why };
        Answer::Refused(Refusal::Denied(StatusCode::FORBIDDEN, denial))
    }

    fn whole_url(&self, parts: &mut Parts, authority: &str) -> Result<(), Answer> {
        let scheme = match self.way {
            Way::Sealed => "https",
            Way::Open => "http",
        };
        let path = parts.uri.path_and_query().map_or("/", |text| text.as_str());
        let whole = http::Uri::builder().scheme(scheme).authority(authority).path_and_query(path);
        parts.uri = whole.build().map_err(|_error| bad_url("the URL cannot be put together"))?;
        Ok(())
    }
}

/// The rule that let the request through.
fn rule(account: &Account) -> String {
    let mut rule = String::new();
    account.change(|event| rule.clone_from(&event.rule));
    rule
}

fn inside(version: http::Version) -> Inside {
    if version == http::Version::HTTP_2 { Inside::Http2 } else { Inside::Http1 }
}

/// The request as it leaves, with the body on its way.
fn outgoing(
    parts: &mut Parts,
    body: &mut Option<Incoming>,
    account: &Rc<Account>,
) -> Request<Passing> {
    let mut request = Request::new(());
    std::mem::swap(request.method_mut(), &mut parts.method);
    std::mem::swap(request.uri_mut(), &mut parts.uri);
    std::mem::swap(request.headers_mut(), &mut parts.headers);
    std::mem::swap(request.extensions_mut(), &mut parts.extensions);
    *request.version_mut() = parts.version;
    request.extensions_mut().remove::<OnUpgrade>();
    let Some(body) = body.take() else { return request.map(|()| Passing::own("")) };
    let waits = request
        .headers()
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let mut passing = Passing::new(body, account, Towards::Upstream);
    let is_usual = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    if !is_usual && !passing.is_end_stream() && request.version() == http::Version::HTTP_11 {
        // A server that does not read it would take it for the next request.
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if waits && request.version() == http::Version::HTTP_11 && !passing.is_end_stream() {
        let told = CancellationToken::new();
        let tell = told.clone();
        hyper::ext::on_informational(&mut request, move |reply| {
            if reply.status() == StatusCode::CONTINUE {
                tell.cancel();
            }
        });
        passing = passing.after(Box::pin(async move {
            tokio::select! {
                () = told.cancelled() => (),
                () = sleep(CONTINUE) => (),
            }
        }));
    }
    request.map(|()| passing)
}
