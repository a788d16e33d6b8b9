//! What can be wrong between a name and its blobs, in sentences that say what to do.

use std::io;
use std::time::Duration;

use super::credentials::CredentialsError;
use super::url::UrlError;
use crate::oci::blob::BlobError;
use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;
use crate::oci::platform::PlatformError;

/// Why a registry did not give what was asked. No variant holds a credential, and what a registry
/// said is cut short and holds no control characters.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{registry} has no repository {repository}")]
    NoRepository { registry: String, repository: String },
    #[error("{registry} has no {wanted} of {repository}")]
    NoTag { registry: String, repository: String, wanted: String },
    #[error(
        "{registry} does not give {image} to who is not logged in, or has no such image; log in with \
         `docker login {registry}`, or put the credentials into {config}"
    )]
    LogIn { image: String, registry: String, config: String },
    #[error(
        "{registry} does not give {image} to {who} (credentials from {origin}), or has no such image"
    )]
    Forbidden { image: String, registry: String, who: String, origin: String },
    #[error(
        "{registry} takes {image} from nobody who is not logged in; log in with `docker login \
         {registry}`, or put the credentials into {config}"
    )]
    PushLogIn { image: String, registry: String, config: String },
    #[error("{registry} does not take {image} from {who} (credentials from {origin})")]
    PushForbidden { image: String, registry: String, who: String, origin: String },
    #[error("not all blobs of {image} are kept here; pull or import it again")]
    NotKept { image: String, source: BlobError },
    #[error("{host} calls the manifest {found}, and its digest is {expected}")]
    OtherManifest { host: String, expected: Digest, found: Digest },
    #[error("{registry} gives out no more for now (429){}{}", after(*.wait), advice(*.anonymous))]
    RateLimited { registry: String, wait: Option<Duration>, anonymous: Anonymous },
    #[error(
        "{host} is in a network of this computer's own; if everybody may pull from there, name it in `internal` \
         of registries.json"
    )]
    Reserved { host: String },
    #[error("{host} cannot be reached")]
    Unreachable { host: String, source: io::Error },
    #[error(
        "{host} shows a certificate that this computer does not trust; add its authority to the \
         system's, or {host} to `insecure` in registries.json"
    )]
    Untrusted { host: String, source: io::Error },
    #[error("{host} speaks no TLS; if that is meant, name it in `insecure` of registries.json")]
    NoTls { host: String },
    #[error("{host} broke off {what}")]
    Broken { host: String, what: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{host} sent nothing of {what} for {} seconds", .waited.as_secs())]
    Stalled { host: String, what: String, waited: Duration },
    #[error("{host} answered {status} to {what}{}{said}", colon(.said))]
    Status { host: String, what: String, status: u16, said: String },
    #[error("{host} sent {what} that makes no sense: {fault}")]
    Nonsense { host: String, what: String, fault: String },
    #[error("{what} is larger than the {limit} bytes that are read of one")]
    TooLarge { what: String, limit: u64 },
    #[error(
        "{what} has another content than its digest says: it was changed under way, or the registry is broken"
    )]
    WrongDigest { what: String },
    #[error("{host} leads {what} to an address that is not followed: {fault}")]
    Redirect { host: String, what: String, fault: String },
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("{image} does not run on this computer")]
    Platform { image: String, source: PlatformError },
    #[error("{image} cannot be used")]
    Manifest { image: String, source: ManifestError },
    #[error("{image} cannot be used: {fault}")]
    Form { image: String, fault: String },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("no threads could be started to fetch it")]
    Threads(#[source] io::Error),
    #[error("it was broken off")]
    Cancelled,
}

/// Whether credentials went along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    Yes,
    No,
}

impl RegistryError {
    /// Whether another try may do better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => matches!(status, 500 | 502 | 503 | 504 | 408),
            Self::RateLimited { .. } => true,
            Self::NoRepository { .. }
            | Self::NoTag { .. }
            | Self::LogIn { .. }
            | Self::Forbidden { .. }
            | Self::PushLogIn { .. }
            | Self::PushForbidden { .. }
            | Self::NotKept { .. }
            | Self::OtherManifest { .. }
            | Self::Untrusted { .. }
            | Self::Reserved { .. }
            | Self::NoTls { .. }
            | Self::Nonsense { .. }
            | Self::TooLarge { .. }
            | Self::WrongDigest { .. }
            | Self::Redirect { .. }
            | Self::Url(_)
            | Self::Credentials(_)
            | Self::Platform { .. }
            | Self::Manifest { .. }
            | Self::Form { .. }
            | Self::Blob(_)
            | Self::Threads(_)
            | Self::Cancelled => false,
        }
    }
}

fn after(wait: Option<Duration>) -> String {
    wait.map(|wait| format!("; it asks to wait for {} seconds", wait.as_secs())).unwrap_or_default()
}

fn advice(anonymous: Anonymous) -> &'static str {
    match anonymous {
        Anonymous::Yes => "; who is logged in (`docker login`) often gets more",
        Anonymous::No => "",
    }
}

fn colon(said: &str) -> &'static str {
    if said.is_empty() { "" } else { ": " }
}
