//! The client: typed calls, one connection each, nothing retried and nothing printed.

mod attachment;
mod commands;
mod disks;
mod endpoint;
mod exchange;
mod files;
mod images;
mod path;
mod sandboxes;
mod server;
mod sessions;
mod tls;

use std::io;
use std::sync::Arc;

use http::{Method, StatusCode};

pub use attachment::{AttachReceiver, AttachSender, Received};
pub use endpoint::{Endpoint, EndpointError, Tcp, Token};
pub use exchange::{Download, Lines};
pub use files::{Owner, Packing, Unpack};
pub use sandboxes::Resume;
pub use tls::{Trust, TrustError};

use crate::error::Code;
use exchange::Exchange;
use path::segment;

/// Speaks to one server.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    project: Option<Arc<str>>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing was sent.
    #[error("no server answers at {endpoint}")]
    Unreachable { endpoint: String, source: io::Error },
    /// Somebody answers, and is not who we trust, or does not speak TLS. Nothing was sent.
    #[error(
        "there is no secure connection to {endpoint} (is its certificate your own? name its file: --ca-file)"
    )]
    Untrusted { endpoint: String, source: io::Error },
    /// The server understood and said no.
    #[error("{message}")]
    Refused { status: StatusCode, code: Code, message: String },
    /// The connection was lost; whether the request had its effect is not known.
    #[error("the connection to the server broke")]
    Broken { source: Box<dyn std::error::Error + Send + Sync> },
    /// The server answered, and not as agreed.
    #[error("the server's answer to {request} makes no sense")]
    Nonsense { request: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// A header or path of the request cannot be.
    #[error("{request} cannot be sent")]
    Unsendable { request: String, source: http::Error },
}

impl ClientError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Broken { .. }
            | Self::Nonsense { .. }
            | Self::Unsendable { .. } => None,
        }
    }
}

/// Whether to wait for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowMode {
    /// Until the command or the machine ends.
    ToTheEnd,
    /// What there is now.
    UntilNow,
}

impl Client {
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint: Arc::new(endpoint), project: None }
    }

    /// One whose every request is about this project, in place of the one that the token is for or
    /// the server's default.
    #[must_use]
    pub fn in_project(self, project: Option<&str>) -> Self {
        Self { project: project.map(Arc::from), ..self }
    }

    /// The project that it is for, if it was told one.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    fn in_its_project(&self, path: &str) -> String {
        let Some(project) = &self.project else { return path.to_owned() };
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}projectId={}", segment(project))
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn get(&self, path: &str) -> Exchange<'_> {
        Exchange::new(self, Method::GET, path)
    }

    fn post(&self, path: &str) -> Exchange<'_> {
        Exchange::new(self, Method::POST, path)
    }
}

#[cfg(test)]
mod tests;
