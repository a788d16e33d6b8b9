//! TLS that is opened: one connection to the host, verified, and one to the guest, signed by the
//! sandbox's authority, with the same protocol inside.

use std::{rc::Rc, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_util::sync::CancellationToken;

use super::{
    active::{Active, Offer, server_name},
    authority::Inside,
    client_hello::ClientHello,
    connection::{Gateway, Peer, event, refuse_tls},
    dial::Wire,
    http::{self, Named, Sender, Session, Upstream, Way},
    rewound::Rewound,
};
use crate::{
    event::Kind,
    host::Host,
    policy::{Denial, Grant, Why},
};

/// Longest time for one handshake.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// rustls reads 4 KiB at a time; a record of TLS has up to 16.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// TLS with a host.
pub(crate) type Sealed = client::TlsStream<BufReader<Wire>>;

/// TLS with a host cannot be spoken. [`std::fmt::Display`] is shown to the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("its name cannot be verified")]
    Name,
    #[error("TLS with it failed: {0}")]
    Tls(String),
    #[error("it did not finish its TLS handshake in {} s", HANDSHAKE.as_secs())]
    Deadline,
}

/// A connection that is to be opened.
pub(crate) struct Opening {
    pub(crate) host: Host,
    pub(crate) grant: Grant,
    pub(crate) peer: Peer,
    pub(crate) gateway: Rc<Gateway>,
}

/// Begins TLS with a host and verifies that it is the one of this name.
pub(crate) async fn seal(
    wire: Wire,
    config: Arc<ClientConfig>,
    host: &Host,
) -> Result<Sealed, SealError> {
    let name = server_name(host).ok_or(SealError::Name)?;
    let buffered = BufReader::with_capacity(READ_BUFFER_BYTES, wire);
    let connecting = TlsConnector::from(config).connect(name, buffered);
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(sealed)) => Ok(sealed),
        Ok(Err(error)) => Err(SealError::Tls(error.to_string())),
        Err(_elapsed) => Err(SealError::Deadline),
    }
}

/// What the host chose to speak inside.
pub(crate) fn spoken(sealed: &Sealed) -> Inside {
    match sealed.get_ref().1.alpn_protocol() {
        Some(b"h2") => Inside::Http2,
        Some(_) => Inside::Http1,
        None => Inside::Unsaid,
    }
}

impl Opening {
    /// Carries the connection until it is over.
    pub(crate) async fn carry<S>(self, stream: Rewound<S>, hello: &ClientHello)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Some(active) = self.gateway.active() else { return };
        let Some(offer) = Offer::of(&hello.protocols) else {
            let denial = Denial { rule: self.grant.rule.clone(), why: Why::NotHttp };
            let host = Some(&self.host);
            return refuse_tls(stream, &self.gateway, &self.peer, host, denial).await;
        };
        let cut = CancellationToken::new();
        let (inside, upstream) = self.upstream(&active, offer, &cut).await;
        let Some(stream) = self.accept(&active, stream, inside).await else {
            cut.cancel();
            return;
        };
        drop(active);
        let whom = vec![Named::Host(self.host)];
        let session = Session::new(self.gateway, self.peer, Way::Sealed, whom, upstream);
        let guarded = cut.drop_guard();
        http::serve(stream, inside, Rc::new(session)).await;
        drop(guarded);
    }

    /// The connection to the host. Without one the guest is still spoken with, so that it learns
    /// why: its requests are answered by the gateway.
    async fn upstream(
        &self,
        active: &Active,
        offer: Offer,
        cut: &CancellationToken,
    ) -> (Inside, Upstream) {
        let host = &self.host;
        let failed = |reason: String| {
            let mut event = event(&self.peer, Kind::Tls, Some(host));
            event.rule.clone_from(&self.grant.rule);
            event.reason = Some(reason.clone());
            self.gateway.recorder.tell(event);
            (offer.simplest(), Upstream::failed(format!("{host}: {reason}")))
        };
        let wire = match self.gateway.dial(active, &self.peer, Some(host)).await {
            Ok(wire) => wire,
            Err(error) => return failed(error.to_string()),
        };
        let sealed = match seal(wire, active.client(offer), host).await {
            Ok(sealed) => sealed,
            Err(error) => return failed(error.to_string()),
        };
        let inside = spoken(&sealed);
        let closed = CancellationToken::new();
        match Sender::begin(sealed, inside, cut, &closed).await {
            Ok(sender) => (inside, Upstream::there(sender, closed)),
            Err(error) => failed(error.to_string()),
        }
    }

    async fn accept<S>(
        &self,
        active: &Active,
        stream: Rewound<S>,
        inside: Inside,
    ) -> Option<server::TlsStream<BufReader<Rewound<S>>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = match active.signer.server(&self.host, inside) {
            Ok(config) => {
                let buffered = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
                let accepting = TlsAcceptor::from(config).accept(buffered);
                match timeout(HANDSHAKE, accepting).await {
                    Ok(Ok(stream)) => return Some(stream),
                    Ok(Err(error)) => error.to_string(),
                    Err(_elapsed) => "it took too long".to_owned(),
                }
            }
            Err(error) => error.to_string(),
        };
        let mut event = event(&self.peer, Kind::Tls, Some(&self.host));
        event.rule.clone_from(&self.grant.rule);
        event.reason = Some(format!("TLS with the guest failed: {accepted}"));
        self.gateway.recorder.tell(event);
        None
    }
}
