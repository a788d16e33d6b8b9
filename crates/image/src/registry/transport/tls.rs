//! Whom we take for a registry.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::registry::settings::Security;

/// TLS as it is spoken with whom we trust, and with anybody.
pub(super) struct Tls {
    trusted: Arc<ClientConfig>,
    anybody: Arc<ClientConfig>,
}

impl Tls {
    /// Whom the system trusts, and these.
    pub(super) fn new(roots: &[CertificateDer<'static>]) -> Self {
        let mut store = RootCertStore::empty();
        // One that cannot be read vouches for nobody.
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        store.add_parsable_certificates(roots.iter().cloned());
        let provider = Arc::new(ring::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("the provider has what TLS 1.2 and 1.3 need")
        };
        let mut trusted = builder().with_root_certificates(store).with_no_client_auth();
        let mut anybody = builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(Arc::clone(&provider))))
            .with_no_client_auth();
        for config in [&mut trusted, &mut anybody] {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Self { trusted: Arc::new(trusted), anybody: Arc::new(anybody) }
    }

    pub(super) fn config(&self, security: Security) -> Arc<ClientConfig> {
        Arc::clone(match security {
            Security::Trusted | Security::TrustedOrPlain => &self.trusted,
            Security::Anything => &self.anybody,
        })
    }
}

/// For registries that an administrator has called insecure.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn fault(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Whether the other end showed a certificate that is not trusted.
pub(super) fn is_about_trust(error: &io::Error) -> bool {
    matches!(fault(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether the other end does not speak TLS at all.
pub(super) fn is_no_tls(error: &io::Error) -> bool {
    matches!(fault(error), Some(rustls::Error::InvalidMessage(_)))
}
