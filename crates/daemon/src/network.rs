//! The network of one sandbox as it is made and remembered: its policy, the certificate authority
//! that opened connections are signed by, and the placeholders that stand for secrets in the guest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use egress::{
    control::{Authority, Configuration},
    gateway::authority::{self, AuthorityError},
    policy::{Action, ForwardTo, Place, Policy},
    secret::{SecretName, SecretText},
};
use ring::hmac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    causes,
    identity::{IdentityError, Issuer, Whom},
    ids::{self, Lineage, SandboxKey, SnapshotId},
    seal::{Label, Seal, Sealed, Unopened},
    secrets::Secrets,
    store::{AuthorityRecord, Change, EgressChange, KeptNetwork, NetworkRecord, StoreError},
    uplink::Uplink,
};

/// By this a guest's programs, and we, know a text that stands for a secret.
const PLACEHOLDER: &str = "FUMEHOOD_SECRET_";

/// What gateways of one server have in common.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) seal: Arc<Seal>,
    pub(crate) secrets: Secrets,
    pub(crate) uplink: Uplink,
    pub(crate) issuer: Issuer,
}

/// Makes the texts that stand for secrets in one sandbox; nobody else can guess them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placeholders([u8; 32]);

impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Placeholders(…)")
    }
}

impl Placeholders {
    pub(crate) fn random() -> Self {
        Self(ids::random())
    }

    /// The text that stands for the secret.
    pub(crate) fn of(&self, name: &SecretName) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, name.as_str().as_bytes());
        format!("{PLACEHOLDER}{}", ids::base62(tag.as_ref()))
    }
}

/// What a record holds sealed.
#[derive(Serialize, Deserialize)]
struct Private {
    policy: Policy,
    placeholders: Placeholders,
}

/// The network of one sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) policy: Arc<Policy>,
    placeholders: Placeholders,
    authority: Arc<AuthorityRecord>,
}

/// Why a gateway cannot be given what it needs.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox's certificate authority cannot be used")]
pub(crate) struct ConfigureError(#[source] Unopened);

/// Why a sandbox's network cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error("no certificate authority could be made")]
    Authority(#[from] AuthorityError),
}

impl Network {
    /// With a certificate authority of its own.
    pub(crate) fn new(
        seal: &Seal,
        policy: Policy,
        placeholders: Placeholders,
    ) -> Result<Self, MakeError> {
        let authority = Arc::new(new_authority(seal)?);
        Ok(Self { policy: Arc::new(policy), placeholders, authority })
    }

    /// With an authority that nobody has used, in place of its own.
    pub(crate) fn under(self, authority: Arc<AuthorityRecord>) -> Self {
        Self { authority, ..self }
    }

    /// As an earlier server stored it. A policy that does not open is one that allows nothing.
    pub(crate) fn recall(
        seal: &Seal,
        record: &NetworkRecord,
        authority: Arc<AuthorityRecord>,
    ) -> Self {
        let SandboxKey { name, .. } = &record.sandbox;
        let opened = seal
            .open_json(network_label(&record.sandbox.to_string()), &record.sealed)
            // Before sandboxes were known by their project too.
            .or_else(|_| seal.open_json(network_label(name.as_str()), &record.sealed));
        Self::opened(opened, authority)
    }

    /// As a snapshot keeps it; see [`Self::recall`].
    pub(crate) fn of_snapshot(seal: &Seal, id: &SnapshotId, kept: &KeptNetwork) -> Self {
        let opened = seal.open_json(snapshot_label(id), &kept.sealed);
        Self::opened(opened, Arc::new(kept.authority.clone()))
    }

    fn opened(opened: Result<Private, Unopened>, authority: Arc<AuthorityRecord>) -> Self {
        let Private { policy, placeholders } = opened.unwrap_or_else(|error| {
            tracing::error!(%error, "a policy is lost: all is denied");
            Private { policy: Policy::default(), placeholders: Placeholders::random() }
        });
        Self { policy: Arc::new(policy), placeholders, authority }
    }

    /// For a snapshot to keep.
    pub(crate) fn kept(&self, seal: &Seal, id: &SnapshotId) -> Result<KeptNetwork, StoreError> {
        let sealed = seal.seal_json(snapshot_label(id), &self.private())?;
        Ok(KeptNetwork { authority: (*self.authority).clone(), sealed })
    }

    /// Whether programs that know the one know the other.
    pub(crate) fn is_of(&self, kept: &KeptNetwork) -> bool {
        self.authority.lineage == kept.authority.lineage
    }

    pub(crate) fn with_policy(&self, policy: Policy) -> Self {
        Self { policy: Arc::new(policy), ..self.clone() }
    }

    /// What is to be stored when it is made.
    pub(crate) fn made(
        &self,
        seal: &Seal,
        sandbox: &SandboxKey,
    ) -> Result<[Change; 2], StoreError> {
        let authority = EgressChange::Authority((*self.authority).clone());
        Ok([Change::Egress(authority), self.changed(seal, sandbox)?])
    }

    /// What is to be stored when its policy has changed.
    pub(crate) fn changed(&self, seal: &Seal, sandbox: &SandboxKey) -> Result<Change, StoreError> {
        let record = NetworkRecord {
            sandbox: sandbox.clone(),
            lineage: self.authority.lineage.clone(),
            sealed: self.sealed(seal, sandbox)?,
        };
        Ok(Change::Egress(EgressChange::Network(record)))
    }

    fn sealed(&self, seal: &Seal, sandbox: &SandboxKey) -> Result<Sealed, StoreError> {
        Ok(seal.seal_json(network_label(&sandbox.to_string()), &self.private())?)
    }

    fn private(&self) -> Private {
        Private { policy: (*self.policy).clone(), placeholders: self.placeholders.clone() }
    }

    /// The certificate that the guest is to trust: DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.authority.certificate
    }

    /// The text that stands for a secret in this sandbox.
    pub(crate) fn placeholder(&self, name: &SecretName) -> String {
        self.placeholders.of(name)
    }

    /// Variables by which the guest's programs find the placeholders: each has its secret's name.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let placed = credentials(&self.policy).filter_map(|(secret, place)| match place {
            Place::Placeholder(text) => Some((secret.as_str().to_owned(), text.clone())),
            Place::Header { .. } | Place::Basic { .. } | Place::Query { .. } => None,
        });
        placed.collect()
    }

    /// All that a gateway needs. A secret that is not there, or does not open, is left out, and the
    /// gateway refuses what needs it.
    pub(crate) fn configuration(
        &self,
        egress: &Egress,
        whom: &Whom,
        revision: u64,
    ) -> Result<Configuration, ConfigureError> {
        let authority = &*self.authority;
        let key = egress.seal.open(authority_label(&authority.lineage), &authority.sealed);
        let key = key.and_then(|key| text(&key)).map_err(ConfigureError)?;
        let mut secrets = BTreeMap::new();
        for name in secret_names(&self.policy) {
            match egress.secrets.value(&whom.project, &name) {
                Ok(Some(value)) => drop(secrets.insert(name, value)),
                Ok(None) => {}
                Err(error) => tracing::error!(%name, %error, "a secret is lost"),
            }
        }
        Ok(Configuration {
            revision,
            policy: (*self.policy).clone(),
            secrets,
            authority: Authority { certificate: authority.certificate.clone(), key },
            identities: self.identities(&egress.issuer, whom),
            extra_roots: egress.uplink.roots.clone(),
            proxy: egress.uplink.proxy.clone(),
        })
    }

    /// For whom requests are forwarded to. Without a key they go on without, and who wants to know whose
    /// they are refuses them.
    fn identities(&self, issuer: &Issuer, whom: &Whom) -> BTreeMap<String, SecretText> {
        let urls: BTreeSet<String> = forwards(&self.policy).map(ToString::to_string).collect();
        let signed = urls.into_iter().map(|url| Ok((url.clone(), issuer.sign(whom, &url)?)));
        signed.collect::<Result<_, IdentityError>>().unwrap_or_else(|error| {
            tracing::error!(error = causes(&error), "forwarded requests do not say whose they are");
            BTreeMap::new()
        })
    }

    /// Whether what it is configured with runs out.
    pub(crate) fn runs_out(&self) -> bool {
        forwards(&self.policy).next().is_some()
    }
}

/// A certificate authority of a lineage of its own.
pub(crate) fn new_authority(seal: &Seal) -> Result<AuthorityRecord, MakeError> {
    let made = authority::make()?;
    let lineage = Lineage::random();
    let sealed = seal.seal(authority_label(&lineage), made.key.expose().as_bytes());
    Ok(AuthorityRecord { lineage, certificate: made.certificate, sealed })
}

/// The secrets that a policy names.
pub(crate) fn secret_names(policy: &Policy) -> BTreeSet<SecretName> {
    credentials(policy).map(|(secret, _)| secret.clone()).collect()
}

fn credentials(policy: &Policy) -> impl Iterator<Item = (&SecretName, &Place)> {
    let rules = policy.domains.iter().flat_map(|domain| &domain.rules);
    let edits = rules.filter_map(|rule| match &rule.then {
        Action::Send(edits) => Some(edits),
        Action::Deny | Action::Forward(_) | Action::Respond(_) => None,
    });
    edits.flat_map(|edits| &edits.credentials).map(|each| (&each.secret, &each.place))
}

fn forwards(policy: &Policy) -> impl Iterator<Item = &ForwardTo> {
    let rules = policy.domains.iter().flat_map(|domain| &domain.rules);
    rules.filter_map(|rule| match &rule.then {
        Action::Forward(to) => Some(to),
        Action::Deny | Action::Send(_) | Action::Respond(_) => None,
    })
}

fn text(plain: &Zeroizing<Vec<u8>>) -> Result<SecretText, Unopened> {
    let text = std::str::from_utf8(plain).map_err(|_quoting| Unopened)?;
    Ok(SecretText::new(text.to_owned()))
}

fn authority_label(lineage: &Lineage) -> Label<'_> {
    Label { kind: "authority", id: lineage.as_str() }
}

fn network_label(sandbox: &str) -> Label<'_> {
    Label { kind: "network", id: sandbox }
}

fn snapshot_label(id: &SnapshotId) -> Label<'_> {
    Label { kind: "network of a snapshot", id: id.as_str() }
}

#[cfg(test)]
mod tests;
