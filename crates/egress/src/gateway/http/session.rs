//! Requests of one connection of the guest, each judged by itself.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Incoming},
    upgrade::{OnUpgrade, Upgraded},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    account::Account,
    asked::{Asked, Named, asked},
    edits::{self, Injected, Way},
    forward::{self, Original},
    hops::{self, Upgrade},
    masked::{Masked, Secrets},
    passing::{Passing, Towards},
    placeholder,
    refusal::{About, Form, Refusal, canned},
    upstream::{SendError, Upstream},
};
use crate::{
    event::Event,
    gateway::{
        active::{Active, Offer},
        authority::Inside,
        connection::{Gateway, Peer},
    },
    host::Host,
    policy::{Edits, ForwardTo, Head, Pin, Ruling, Treatment, Why},
};

/// How long the host may keep a guest waiting that waits to be told to go on (`Expect`). Some hosts
/// never say it, and clients send the body after a second on their own (RFC 9110, 10.1.1).
const CONTINUE: Duration = Duration::from_secs(2);

/// As much of the body of a refused request is read and dropped, for as long, so that the client
/// comes to read the reply.
const DRAIN_BYTES_MAX: u64 = 64 << 20;
const DRAIN: Duration = Duration::from_secs(20);

/// One connection of the guest over which it speaks HTTP.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) gateway: Rc<Gateway>,
    pub(crate) peer: Peer,
    pub(crate) way: Way,
    /// What requests may be for: in TLS the name of the certificate. In plain HTTP the names that
    /// the address was given out for; the first request chooses one of them for good.
    candidates: RefCell<Vec<Named>>,
    pub(crate) upstream: Upstream,
    /// Cancelled when the connection is over, or must be.
    pub(crate) cut: CancellationToken,
    /// Requests under way.
    running: RefCell<Vec<Weak<Account>>>,
    /// What the connection becomes after HTTP.
    tunnel: RefCell<Option<Tunnel>>,
}

/// A connection that was upgraded.
pub(crate) struct Tunnel {
    pub(crate) upstream: Upgraded,
    pub(crate) account: Rc<Account>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// A request as it is known once it is clear whom it is for.
struct Judged<'a> {
    active: &'a Active,
    account: &'a Rc<Account>,
    asked: Asked,
    upgrade: Upgrade,
}

impl Session {
    pub(crate) fn new(
        gateway: Rc<Gateway>,
        peer: Peer,
        way: Way,
        candidates: Vec<Named>,
        upstream: Upstream,
    ) -> Self {
        Self {
            gateway,
            peer,
            way,
            candidates: RefCell::new(candidates),
            upstream,
            cut: CancellationToken::new(),
            running: RefCell::default(),
            tunnel: RefCell::default(),
        }
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Answers one request. It never fails but by closing the connection, as the host itself did.
    pub(crate) async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Passing>, SendError> {
        let (mut parts, body) = request.into_parts();
        let account = Rc::new(Account::open(
            self.event(&parts),
            self.gateway.recorder.clone(),
            self.cut.child_token(),
        ));
        let about = self.about(&parts);
        let has_body = !body.is_end_stream();
        let mut body = Some(body);
        let cut = account.cut.clone();
        let answered = tokio::select! {
            answered = self.handle(&mut parts, &mut body, &account) => answered,
            () = cut.cancelled() => Err(Answer::Refused(Refusal::rule(Why::Rule))),
        };
        match answered {
            Ok(response) => {
                if let Some(body) = body {
                    self.drain(body);
                }
                Ok(response)
            }
            Err(Answer::Refused(refusal)) => {
                match &refusal {
                    Refusal::Denied(_, denial) if !cut.is_cancelled() => account.deny(denial),
                    Refusal::Denied(..) => (),
                    Refusal::Failed { reason, .. } => account.fail(reason.clone()),
                }
                let response = refusal.reply(&about);
                account.change(|event| event.status = Some(response.status().as_u16()));
                if let Some(body) = body.filter(|_| has_body) {
                    self.drain(body);
                }
                Ok(response)
            }
            Err(Answer::Closed(error)) => {
                account.fail(error.to_string());
                Err(error)
            }
        }
    }

    fn event(&self, parts: &Parts) -> Event {
        let mut event = Account::event(parts);
        event.address = Some(self.peer.address);
        event.source_port = Some(self.peer.source_port);
        if let [Named::Host(host)] = &self.candidates.borrow()[..] {
            event.host = Some(host.to_string());
        }
        event
    }

    fn about(&self, parts: &Parts) -> About {
        let host = match parts.headers.get(header::HOST).and_then(|value| value.to_str().ok()) {
            Some(host) => host.to_owned(),
            None => parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
        };
        let scheme = match self.way {
            Way::Sealed => "https",
            Way::Open => "http",
        };
        let mut url = format!("{scheme}://{host}{}", parts.uri.path());
        url.truncate(url.floor_char_boundary(2048));
        About { method: parts.method.to_string(), url, form: Form::wanted(&parts.headers) }
    }

    async fn handle(
        &self,
        parts: &mut Parts,
        body: &mut Option<Incoming>,
        account: &Rc<Account>,
    ) -> Result<Response<Passing>, Answer> {
        let active = self.gateway.active().ok_or_else(|| refused(Why::Rule))?;
        let asked = self.address(parts, &active)?;
        account.change(|event| event.host = Some(asked.whom.to_string()));
        let upgrade = self.check(parts)?;
        let judged = Judged { active: &active, account, asked, upgrade };
        let Named::Host(host) = judged.asked.whom.clone() else {
            let grant = match active.policy.connect_address(self.peer.address.ip(), self.port()) {
                Ok(Treatment::Raw(grant) | Treatment::Inspect { grant, .. }) => grant,
                Err(denial) => {
                    return Err(Answer::Refused(Refusal::Denied(StatusCode::FORBIDDEN, denial)));
                }
            };
            account.allow(&grant.rule);
            return self.send(parts, body, &judged, (None, &Pin::Off)).await;
        };
        self.note(parts, account);
        let head = head(parts);
        let ruling = active.policy.request(&host, self.port(), &head);
        let ruling = ruling
            .map_err(|denial| Answer::Refused(Refusal::Denied(StatusCode::FORBIDDEN, denial)))?;
        match ruling {
            Ruling::Send { rule, edits, pin } => {
                account.allow(&rule);
                self.guard_placeholders(parts, &host, &active)?;
                self.send(parts, body, &judged, (edits, pin)).await
            }
            Ruling::Forward { rule, to } => {
                account.allow(&rule);
                self.forward(parts, body, &judged, to).await
            }
            Ruling::Respond { rule, canned: reply } => {
                account.allow(&rule);
                let response = canned(reply);
                account.change(|event| event.status = Some(response.status().as_u16()));
                Ok(response)
            }
        }
    }

    /// Whom the request is for, which must be whom the connection is for.
    fn address(&self, parts: &Parts, active: &Active) -> Result<Asked, Answer> {
        let bad = |why| Answer::Refused(Refusal::bad(StatusCode::BAD_REQUEST, why));
        let asked = asked(parts, self.way).map_err(|unclear| match unclear {
            super::asked::Unclear::NotOnce => bad("a request names its host once"),
            super::asked::Unclear::NoName => bad("the request's host is no host name"),
            super::asked::Unclear::Scheme => bad("the request's URL is for another scheme"),
        })?;
        let mut candidates = self.candidates.borrow_mut();
        // An address that may be reached by itself may be called by a name that may be reached too.
        if let ([Named::Address(_)], Named::Host(host)) = (&candidates[..], &asked.whom)
            && active.policy.connect(host, self.port()).is_ok()
        {
            *candidates = vec![asked.whom.clone()];
        }
        let fits =
            candidates.contains(&asked.whom) && asked.port.is_none_or(|port| port == self.port());
        if !fits {
            let connected = candidates.first().map(ToString::to_string).unwrap_or_default();
            let connected = format!("{connected}:{}", self.port());
            let why = Why::HostMismatch { asked: asked.text, connected };
            let denial = crate::policy::Denial { rule: "default".to_owned(), why };
            let refusal = Refusal::Denied(StatusCode::MISDIRECTED_REQUEST, denial);
            return Err(Answer::Refused(refusal));
        }
        candidates.retain(|candidate| *candidate == asked.whom);
        Ok(asked)
    }

    /// What no request may be, whatever the policy.
    fn check(&self, parts: &mut Parts) -> Result<Upgrade, Answer> {
        let bad = |status, why| Err(Answer::Refused(Refusal::bad(status, why)));
        match parts.method {
            Method::CONNECT => {
                return bad(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy: CONNECT");
            }
            Method::TRACE => {
                return bad(StatusCode::METHOD_NOT_ALLOWED, "TRACE would show what was put in");
            }
            _ => (),
        }
        let codings = parts.headers.get_all(header::TRANSFER_ENCODING);
        if codings.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return bad(StatusCode::NOT_IMPLEMENTED, "only the chunked transfer coding is known");
        }
        let upgrade = match parts.version {
            http::Version::HTTP_11 => Upgrade::of(&parts.headers),
            _ => Upgrade::No,
        };
        if upgrade == Upgrade::WebSocket && parts.method != Method::GET {
            return bad(StatusCode::BAD_REQUEST, "a WebSocket begins with GET");
        }
        hops::strip_request(&mut parts.headers, upgrade);
        Ok(upgrade)
    }

    /// Keeps the request's head while it runs.
    fn note(&self, parts: &Parts, account: &Rc<Account>) {
        account.keep_head(parts);
        let mut running = self.running.borrow_mut();
        running.retain(|account| 0 < account.strong_count());
        running.push(Rc::downgrade(account));
    }

    /// Cuts what the policy as it is now would not let through; `false` if that is the connection.
    pub(crate) fn judge_again(&self, active: &Active) -> bool {
        let candidates = self.candidates.borrow();
        let (address, port) = (self.peer.address.ip(), self.port());
        let stays = candidates.iter().any(|candidate| match candidate {
            Named::Host(host) => {
                active.policy.connect(host, port).is_ok()
                    && self.gateway.may_dial(active, address, port, Some(host))
            }
            Named::Address(_) => {
                active.policy.connect_address(address, port).is_ok()
                    && self.gateway.may_dial(active, address, port, None)
            }
        });
        let Some(Named::Host(host)) = candidates.first().filter(|_| stays) else { return stays };
        for account in self.running.borrow().iter().filter_map(Weak::upgrade) {
            let denied =
                account.judge_again(|head| active.policy.request(host, port, head).err()).flatten();
            if let Some(denial) = denied {
                account.deny(&denial);
                account.cut.cancel();
            }
        }
        true
    }

    /// A placeholder that is used where it stands for nothing is a leak, or an attempt at one.
    fn guard_placeholders(
        &self,
        parts: &Parts,
        host: &Host,
        active: &Active,
    ) -> Result<(), Answer> {
        let strays = active.placeholders.iter().find(|(text, _)| {
            let at_home = active
                .placeholders
                .iter()
                .any(|(other, pattern)| other == text && pattern.matches(host));
            !at_home && placeholder::occurs(parts, text)
        });
        match strays {
            Some(_) => Err(Answer::Refused(Refusal::bad(
                StatusCode::FORBIDDEN,
                "it holds the placeholder of a secret that is not for this host",
            ))),
            None => Ok(()),
        }
    }

    async fn send(
        &self,
        parts: &mut Parts,
        body: &mut Option<Incoming>,
        judged: &Judged<'_>,
        (edits, pin): (Option<&Edits>, &Pin),
    ) -> Result<Response<Passing>, Answer> {
        let active = judged.active;
        let injected = edits::apply(parts, edits, pin, &active.secrets, self.way);
        let Injected { names, texts } = injected.map_err(refused)?;
        judged.account.change(|event| event.credentials = names);
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
        let response = sent.map_err(|error| self.failed(error, judged.account))?;
        self.pass_back(response, version, judged, secrets).await
    }

    async fn forward(
        &self,
        parts: &mut Parts,
        body: &mut Option<Incoming>,
        judged: &Judged<'_>,
        to: &ForwardTo,
    ) -> Result<Response<Passing>, Answer> {
        let version = parts.version;
        let original =
            Original { host: &judged.asked.whom.to_string(), port: self.port(), way: self.way };
        forward::readdress(parts, &original, to).map_err(bad_url)?;
        let offer = if version == http::Version::HTTP_2 { Offer::Both } else { Offer::Http1 };
        let connected = forward::connect(self, judged.active, to, offer).await;
        let failed = |error| self.failed(error, judged.account);
        let mut sender = connected.map_err(failed)?;
        forward::fit(parts, sender.inside()).map_err(bad_url)?;
        let request = outgoing(parts, body, judged.account);
        let response = sender.send(request).await.map_err(failed)?;
        self.pass_back(response, version, judged, None).await
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
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            if judged.upgrade != Upgrade::WebSocket {
                let error = SendError::Connect("the host changes the protocol unasked".to_owned());
                return Err(self.failed(error, account));
            }
            let mut response = Response::from_parts(parts, body);
            let upstream = hyper::upgrade::on(&mut response)
                .await
                .map_err(|error| self.failed(SendError::Reply(error), account))?;
            *self.tunnel.borrow_mut() = Some(Tunnel { upstream, account: Rc::clone(account) });
            return Ok(response.map(|_| Passing::own("")));
        }
        hops::strip_reply(&mut parts.headers, version);
        parts.version = version;
        let masked = secrets.and_then(|secrets| {
            secrets.mask_headers(&mut parts.headers, account);
            Masked::new(&secrets, &parts.headers, account)
        });
        let body = Passing::new(body, account, Towards::Guest).masked(masked);
        Ok(Response::from_parts(parts, body))
    }

    /// What a request that failed is answered. Where the host closed the connection under it, the
    /// guest's is closed too: its client knows which requests may be sent again.
    fn failed(&self, error: SendError, account: &Account) -> Answer {
        match error {
            SendError::Closed => Answer::Closed(SendError::Closed),
            SendError::Connect(_) | SendError::Handshake(_) | SendError::Reply(_) => {
                let mut rule = String::new();
                account.change(|event| rule.clone_from(&event.rule));
                Answer::Refused(Refusal::Failed { rule, reason: error.to_string() })
            }
        }
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

    const fn port(&self) -> u16 {
        self.peer.address.port()
    }

    /// Reads the rest of a body that goes nowhere.
    fn drain(&self, mut body: Incoming) {
        let cut = self.cut.clone();
        tokio::task::spawn_local(async move {
            let mut read = 0;
            let draining = async {
                while let Some(Ok(frame)) = body.frame().await {
                    read += frame.data_ref().map_or(0, bytes::Bytes::len) as u64;
                    if DRAIN_BYTES_MAX < read {
                        return;
                    }
                }
            };
            drop(cut.run_until_cancelled(timeout(DRAIN, draining)).await);
        });
    }
}

/// Why a request has no reply of its host.
enum Answer {
    Refused(Refusal),
    /// The connection is closed.
    Closed(SendError),
}

fn refused(why: Why) -> Answer {
    Answer::Refused(Refusal::rule(why))
}

fn bad_url(why: &'static str) -> Answer {
    Answer::Refused(Refusal::bad(StatusCode::BAD_REQUEST, why))
}

fn head(parts: &Parts) -> Head<'_> {
    Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    }
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
