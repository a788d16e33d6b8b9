//! TLS for callers from beyond this computer, with the owner's certificate.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// Where certificate and key are, both in PEM form. They are read once: a server that is started
/// again takes renewed ones, and its machines run on meanwhile.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} holds no certificate in PEM form")]
    NoCertificate(PathBuf),
    #[error("{0} holds no private key in PEM form, or one that needs a password")]
    NoKey(PathBuf),
    #[error("{} and {} do not go together", .files.certificate.display(), .files.key.display())]
    Pair { files: TlsFiles, source: rustls::Error },
}

impl TlsFiles {
    /// What accepts connections under this certificate, for these protocols.
    pub(crate) fn acceptor(&self, protocols: &[&str]) -> Result<TlsAcceptor, TlsError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&read(&self.certificate)?).flatten().collect();
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).ok();
        let key = key.ok_or_else(|| TlsError::NoKey(self.key.clone()))?;
        let provider = Arc::new(ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|source| TlsError::Pair { files: self.clone(), source })?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[test]
    fn what_cannot_serve_is_told_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = || rcgen::generate_simple_self_signed(["box".to_owned()]).unwrap();
        let (one, other) = (pair(), pair());
        let certificate = place("cert", &pem("CERTIFICATE", one.cert.der()));
        let key = place("key", &pem("PRIVATE KEY", &one.signing_key.serialize_der()));
        let other = place("other", &pem("PRIVATE KEY", &other.signing_key.serialize_der()));
        let empty = place("empty", "");
        let ask = |certificate: &Path, key: &Path| {
            let files = TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() };
            files.acceptor(&[]).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(ask(&certificate, &key), Ok(()));
        let none = folder.path().join("none");
        for (certificate, key, told) in [
            (&none, &key, "none cannot be read"),
            (&certificate, &none, "none cannot be read"),
            (&empty, &key, "empty holds no certificate"),
            (&certificate, &empty, "empty holds no private key"),
            (&certificate, &certificate, "cert holds no private key"),
            (&certificate, &other, "other do not go together"),
        ] {
            let error = ask(certificate, key).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
