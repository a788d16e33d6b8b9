//! An HTTP client over TLS, over any stream.

use std::sync::Arc;

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{http1, http2},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::CertificateDer};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio_rustls::TlsConnector;

use crate::{
    Result,
    body::{Zeros, count},
    origin::{NAME, TAKEN},
};

/// rustls reads 4 KiB at a time; a record of TLS has up to 16.
pub(crate) const READ_BUFFER_BYTES: usize = 32 * 1024;

/// Runs tasks on the thread that they come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move { drop(task.await) });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

impl Version {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }

    const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// A client's settings: whom it trusts and what it speaks. Every handshake is a whole one, as that
/// of a program that was just started.
pub(crate) fn trusting(root: &[u8], version: Version) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![version.protocol().to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// One connection.
#[derive(Debug)]
pub(crate) enum Client {
    Http1(http1::SendRequest<Zeros>),
    Http2(http2::SendRequest<Zeros>),
}

impl Client {
    pub(crate) async fn begin<S>(stream: S, config: Arc<ClientConfig>) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        let stream = TlsConnector::from(config).connect(NAME.try_into()?, stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if is_http2 {
            let (sender, connection) = http2::Builder::new(Local)
                .initial_connection_window_size(8 << 20)
                .initial_stream_window_size(4 << 20)
                .max_frame_size(64 * 1024)
                .handshake(io)
                .await?;
            tokio::task::spawn_local(async move { drop(connection.await) });
            Ok(Self::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::task::spawn_local(async move { drop(connection.await) });
            Ok(Self::Http1(sender))
        }
    }

    /// Asks for so many bytes and takes them.
    pub(crate) async fn down(&mut self, bytes: u64) -> Result<()> {
        let request = Request::get(self.uri(bytes)).header(HOST, NAME).body(Zeros(0))?;
        let received = count(self.send(request).await?.into_body()).await?;
        if received == bytes { Ok(()) } else { Err("the reply is too short".into()) }
    }

    /// Sends so many bytes and waits until they have been taken.
    pub(crate) async fn up(&mut self, bytes: u64) -> Result<()> {
        let request = Request::post(self.uri(0)).header(HOST, NAME).body(Zeros(bytes))?;
        let response = self.send(request).await?;
        let taken = response.headers().get(TAKEN).and_then(|taken| taken.to_str().ok());
        if taken != Some(&*bytes.to_string()) {
            return Err("the request did not arrive whole".into());
        }
        count(response.into_body()).await?;
        Ok(())
    }

    fn uri(&self, bytes: u64) -> String {
        match self {
            Self::Http1(_) => format!("/{bytes}"),
            Self::Http2(_) => format!("https://{NAME}/{bytes}"),
        }
    }

    async fn send(&mut self, mut request: Request<Zeros>) -> Result<Response<Incoming>> {
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                request.headers_mut().remove(HOST);
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(format!("the reply is {status}").into()),
        }
    }
}
