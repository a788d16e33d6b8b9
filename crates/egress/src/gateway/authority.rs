//! The sandbox's certificate authority: made once, and then signing for the hosts whose connections
//! are opened.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};

use super::ciphers;
use crate::{clock, control, host::Host, secret::SecretText};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far a guest's clock may be behind ours.
const LEAF_BACKDATED: Duration = DAY.saturating_mul(30);
/// What clients accept at most is 398 days in all; a gateway does not live so long.
const LEAF_VALID: Duration = DAY.saturating_mul(397 - 30);
/// As many hosts' certificates are kept; the oldest goes first.
const LEAVES_MAX: usize = 256;

/// The protocol that both ends of an opened connection speak inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// The upstream host chose none; that is HTTP/1.
    Unsaid,
    Http1,
    Http2,
}

impl Inside {
    /// What ALPN calls it.
    pub(crate) const fn name(self) -> Option<&'static [u8]> {
        match self {
            Self::Unsaid => None,
            Self::Http1 => Some(b"http/1.1"),
            Self::Http2 => Some(b"h2"),
        }
    }
}

/// The authority could not be made or used. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("no certificate could be made")]
    Certificate(#[source] rcgen::Error),
    #[error("the key cannot be read")]
    Key,
    #[error("the certificate is not that of the key")]
    Mismatch,
    #[error("TLS cannot be set up with the certificate")]
    Tls(#[source] rustls::Error),
    #[error("the system gives no random bytes")]
    Random,
}

/// Makes a new authority, valid from a year ago for eleven years.
pub fn make() -> Result<control::Authority, AuthorityError> {
    let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = name_of(&key);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.serial_number = Some(serial()?);
    let now = now();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + now.saturating_sub(DAY * 365);
    parameters.not_after = epoch + (now + DAY * 3650);
    let certificate = parameters.self_signed(&key).map_err(AuthorityError::Certificate)?;
    Ok(control::Authority {
        certificate: certificate.der().to_vec(),
        key: SecretText::new(pem(key.serialized_der())),
    })
}

/// An authority at work. Everything that it signs has one key, made when it was loaded.
pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    leaf: KeyPair,
    signing: Arc<dyn SigningKey>,
    leaves: RefCell<Leaves>,
}

#[derive(Default)]
struct Leaves {
    by_host: HashMap<Host, Arc<CertifiedKey>>,
    oldest: VecDeque<Host>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn load(authority: &control::Authority) -> Result<Self, AuthorityError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(authority.key.expose().as_bytes())
            .map_err(|_error| AuthorityError::Key)?;
        let key = KeyPair::try_from(&key).map_err(|_error| AuthorityError::Key)?;
        let name = name_of(&key);
        let certificate = CertificateDer::from(authority.certificate.as_slice());
        check(&certificate, &key, &name)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = name;
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let leaf = KeyPair::generate().map_err(AuthorityError::Certificate)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.serialized_der().to_vec()));
        let signing =
            rustls::crypto::ring::sign::any_ecdsa_type(&der).map_err(AuthorityError::Tls)?;
        Ok(Self { issuer: Issuer::new(parameters, key), leaf, signing, leaves: RefCell::default() })
    }

    /// How TLS is spoken with a guest that asks for this host.
    pub(crate) fn server(
        &self,
        host: &Host,
        inside: Inside,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut config = ServerConfig::builder_with_provider(ciphers::provider())
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.leaf(host)?)));
        config.ignore_client_order = true;
        config.alpn_protocols.extend(inside.name().map(<[u8]>::to_vec));
        // No memory of sessions: a handshake with a guest next door costs less than keeping them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn leaf(&self, host: &Host) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut leaves = self.leaves.borrow_mut();
        if let Some(leaf) = leaves.by_host.get(host) {
            return Ok(Arc::clone(leaf));
        }
        let leaf = Arc::new(CertifiedKey::new(vec![self.sign(host)?], Arc::clone(&self.signing)));
        if leaves.by_host.len() == LEAVES_MAX
            && let Some(oldest) = leaves.oldest.pop_front()
        {
            leaves.by_host.remove(&oldest);
        }
        leaves.by_host.insert(host.clone(), Arc::clone(&leaf));
        leaves.oldest.push_back(host.clone());
        Ok(leaf)
    }

    fn sign(&self, host: &Host) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut parameters = CertificateParams::new(vec![host.as_str().to_owned()])
            .map_err(AuthorityError::Certificate)?;
        // The name stands in the alternative names alone: a common name has at most 64 characters.
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::OrganizationName, "fumehood gateway");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        parameters.serial_number = Some(serial()?);
        let now = now();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        parameters.not_before = epoch + now.saturating_sub(LEAF_BACKDATED);
        parameters.not_after = epoch + (now + LEAF_VALID);
        let signed = parameters.signed_by(&self.leaf, &self.issuer);
        Ok(signed.map_err(AuthorityError::Certificate)?.der().clone())
    }
}

/// What an authority with this key is called. It comes from the key, so that two authorities never
/// have one name, and so that it need not be read out of a certificate.
fn name_of(key: &KeyPair) -> DistinguishedName {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.der_bytes());
    let mut text = "fumehood gateway CA ".to_owned();
    for byte in &digest.as_ref()[..8] {
        use std::fmt::Write;
        // Writing to a string does not fail.
        if write!(text, "{byte:02x}").is_err() {
            break;
        }
    }
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// Whether the certificate was made for this key by [`make`]: both the key and its name stand in it.
fn check(
    certificate: &CertificateDer<'_>,
    key: &KeyPair,
    name: &DistinguishedName,
) -> Result<(), AuthorityError> {
    let holds = |part: &[u8]| certificate.windows(part.len()).any(|window| window == part);
    let named = match name.get(&DnType::CommonName) {
        Some(rcgen::DnValue::Utf8String(text)) => holds(text.as_bytes()),
        _ => false,
    };
    if named && holds(key.der_bytes()) { Ok(()) } else { Err(AuthorityError::Mismatch) }
}

fn now() -> Duration {
    Duration::from_millis(clock::now_ms())
}

/// Different for every certificate, as clients hold two of one issuer with one number for a fraud.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_error| AuthorityError::Random)?;
    // Positive, and never empty.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn pem(der: &[u8]) -> String {
    let mut text = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    let encoded = zeroize::Zeroizing::new(BASE64.encode(der));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use rustls::client::danger::ServerCertVerifier;

    use super::*;

    #[test]
    fn an_authority_signs_what_its_certificate_verifies() {
        let authority = make().unwrap();
        assert!(!format!("{authority:?}").contains("BEGIN"));
        let signer = Signer::load(&authority).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(authority.certificate)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
        let long = format!("{0}.{0}.{0}.test", "a".repeat(60));
        for name in ["api.example.test", long.as_str()] {
            let leaf = signer.leaf(&Host::parse(name).unwrap()).unwrap();
            let verify = |name: &str, at| {
                verifier.verify_server_cert(
                    &leaf.cert[0],
                    &[],
                    &name.to_owned().try_into().unwrap(),
                    &[],
                    rustls::pki_types::UnixTime::since_unix_epoch(at),
                )
            };
            verify(name, now()).unwrap();
            verify(name, now() - DAY * 29).unwrap();
            verify(name, now() + DAY * 366).unwrap();
            verify(name, now() - DAY * 31).unwrap_err();
            verify(name, now() + DAY * 368).unwrap_err();
            verify("sub.api.example.test", now()).unwrap_err();
        }
    }

    #[test]
    fn certificates_are_kept_and_bounded() {
        let signer = Signer::load(&make().unwrap()).unwrap();
        let host = |n: usize| Host::parse(&format!("h{n}.test")).unwrap();
        let first = signer.leaf(&host(0)).unwrap();
        assert!(Arc::ptr_eq(&first, &signer.leaf(&host(0)).unwrap()));
        for n in 1..=LEAVES_MAX {
            signer.leaf(&host(n)).unwrap();
        }
        assert_eq!(signer.leaves.borrow().by_host.len(), LEAVES_MAX);
        assert_eq!(signer.leaves.borrow().oldest.len(), LEAVES_MAX);
        assert!(!Arc::ptr_eq(&first, &signer.leaf(&host(0)).unwrap()));
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let (one, other) = (make().unwrap(), make().unwrap());
        let mixed = control::Authority { certificate: one.certificate, key: other.key };
        assert!(matches!(Signer::load(&mixed), Err(AuthorityError::Mismatch)));
        let bad = control::Authority { key: SecretText::new("x".to_owned()), ..mixed };
        assert!(matches!(Signer::load(&bad), Err(AuthorityError::Key)));
    }
}
