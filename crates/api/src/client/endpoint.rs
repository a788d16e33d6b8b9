//! Where a server listens, and connecting to it.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use rustix::fs::{Mode, OFlags};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::tls::{Tls, Trust, TrustError};

/// `sun_path` has room for this many bytes and a NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Connection = Either<UnixStream, Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// A socket in the file system, of any length of path.
    Unix(PathBuf),
    Tcp(Tcp),
}

/// A server across TCP.
#[derive(Clone, Debug)]
pub struct Tcp {
    host: String,
    port: u16,
    /// What stands before every route, without a slash at its end.
    prefix: String,
    token: Option<Token>,
    /// None for a connection that anybody on the way can read.
    tls: Option<Tls>,
}

/// A bearer token. Nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("{0:?} is not a URL")]
    NotAUrl(String),
    #[error("{0:?} has no host")]
    NoHost(String),
    #[error("{0:?} does not start with http:// or https://")]
    Scheme(String),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("a token is made of visible ASCII characters, and this one is not")]
    Token,
}

impl Token {
    /// Takes a token as it stands in a file or variable: space around it does not count.
    pub fn new(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EndpointError::Token);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(tcp) => {
                let scheme = if tcp.tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{}:{}{}", tcp.host, tcp.port, tcp.prefix)
            }
        }
    }
}

impl Endpoint {
    /// Reads `http[s]://host[:port][/prefix]`. `trust` counts for https alone.
    pub fn from_url(url: &str, token: Option<Token>, trust: &Trust) -> Result<Self, EndpointError> {
        let Ok(uri) = url.parse::<Uri>() else {
            return Err(EndpointError::NotAUrl(url.to_owned()));
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| EndpointError::NoHost(url.to_owned()))?.to_owned();
        let (port, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => (443, Some(Tls::new(&host, trust)?)),
            Some(_) | None => return Err(EndpointError::Scheme(url.to_owned())),
        };
        let port = uri.port_u16().unwrap_or(port);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self::Tcp(Tcp { host, port, prefix, token, tls }))
    }

    /// The `Host` header.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp(tcp) => format!("{}:{}", tcp.host, tcp.port),
        }
    }

    pub(super) fn prefix(&self) -> &str {
        match self {
            Self::Unix(_) => "",
            Self::Tcp(tcp) => &tcp.prefix,
        }
    }

    /// The `Authorization` header.
    pub(super) fn authorization(&self) -> Option<String> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(tcp) => tcp.token.as_ref().map(|token| format!("Bearer {}", token.0)),
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(path) => Ok(Either::Left(connect_unix(path).await?)),
            Self::Tcp(tcp) => {
                // The brackets of an IPv6 address belong to the URL alone.
                let host = tcp.host.trim_start_matches('[').trim_end_matches(']');
                let connecting = TcpStream::connect((host, tcp.port));
                let stream = tokio::time::timeout(TCP_CONNECT_TIMEOUT, connecting).await??;
                stream.set_nodelay(true)?;
                Ok(Either::Right(match &tcp.tls {
                    None => Either::Left(stream),
                    Some(tls) => Either::Right(Box::new(tls.connect(stream).await?)),
                }))
            }
        }
    }
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).await
}
