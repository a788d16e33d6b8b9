//! Where visitors of sandboxes' ports come in: an address of its own, beside that of the API.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use tokio::net::TcpListener;

use super::{Encryption, ServeError};
use crate::{http::Door, route::IngressUrl};

/// What is tried where nothing is asked for and nothing was before.
const USUAL_PORT: u16 = 7080;

/// How ports are reached.
#[derive(Clone, Debug)]
pub struct IngressConfig {
    /// Without one, a port of 127.0.0.1: the one of the last time, the usual one, or any.
    pub address: Option<SocketAddr>,
    /// How visitors call it, if otherwise than `localhost` and the port that is listened on.
    pub url: Option<IngressUrl>,
    pub encryption: Encryption,
}

/// An ingress that is listened at.
pub(super) struct Opened {
    pub(super) door: Door,
    pub(super) port: u16,
    pub(super) url: IngressUrl,
}

/// Opens it, and remembers its port in the file.
pub(super) async fn open(config: IngressConfig, file: &Path) -> Result<Opened, ServeError> {
    let tls = match &config.encryption {
        Encryption::LoopbackOnly => match config.address {
            Some(address) if !address.ip().is_loopback() => {
                return Err(ServeError::IngressNotLoopback(address));
            }
            Some(_) | None => None,
        },
        Encryption::Insecure => None,
        Encryption::Tls(files) => Some(files.acceptor(&["h2", "http/1.1"])?),
    };
    let listener = match config.address {
        Some(address) => bound(address).await,
        None => bound_as_before(file).await,
    };
    let (listener, port) = listener?;
    if let Err(error) = std::fs::write(file, port.to_string()) {
        tracing::warn!(%error, "the port of the ingress is not remembered");
    }
    let url = config.url.unwrap_or_else(|| match tls {
        Some(_) => IngressUrl::local_with_tls(port),
        None => IngressUrl::local(port),
    });
    let door = match tls {
        Some(tls) => Door::Tls(listener, tls),
        None => Door::Tcp(listener),
    };
    Ok(Opened { door, port, url })
}

async fn bound(address: SocketAddr) -> Result<(TcpListener, u16), ServeError> {
    let failed = |source| ServeError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// URLs that were told before go on to work, if nobody else has taken the port meanwhile.
async fn bound_as_before(file: &Path) -> Result<(TcpListener, u16), ServeError> {
    let before = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    for port in before.into_iter().chain([USUAL_PORT]) {
        match bound((Ipv4Addr::LOCALHOST, port).into()).await {
            Err(ServeError::Listen { source, .. }) if is_taken(&source) => {}
            outcome => return outcome,
        }
    }
    bound((Ipv4Addr::LOCALHOST, 0).into()).await
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}
