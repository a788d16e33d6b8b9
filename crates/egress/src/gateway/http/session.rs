//! Requests of one connection of the guest, each judged by itself.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Incoming},
    upgrade::Upgraded,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    account::Account,
    alike,
    asked::{Asked, Named, asked},
    edits::Way,
    passing::Passing,
    placeholder,
    refusal::{About, Form, Refusal, canned},
    upstream::{KeptOpen, SendError, Upstream},
};
use crate::{
    event::{Event, NamedBy},
    gateway::{
        active::Active,
        connection::{Gateway, Peer},
    },
    hops::{self, Upgrade},
    host::Host,
    policy::{Denial, Head, Pin, Ruling, Treatment, Why, no_method},
};

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
    pub(crate) open: Option<KeptOpen>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// A request as it is known once it is clear whom it is for.
pub(super) struct Judged<'a> {
    pub(super) active: &'a Active,
    pub(super) account: &'a Rc<Account>,
    pub(super) asked: Asked,
    pub(super) upgrade: Upgrade,
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

    pub(super) fn become_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
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
        let permit = Arc::clone(&self.gateway.requests).try_acquire_owned().ok();
        let full = permit.is_none();
        let recorder = self.gateway.recorder.clone();
        let account = Account::open(self.event(&parts), recorder, self.cut.child_token(), permit);
        let about = self.about(&parts);
        let has_body = !body.is_end_stream();
        let mut body = Some(body);
        let cut = account.cut.clone();
        let answered = tokio::select! {
            biased;
            () = std::future::ready(()), if full => {
                Err(Answer::Refused(Refusal::Denied(StatusCode::SERVICE_UNAVAILABLE, too_many())))
            }
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
        account.change(|event| {
            event.host = Some(asked.whom.to_string());
            event.named_by = self.named_by(&asked.whom);
        });
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
            Self::guard_placeholders(parts, None, &active)?;
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
                Self::guard_placeholders(parts, Some(&host), &active)?;
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

    fn named_by(&self, whom: &Named) -> NamedBy {
        match (self.way, whom) {
            (Way::Open, Named::Host(host)) => self.peer.named_by(host),
            // A certificate shows that it is.
            (Way::Open, Named::Address(_)) | (Way::Sealed, _) => NamedBy::Known,
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
        let by_itself = candidates.iter().any(|one| matches!(one, Named::Address(_)));
        if let (true, Named::Host(host)) = (by_itself, &asked.whom)
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
            let denial = Denial { rule: "default".to_owned(), why };
            let refusal = Refusal::Denied(StatusCode::MISDIRECTED_REQUEST, denial);
            return Err(Answer::Refused(refusal));
        }
        candidates.retain(|candidate| *candidate == asked.whom);
        Ok(asked)
    }

    /// What no request may be, whatever the policy.
    fn check(&self, parts: &mut Parts) -> Result<Upgrade, Answer> {
        let bad = |status, why| Err(Answer::Refused(Refusal::bad(status, why)));
        if let Some(why) = no_method(parts.method.as_str()) {
            return bad(StatusCode::METHOD_NOT_ALLOWED, why);
        }
        alike::trim(&mut parts.headers);
        alike::take_out_disguised(
            &mut parts.headers,
            &[header::CONTENT_LENGTH, header::TRANSFER_ENCODING],
        );
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
                    && self.gateway.may_dial(active, address, port, self.peer.led_by(host))
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
        parts: &Parts,
        host: Option<&Host>,
        active: &Active,
    ) -> Result<(), Answer> {
        let at_home = |text: &str| {
            active.placeholders.iter().any(|(other, pattern)| {
                other == text && host.is_some_and(|host| pattern.matches(host))
            })
        };
        let mut texts = active.placeholders.iter().map(|(text, _)| text);
        if texts.any(|text| !at_home(text) && placeholder::occurs(parts, text)) {
            let why = "it holds the placeholder of a secret that is not for this host";
            return Err(Answer::Refused(Refusal::bad(StatusCode::FORBIDDEN, why)));
        }
        Ok(())
    }

    pub(super) const fn port(&self) -> u16 {
        self.peer.address.port()
    }

    /// Reads the rest of a body that goes nowhere.
    fn drain(&self, body: Incoming) {
        let cut = self.cut.clone();
        tokio::task::spawn_local(async move {
            // However it ended, the reply has been given.
            let _ended = cut.run_until_cancelled(timeout(DRAIN, drained(body))).await;
        });
    }
}

async fn drained(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, bytes::Bytes::len) as u64;
        if DRAIN_BYTES_MAX < read {
            return;
        }
    }
}

/// Why a request has no reply of its host.
pub(super) enum Answer {
    Refused(Refusal),
    /// The connection is closed.
    Closed(SendError),
}

fn too_many() -> Denial {
    Denial { rule: "default".to_owned(), why: Why::TooManyConnections }
}

pub(super) fn refused(why: Why) -> Answer {
    Answer::Refused(Refusal::rule(why))
}

pub(super) fn bad_url(why: &'static str) -> Answer {
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
