//! One request, one connection, one reply.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::error::{Code, ErrorBody};

/// The largest reply that is read as a whole.
const REPLY_BYTES_MAX: usize = 16 << 20;
/// The longest line of a reply of lines.
const LINE_BYTES_MAX: usize = 8 << 20;

const USER_AGENT_TEXT: &str = concat!("fumehood/", env!("CARGO_PKG_VERSION"));

/// What a request carries.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn no_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn whole_body(bytes: Vec<u8>) -> Body {
    Full::from(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn stream_body(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync()
}

/// A request under way to being sent.
pub(super) struct Exchange<'a> {
    client: &'a Client,
    /// Method and path, for messages.
    what: String,
    builder: http::request::Builder,
    body: Body,
}

impl<'a> Exchange<'a> {
    /// `path` is from the root of the API, with its query.
    pub(super) fn new(client: &'a Client, method: Method, path: &str) -> Self {
        let endpoint = &client.endpoint;
        let what = format!("{method} {path}");
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("{}{}", endpoint.prefix(), client.in_its_project(path)))
            .header(HOST, endpoint.host())
            .header(USER_AGENT, USER_AGENT_TEXT);
        if let Some(authorization) = endpoint.authorization() {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        Self { client, what, builder, body: no_body() }
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(super) fn body(mut self, content_type: &str, body: Body) -> Self {
        self.builder = self.builder.header(CONTENT_TYPE, content_type);
        self.body = body;
        self
    }

    pub(super) fn json<T: Serialize>(self, value: &T) -> Self {
        let bytes = serde_json::to_vec(value).expect("our own types are always JSON");
        self.body("application/json", whole_body(bytes))
    }

    /// Sends it and gives the reply, whatever its status.
    pub(super) async fn send(self) -> Result<(String, Response<Incoming>), ClientError> {
        let Self { client, what, builder, body } = self;
        let request = match builder.body(body) {
            Ok(request) => request,
            Err(fault) => return Err(ClientError::Unsendable { request: what, source: fault }),
        };
        let stream = client.endpoint.connect().await.map_err(|source| {
            let endpoint = client.endpoint.to_string();
            // The handshake's own kind of error; a connection that breaks has others.
            if source.kind() == io::ErrorKind::InvalidData {
                ClientError::Untrusted { endpoint, source }
            } else {
                ClientError::Unreachable { endpoint, source }
            }
        })?;
        let broken = |source: hyper::Error| ClientError::Broken { source: source.into() };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the reply's body, or when that is dropped; its errors arrive there too.
        tokio::spawn(connection.with_upgrades());
        let reply = sender.send_request(request).await.map_err(broken)?;
        Ok((what, reply))
    }

    /// The reply, when it is one of success.
    pub(super) async fn accepted(self) -> Result<(String, Response<Incoming>), ClientError> {
        let (what, reply) = self.send().await?;
        if reply.status().is_success() { Ok((what, reply)) } else { Err(refused(reply).await) }
    }

    /// The reply's body as JSON.
    pub(super) async fn reply<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let (request, reply) = self.accepted().await?;
        let body = read_whole(reply.into_body()).await?;
        serde_json::from_slice(&body)
            .map_err(|source| ClientError::Nonsense { request, source: source.into() })
    }

    /// The reply's body as it comes.
    pub(super) async fn download(self) -> Result<Download, ClientError> {
        let (_, reply) = self.accepted().await?;
        Ok(Download { body: reply.into_body() })
    }

    /// The reply's body as JSON, line by line.
    pub(super) async fn lines(self) -> Result<Lines, ClientError> {
        let (request, reply) = self.accepted().await?;
        let download = Download { body: reply.into_body() };
        Ok(Lines { request, download, rest: Vec::new(), searched: 0 })
    }
}

/// What a reply that is not one of success says.
pub(super) async fn refused(reply: Response<Incoming>) -> ClientError {
    let status = reply.status();
    let body = match read_whole(reply.into_body()).await {
        Ok(body) => body,
        Err(fault) => return fault,
    };
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(ErrorBody { error }) => {
            let code = code_of(&body, status).unwrap_or(error.code);
            ClientError::Refused { status, code, message: error.message }
        }
        // Not our server's words, such as a proxy's page; the status still says something.
        Err(_) => ClientError::Refused {
            status,
            code: Code::from_wire("", status),
            message: format!("the server answered {status}"),
        },
    }
}

/// The code with the status to explain it, which `Deserialize` alone does not have.
fn code_of(body: &[u8], status: StatusCode) -> Option<Code> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(Code::from_wire(body["error"]["code"].as_str()?, status))
}

async fn read_whole(body: Incoming) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, REPLY_BYTES_MAX).collect().await;
    Ok(collected.map_err(|source| ClientError::Broken { source })?.to_bytes())
}

/// A reply's body as it comes.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
}

impl Download {
    /// The next piece; none at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| ClientError::Broken { source: source.into() })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The body as a stream, to be read by what knows only I/O.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        http_body_util::BodyDataStream::new(self.body).map(|piece| piece.map_err(io::Error::other))
    }
}

/// A reply of one JSON value a line.
#[derive(Debug)]
pub struct Lines {
    request: String,
    download: Download,
    rest: Vec<u8>,
    /// How much of `rest` is known to hold no end of a line.
    searched: usize,
}

impl Lines {
    /// The next line; none at the end.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.rest[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=self.searched + end).collect();
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.parse(&line).map(Some);
            }
            self.searched = self.rest.len();
            if self.rest.len() > LINE_BYTES_MAX {
                return Err(self.nonsense("a line without an end".into()));
            }
            match self.download.chunk().await? {
                Some(more) => self.rest.extend_from_slice(&more),
                None if self.rest.trim_ascii().is_empty() => return Ok(None),
                None => {
                    let last = std::mem::take(&mut self.rest);
                    self.searched = 0;
                    return self.parse(&last).map(Some);
                }
            }
        }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|source| self.nonsense(source.into()))
    }

    fn nonsense(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        ClientError::Nonsense { request: self.request.clone(), source }
    }
}
