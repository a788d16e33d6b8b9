//! The configuration that holds, with what is built from it once.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::sync::watch;

use super::{
    authority::{AuthorityError, Inside, Signer},
    ciphers,
};
use crate::{
    control::{Configuration, UpstreamProxy},
    host::Host,
    policy::{Action, HostPattern, Place, Policy},
    secret::{SecretName, SecretText},
};

/// What holds now, for everybody who asks and for who waits for it to change. There is nothing in
/// it until the gateway has been configured.
pub(crate) type Current = watch::Receiver<Option<Rc<Active>>>;

/// One configuration, ready for use.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) policy: Policy,
    pub(crate) secrets: BTreeMap<SecretName, SecretText>,
    pub(crate) identities: BTreeMap<String, SecretText>,
    pub(crate) signer: Signer,
    pub(crate) proxy: Option<UpstreamProxy>,
    /// Every placeholder that the guest was given, and the hosts at which it stands for a secret.
    pub(crate) placeholders: Vec<(String, HostPattern)>,
    clients: Clients,
}

/// How TLS is spoken with upstream hosts, for each set of protocols offered.
#[derive(Debug)]
struct Clients {
    unsaid: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    both: Arc<ClientConfig>,
}

/// What an opened connection offers its upstream host: as much of what the guest offers as can be
/// looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Nothing,
    Http1,
    Http2,
    Both,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidConfiguration {
    #[error("the certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
    #[error("an additional root certificate is none")]
    Root(#[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl Active {
    /// Builds it. `host_roots` are those that this machine trusts, read once.
    pub(crate) fn build(
        configuration: Configuration,
        host_roots: &RootCertStore,
    ) -> Result<Self, InvalidConfiguration> {
        let mut roots = host_roots.clone();
        for root in &configuration.extra_roots {
            roots.add(CertificateDer::from(root.as_slice())).map_err(InvalidConfiguration::Root)?;
        }
        Ok(Self {
            signer: Signer::load(&configuration.authority)?,
            clients: Clients::build(roots).map_err(InvalidConfiguration::Tls)?,
            placeholders: placeholders(&configuration.policy),
            policy: configuration.policy,
            secrets: configuration.secrets,
            identities: configuration.identities,
            proxy: configuration.proxy,
        })
    }

    pub(crate) fn client(&self, offer: Offer) -> Arc<ClientConfig> {
        Arc::clone(match offer {
            Offer::Nothing => &self.clients.unsaid,
            Offer::Http1 => &self.clients.http1,
            Offer::Http2 => &self.clients.http2,
            Offer::Both => &self.clients.both,
        })
    }
}

impl Offer {
    /// `None` if the client offers only protocols that cannot be looked into.
    pub(crate) fn of(protocols: &[Vec<u8>]) -> Option<Self> {
        let has = |inside: Inside| protocols.iter().any(|name| inside.name() == Some(name));
        match (has(Inside::Http1), has(Inside::Http2)) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Http1),
            (false, true) => Some(Self::Http2),
            (false, false) => protocols.is_empty().then_some(Self::Nothing),
        }
    }

    /// What is spoken with a guest whose upstream host cannot be asked.
    pub(crate) const fn simplest(self) -> Inside {
        match self {
            Self::Nothing => Inside::Unsaid,
            Self::Http1 | Self::Both => Inside::Http1,
            Self::Http2 => Inside::Http2,
        }
    }
}

impl Clients {
    fn build(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(ciphers::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let with = |names: &[Inside]| {
            let mut config = config.clone();
            config.alpn_protocols =
                names.iter().filter_map(|inside| inside.name()).map(<[u8]>::to_vec).collect();
            Arc::new(config)
        };
        Ok(Self {
            unsaid: with(&[]),
            http1: with(&[Inside::Http1]),
            http2: with(&[Inside::Http2]),
            both: with(&[Inside::Http2, Inside::Http1]),
        })
    }
}

/// The host as TLS wants it.
pub(crate) fn server_name(host: &Host) -> Option<ServerName<'static>> {
    ServerName::try_from(host.as_str().to_owned()).ok()
}

fn placeholders(policy: &Policy) -> Vec<(String, HostPattern)> {
    let mut found = Vec::new();
    for domain in &policy.domains {
        for rule in &domain.rules {
            let Action::Send(edits) = &rule.then else { continue };
            for credential in &edits.credentials {
                if let Place::Placeholder(text) = &credential.place {
                    found.push((text.clone(), domain.pattern.clone()));
                }
            }
        }
    }
    found
}
