//! The server that is reached, on the host's loopback and on a thread of its own.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hyper::{Request, Response, body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Result,
    body::{Zeros, count},
    client::{Local, READ_BUFFER_BYTES},
    local,
};

/// What every host calls itself, so that the gateway finds it without a name server.
pub(crate) const NAME: &str = "localhost";
/// How many bytes of a request's body came.
pub(crate) const TAKEN: &str = "x-taken";

const HTTPS: u16 = 443;

/// Where it is, and who signed for it.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// DER.
    pub(crate) root: Vec<u8>,
}

impl Origin {
    /// Serves for as long as the process lives: on the port of HTTPS if it can be had, since a
    /// spliced connection is looked at there before it is let through.
    pub(crate) fn start() -> Result<Self> {
        let bind = |port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = bind(HTTPS).or_else(|_taken| bind(0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (tls, root) = identity()?;
        std::thread::spawn(move || local(serve(listener, tls)));
        Ok(Self { address, root })
    }

    /// Whether a spliced connection's first bytes are looked at.
    pub(crate) fn is_inspected(&self) -> bool {
        self.address.port() == HTTPS
    }
}

fn identity() -> Result<(TlsAcceptor, Vec<u8>)> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&key)?.der().to_vec();
    let issuer = Issuer::new(parameters, key);
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &issuer)?.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), root))
}

async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let tls = tls.clone();
        // A client that goes away in the middle is no fault of the server's.
        tokio::task::spawn_local(async move { drop(answer_all(stream, tls).await) });
    }
}

async fn answer_all(stream: TcpStream, tls: TlsAcceptor) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(BufReader::with_capacity(READ_BUFFER_BYTES, stream)).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (io, service) = (TokioIo::new(stream), service_fn(answer));
    if is_http2 {
        conn::http2::Builder::new(Local)
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(4 << 20)
            .max_frame_size(64 * 1024)
            .serve_connection(io, service)
            .await?;
    } else {
        conn::http1::Builder::new().serve_connection(io, service).await?;
    }
    Ok(())
}

/// Takes what comes, and answers with as many bytes as the path says.
async fn answer(request: Request<Incoming>) -> std::result::Result<Response<Zeros>, Infallible> {
    let path = request.uri().path();
    let wanted = path.strip_prefix('/').and_then(|number| number.parse().ok());
    let mut response = Response::new(Zeros(wanted.unwrap_or(0)));
    if let Ok(taken) = count(request.into_body()).await {
        response.headers_mut().insert(TAKEN, taken.into());
    }
    Ok(response)
}
