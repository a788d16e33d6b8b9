//! One request, one connection, one reply: TLS or not, through the proxy or not.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::RegistryError;
use super::payload::Payload;
use super::settings::{Addresses, Patience, Proxy, Registries, Security, Settings};
use super::url::{Scheme, Url};

mod tls;

const USER_AGENT_TEXT: &str = concat!("fumehood/", env!("CARGO_PKG_VERSION"));
/// The head of a proxy's reply.
const PROXY_HEAD_BYTES_MAX: usize = 8 << 10;
/// Headers of a reply, all together.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Ready to connect to registries.
pub(super) struct Transport {
    tls: tls::Tls,
    proxy: Option<Proxy>,
    registries: Registries,
    addresses: Addresses,
    patience: Patience,
    /// Who was found to speak no TLS where that is allowed.
    plain: Mutex<BTreeSet<String>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A reply and whom it is from.
pub(super) struct Reply {
    /// With the scheme that was spoken.
    pub(super) url: Url,
    pub(super) response: Response<Incoming>,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            tls: tls::Tls::new(&settings.roots),
            proxy: settings.proxy.clone(),
            registries: settings.registries.clone(),
            addresses: settings.addresses,
            patience: settings.patience,
            plain: Mutex::default(),
        }
    }

    /// The address with the scheme that is spoken there, as far as that is known.
    pub(super) fn known(&self, url: &Url) -> Url {
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        let is_plain = url.scheme() == Scheme::Https && plain.contains(&url.authority());
        if is_plain { url.with_scheme(Scheme::Http) } else { url.clone() }
    }

    /// Connects to where the address leads, and says what is spoken there.
    pub(super) async fn connect(
        &self,
        url: &Url,
        security: Security,
    ) -> Result<(Url, Connection), RegistryError> {
        let url = self.known(url);
        if url.scheme() == Scheme::Http {
            let stream = self.open(&url).await?;
            return Ok((url, Connection(Box::new(stream))));
        }
        match self.secured(&url, security).await {
            Ok(connection) => Ok((url, connection)),
            Err(RegistryError::NoTls { .. }) if security != Security::Trusted => {
                let plain = url.with_scheme(Scheme::Http);
                let stream = self.open(&plain).await?;
                let mut known = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(url.authority());
                Ok((plain, Connection(Box::new(stream))))
            }
            Err(error) => Err(error),
        }
    }

    async fn secured(&self, url: &Url, security: Security) -> Result<Connection, RegistryError> {
        let host = url.authority();
        let unreachable = |source| RegistryError::Unreachable { host: host.clone(), source };
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|error| unreachable(io::Error::other(error)))?;
        let stream = self.open(url).await?;
        let connector = TlsConnector::from(self.tls.config(security));
        let shaken = timeout(self.patience.connect, connector.connect(name, stream)).await;
        match shaken.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => Ok(Connection(Box::new(stream))),
            Err(source) if tls::is_about_trust(&source) => {
                Err(RegistryError::Untrusted { host, source })
            }
            Err(source) if tls::is_no_tls(&source) => Err(RegistryError::NoTls { host }),
            Err(source) => Err(unreachable(source)),
        }
    }

    async fn open(&self, url: &Url) -> Result<TcpStream, RegistryError> {
        let unreachable = |source| RegistryError::Unreachable { host: url.authority(), source };
        let opening = async {
            let proxy = self.proxy.as_ref().filter(|proxy| proxy.is_for(url.host()));
            let literal = url.host().parse::<IpAddr>().map(|ip| SocketAddr::new(ip, url.port()));
            match proxy {
                Some(proxy) => {
                    self.allowed(url, literal.into_iter())?;
                    through(proxy, url).await.map_err(unreachable)
                }
                None => {
                    let found = lookup_host((url.host(), url.port())).await.map_err(unreachable)?;
                    let allowed = self.allowed(url, found)?;
                    TcpStream::connect(allowed.as_slice()).await.map_err(unreachable)
                }
            }
        };
        let opened = timeout(self.patience.connect, opening).await;
        let timed_out = |_elapsed| Err(unreachable(io::ErrorKind::TimedOut.into()));
        let stream = opened.unwrap_or_else(timed_out)?;
        // Requests are small and wait for their reply.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }

    /// Those of a host's addresses that may be connected to. These are what is connected to: a name that is
    /// looked up twice may lead elsewhere.
    fn allowed(
        &self,
        url: &Url,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, RegistryError> {
        let found: Vec<SocketAddr> = found.collect();
        let Addresses::NotAt(is_refused) = self.addresses else { return Ok(found) };
        if self.registries.names(url) {
            return Ok(found);
        }
        let (refused, allowed) =
            found.into_iter().partition::<Vec<_>, _>(|address| is_refused(address.ip()));
        match refused.is_empty() || !allowed.is_empty() {
            true => Ok(allowed),
            false => Err(RegistryError::Reserved { host: url.authority() }),
        }
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }
}

/// Ready for one request.
pub(super) struct Connection(Box<dyn Stream>);

impl Connection {
    /// Sends it and gives the head of the reply. What is sent may take as long as it goes on.
    pub(super) async fn send(
        self,
        (url, what): (&Url, &str),
        mut request: Request<Payload>,
        patience: Patience,
    ) -> Result<Response<Incoming>, RegistryError> {
        let host = url.authority();
        let broken = |source: hyper::Error| RegistryError::Broken {
            host: host.clone(),
            what: what.to_owned(),
            source: source.into(),
        };
        let gone = request.body().counter();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
        if let Ok(name) = HeaderValue::from_str(&host) {
            headers.insert(HOST, name);
        }
        let exchange = async {
            let mut builder = hyper::client::conn::http1::Builder::new();
            builder.max_buf_size(HEAD_BYTES_MAX);
            let (mut sender, connection) =
                builder.handshake(TokioIo::new(self.0)).await.map_err(broken)?;
            // It ends with the reply's body, or when that is dropped; its errors arrive there too.
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(broken)
        };
        let stalled = || RegistryError::Stalled {
            host: host.clone(),
            what: what.to_owned(),
            waited: patience.reply,
        };
        let mut exchange = std::pin::pin!(exchange);
        loop {
            let before = gone.get();
            match timeout(patience.reply, &mut exchange).await {
                Ok(done) => return done,
                Err(_elapsed) if gone.get() > before => {}
                Err(_elapsed) => return Err(stalled()),
            }
        }
    }
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(super) fn header(&self, name: &http::HeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The next piece of the body; none at its end.
    pub(super) async fn chunk(
        &mut self,
        what: &str,
        patience: Patience,
    ) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let host = || self.url.authority();
            let frame = timeout(patience.reply, self.response.body_mut().frame()).await;
            let stalled = |_elapsed| RegistryError::Stalled {
                host: host(),
                what: what.to_owned(),
                waited: patience.reply,
            };
            let Some(frame) = frame.map_err(stalled)? else { return Ok(None) };
            let broken = |source: hyper::Error| RegistryError::Broken {
                host: host(),
                what: what.to_owned(),
                source: source.into(),
            };
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The body as a whole.
    pub(super) async fn whole(
        mut self,
        what: &str,
        (limit, patience): (u64, Patience),
    ) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(piece) = self.chunk(what, patience).await? {
            if (body.len() + piece.len()) as u64 > limit {
                return Err(RegistryError::TooLarge { what: what.to_owned(), limit });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// A way through the proxy, as for any protocol.
async fn through(proxy: &Proxy, url: &Url) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((proxy.host.as_str(), proxy.port)).await?;
    let host =
        if url.host().contains(':') { format!("[{}]", url.host()) } else { url.host().into() };
    let place = format!("{host}:{}", url.port());
    let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
    if let Some(credentials) = &proxy.credentials {
        let encoded = STANDARD.encode(credentials.expose());
        head.push_str(&format!("Proxy-Authorization: Basic {encoded}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut reply = Vec::new();
    // Byte by byte: what follows the head is for who comes after.
    while !reply.ends_with(b"\r\n\r\n") {
        if reply.len() == PROXY_HEAD_BYTES_MAX {
            return Err(io::Error::other("the proxy's reply has no end"));
        }
        reply.push(stream.read_u8().await?);
    }
    let status = String::from_utf8_lossy(&reply).split(' ').nth(1).map(str::to_owned);
    match status.as_deref() {
        Some(status) if status.starts_with('2') && status.len() == 3 => Ok(stream),
        Some(status) => {
            let status: String = status.chars().filter(char::is_ascii_digit).take(3).collect();
            Err(io::Error::other(format!("the proxy answered {status}")))
        }
        None => Err(io::Error::other("the proxy's reply makes no sense")),
    }
}
