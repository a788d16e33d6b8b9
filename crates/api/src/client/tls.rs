//! TLS to a server: whom we take for it.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may vouch for a server's name.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// The authorities that this computer trusts.
    #[default]
    System,
    /// Nobody but the certificates in this PEM file.
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} holds no certificate in PEM form that can be used")]
    Empty(PathBuf),
    #[error("this computer has no trusted certificates; name a file with some")]
    NoneOfSystem,
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String),
}

/// Ready to connect to one server.
#[derive(Clone)]
pub(super) struct Tls {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// `host` is as in a URL, an IPv6 address with its brackets.
    pub(super) fn new(host: &str, trust: &Trust) -> Result<Self, TrustError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).ok();
        let name = name.ok_or_else(|| TrustError::Name(host.to_owned()))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { name, config: Arc::new(config) })
    }

    /// Shakes hands. What is wrong with the server's certificate is an error of kind `InvalidData`.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connecting = connector.connect(self.name.clone(), stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await?
    }
}

fn roots(trust: &Trust) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            // One that cannot be read vouches for nobody.
            let found = rustls_native_certs::load_native_certs();
            if roots.add_parsable_certificates(found.certs).0 == 0 {
                return Err(TrustError::NoneOfSystem);
            }
        }
        Trust::File(path) => {
            let text =
                fs::read(path).map_err(|source| TrustError::Read { path: path.clone(), source })?;
            let empty = || TrustError::Empty(path.clone());
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
            if roots.add_parsable_certificates(found.ok().ok_or_else(empty)?).0 == 0 {
                return Err(empty());
            }
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
