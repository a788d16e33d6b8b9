//! The client: typed calls, one connection each, nothing retried and nothing printed.

mod attachment;
mod endpoint;
mod exchange;
mod tls;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderName, Method, StatusCode};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};

pub use attachment::{AttachReceiver, AttachSender, Received};
pub use endpoint::{Endpoint, EndpointError, Tcp, Token};
pub use exchange::{Download, Lines};
pub use tls::{Trust, TrustError};

use crate::attach::ClientMessage;
use crate::command::{Command, CommandList, CommandReply, Kill, StartCommand};
use crate::drive::{CreateDrive, DriveList, DriveQuery, DriveReply, ForkDrive};
use crate::error::Code;
use crate::files::{CWD_HEADER, FileStat, FsMkdir, FsPath, GZIP, OWNER_HEADER, OWNER_KEEP, TAR};
use crate::image::{
    CommitImage, Image, ImageList, PruneImages, PullImage, PushImage, RemovedImages,
};
use crate::network_policy::{Explain, Explanation, NetworkPolicy};
use crate::sandbox::{CreateSandbox, DeleteReply, SandboxList, SandboxQuery, SandboxReply};
use crate::secrets::{PutSecret, SecretList};
use crate::server::{Listener, Pool, Version};
use crate::session::{MakePass, Pass, SessionReply, StopReply, TUNNEL_PROTOCOL};
use crate::snapshot::{
    CreateSnapshot, CreateSnapshotReply, PageQuery, SnapshotList, SnapshotReply,
};
use crate::tokens::{CreateToken, NewToken, RevokedTokens, TokenList};
use exchange::{Exchange, stream_body};

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
    #[error("there is no secure connection to {endpoint}")]
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

/// Whether to start a new session of a sandbox that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    Yes,
    No,
}

/// Whether to wait for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowMode {
    /// Until the command or the machine ends.
    ToTheEnd,
    /// What there is now.
    UntilNow,
}

/// How a tar stream is unpacked in the guest.
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'a> {
    /// Where, an absolute path.
    pub folder: &'a str,
    pub packing: Packing,
    pub owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Tar,
    GzippedTar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Everything belongs to the sandbox's default user.
    DefaultUser,
    /// As the stream says.
    Kept,
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

    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/v1/fumehood/version").reply().await
    }

    /// Has the server listen on a port of its own computer too, if it does not yet.
    pub async fn listen(&self) -> Result<Listener, ClientError> {
        self.post("/v1/fumehood/listen").reply().await
    }

    /// Asks the server to close and leave its machines to the next one.
    pub async fn handover(&self) -> Result<(), ClientError> {
        self.post("/v1/fumehood/handover").accepted().await.map(|_| ())
    }

    pub async fn pool(&self) -> Result<Pool, ClientError> {
        self.get("/v1/fumehood/pool").reply().await
    }

    pub async fn images(&self) -> Result<ImageList, ClientError> {
        self.get("/v1/fumehood/images").reply().await
    }

    /// Brings an image here; lines of [`crate::PullEvent`]. Dropped, it is broken off.
    pub async fn pull_image(&self, asked: &PullImage) -> Result<Lines, ClientError> {
        self.post("/v1/fumehood/images/pull").json(asked).lines().await
    }

    /// Makes an image of a sandbox's disk; lines of [`crate::PullEvent`].
    pub async fn commit_image(&self, asked: &CommitImage) -> Result<Lines, ClientError> {
        self.post("/v1/fumehood/images/commit").json(asked).lines().await
    }

    /// Pushes an image to a registry; lines of [`crate::PushEvent`]. Dropped, it is broken off.
    pub async fn push_image(&self, asked: &PushImage) -> Result<Lines, ClientError> {
        self.post("/v1/fumehood/images/push").json(asked).lines().await
    }

    pub async fn image(&self, name: &str) -> Result<Image, ClientError> {
        self.get(&image_path("/inspect", name)).reply().await
    }

    /// Takes a name away from an image, and the image when it was its last.
    pub async fn delete_image(&self, name: &str) -> Result<RemovedImages, ClientError> {
        Exchange::new(self, Method::DELETE, &image_path("", name)).reply().await
    }

    pub async fn prune_images(&self, asked: &PruneImages) -> Result<RemovedImages, ClientError> {
        self.post("/v1/fumehood/images/prune").json(asked).reply().await
    }

    /// The image as a tar file in OCI's layout.
    pub async fn save_image(&self, name: &str) -> Result<Download, ClientError> {
        self.get(&image_path("/save", name)).download().await
    }

    /// The secrets that are stored, without their values.
    pub async fn secrets(&self) -> Result<SecretList, ClientError> {
        self.get("/v1/fumehood/secrets").reply().await
    }

    /// Stores a secret, in place of the one of this name before.
    pub async fn put_secret(&self, name: &str, secret: &PutSecret) -> Result<(), ClientError> {
        let exchange = Exchange::new(self, Method::PUT, &secret_path(name));
        exchange.json(secret).accepted().await.map(|_| ())
    }

    pub async fn delete_secret(&self, name: &str) -> Result<(), ClientError> {
        let exchange = Exchange::new(self, Method::DELETE, &secret_path(name));
        exchange.accepted().await.map(|_| ())
    }

    /// Makes a token of the client's project.
    pub async fn create_token(&self, asked: &CreateToken) -> Result<NewToken, ClientError> {
        self.post("/v1/fumehood/tokens").json(asked).reply().await
    }

    /// The tokens that are not revoked; of all projects if the client is for none.
    pub async fn tokens(&self) -> Result<TokenList, ClientError> {
        self.get("/v1/fumehood/tokens").reply().await
    }

    pub async fn revoke_token(&self, id: &str) -> Result<RevokedTokens, ClientError> {
        let path = format!("/v1/fumehood/tokens/{}", segment(id));
        Exchange::new(self, Method::DELETE, &path).reply().await
    }

    /// Has tokens signed with another key from now on; all there are end.
    pub async fn rotate_token_key(&self) -> Result<RevokedTokens, ClientError> {
        self.post("/v1/fumehood/tokens/rotate-key").reply().await
    }

    pub async fn drives(&self, query: &DriveQuery) -> Result<DriveList, ClientError> {
        self.get(&format!("/v2/sandboxes/drives{}", query_string(query))).reply().await
    }

    /// Makes a drive, if it is not there.
    pub async fn create_drive(
        &self,
        name: &str,
        spec: &CreateDrive,
    ) -> Result<DriveReply, ClientError> {
        self.post(&drive_path(name, "")).json(spec).reply().await
    }

    pub async fn delete_drive(&self, name: &str) -> Result<DriveReply, ClientError> {
        Exchange::new(self, Method::DELETE, &drive_path(name, "")).reply().await
    }

    pub async fn fork_drive(&self, name: &str, fork: &str) -> Result<DriveReply, ClientError> {
        let asked = ForkDrive { name: fork.to_owned(), project_id: None };
        self.post(&drive_path(name, "/fork")).json(&asked).reply().await
    }

    /// Makes a sandbox; it runs when this returns.
    pub async fn create(&self, spec: &CreateSandbox) -> Result<SandboxReply, ClientError> {
        self.post("/v3/sandboxes").json(spec).reply().await
    }

    pub async fn sandbox(&self, name: &str, resume: Resume) -> Result<SandboxReply, ClientError> {
        let resume = resume == Resume::Yes;
        self.get(&format!("/v2/sandboxes/{}?resume={resume}", segment(name))).reply().await
    }

    pub async fn sandboxes(&self, query: &SandboxQuery) -> Result<SandboxList, ClientError> {
        self.get(&format!("/v2/sandboxes{}", query_string(query))).reply().await
    }

    /// Ends a sandbox's session, if one runs, and removes the sandbox with its automatic snapshots.
    pub async fn delete(&self, name: &str) -> Result<DeleteReply, ClientError> {
        let path = format!("/v2/sandboxes/{}?deleteOrphanSnapshots=automatic", segment(name));
        Exchange::new(self, Method::DELETE, &path).reply().await
    }

    /// Makes the disk of a session a snapshot, which ends the session. `expiration` is in milliseconds from
    /// the snapshot's last use, 0 for never.
    pub async fn take_snapshot(
        &self,
        session: &str,
        expiration: Option<u64>,
    ) -> Result<CreateSnapshotReply, ClientError> {
        let path = session_path(session, "/snapshot");
        self.post(&path).json(&CreateSnapshot { expiration }).reply().await
    }

    pub async fn snapshots(&self, query: &PageQuery) -> Result<SnapshotList, ClientError> {
        self.get(&format!("/v2/sandboxes/snapshots{}", query_string(query))).reply().await
    }

    pub async fn snapshot(&self, id: &str) -> Result<SnapshotReply, ClientError> {
        self.get(&snapshot_path(id)).reply().await
    }

    pub async fn delete_snapshot(&self, id: &str) -> Result<SnapshotReply, ClientError> {
        Exchange::new(self, Method::DELETE, &snapshot_path(id)).reply().await
    }

    pub async fn session(&self, session: &str) -> Result<SessionReply, ClientError> {
        self.get(&session_path(session, "")).reply().await
    }

    /// Ends a session; it has ended when this returns. One that had ended already is no fault.
    pub async fn stop(&self, session: &str) -> Result<StopReply, ClientError> {
        self.post(&session_path(session, "/stop")).reply().await
    }

    /// Puts a policy in the place of the session's own; it holds when this returns.
    pub async fn set_network_policy(
        &self,
        session: &str,
        policy: &NetworkPolicy,
    ) -> Result<SessionReply, ClientError> {
        self.post(&session_path(session, "/network-policy")).json(policy).reply().await
    }

    /// What would become of a request by the session's policy. Nothing is sent.
    pub async fn explain(
        &self,
        session: &str,
        method: &str,
        url: &str,
    ) -> Result<Explanation, ClientError> {
        let asked = Explain { method: method.to_owned(), url: url.to_owned() };
        let path = session_path(session, "/network-policy/explain");
        self.post(&path).json(&asked).reply().await
    }

    /// Starts a command and does not wait for it.
    pub async fn start(&self, session: &str, spec: &StartCommand) -> Result<Command, ClientError> {
        debug_assert!(!spec.wait, "an attached command answers in lines");
        let path = session_path(session, "/cmd");
        Ok(self.post(&path).json(spec).reply::<CommandReply>().await?.command)
    }

    /// Starts or follows a command with its streams.
    pub async fn attach(
        &self,
        session: &str,
        first: &ClientMessage,
    ) -> Result<(AttachSender, AttachReceiver), ClientError> {
        attachment::open(self, &session_path(session, "/attach"), first).await
    }

    /// A pass for a private port.
    pub async fn make_pass(&self, name: &str, asked: &MakePass) -> Result<Pass, ClientError> {
        let path = format!("/v2/sandboxes/{}/pass", segment(name));
        self.post(&path).json(asked).reply().await
    }

    /// Connects to a port of the guest.
    pub async fn connect_port(
        &self,
        session: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, ClientError> {
        let path = session_path(session, &format!("/tunnel?port={port}"));
        attachment::upgrade(self.get(&path), TUNNEL_PROTOCOL).await
    }

    pub async fn commands(&self, session: &str) -> Result<Vec<Command>, ClientError> {
        let path = session_path(session, "/cmd");
        Ok(self.get(&path).reply::<CommandList>().await?.commands)
    }

    pub async fn command(&self, session: &str, command: &str) -> Result<Command, ClientError> {
        let path = command_path(session, command, "");
        Ok(self.get(&path).reply::<CommandReply>().await?.command)
    }

    /// The command once it has ended.
    pub async fn wait(&self, session: &str, command: &str) -> Result<Command, ClientError> {
        let path = command_path(session, command, "?wait=true");
        Ok(self.get(&path).reply::<CommandReply>().await?.command)
    }

    pub async fn kill(
        &self,
        session: &str,
        command: &str,
        signal: i32,
    ) -> Result<Command, ClientError> {
        let exchange = self.post(&command_path(session, command, "/kill")).json(&Kill { signal });
        Ok(exchange.reply::<CommandReply>().await?.command)
    }

    /// The output of a command from its start, as [`crate::LogLine`]s.
    pub async fn logs(
        &self,
        session: &str,
        command: &str,
        mode: FollowMode,
    ) -> Result<Lines, ClientError> {
        let follow = format!("/logs?follow={}", mode == FollowMode::ToTheEnd);
        self.get(&command_path(session, command, &follow)).lines().await
    }

    /// What the machine wrote to its console.
    pub async fn console(&self, session: &str, mode: FollowMode) -> Result<Download, ClientError> {
        let rest = format!("/console?follow={}", mode == FollowMode::ToTheEnd);
        self.get(&session_path(session, &rest)).download().await
    }

    /// What the gateway has decided, from the start of the session; a JSON object a line.
    pub async fn audit(&self, session: &str, mode: FollowMode) -> Result<Lines, ClientError> {
        let rest = format!("/audit?follow={}", mode == FollowMode::ToTheEnd);
        self.get(&session_path(session, &rest)).lines().await
    }

    pub async fn read_file(&self, session: &str, file: &FsPath) -> Result<Download, ClientError> {
        self.post(&session_path(session, "/fs/read")).json(file).download().await
    }

    pub async fn make_folder(&self, session: &str, folder: &FsMkdir) -> Result<(), ClientError> {
        let path = session_path(session, "/fs/mkdir");
        self.post(&path).json(folder).accepted().await.map(|_| ())
    }

    pub async fn stat(&self, session: &str, file: &FsPath) -> Result<FileStat, ClientError> {
        self.post(&session_path(session, "/fs/stat")).json(file).reply().await
    }

    /// Unpacks a tar stream in the guest.
    pub async fn unpack(
        &self,
        session: &str,
        how: Unpack<'_>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        let content_type = match how.packing {
            Packing::Tar => TAR,
            Packing::GzippedTar => GZIP,
        };
        let mut exchange = self
            .post(&session_path(session, "/fs/write"))
            .header(HeaderName::from_static(CWD_HEADER), how.folder)
            .body(content_type, stream_body(stream));
        if how.owner == Owner::Kept {
            exchange = exchange.header(HeaderName::from_static(OWNER_HEADER), OWNER_KEEP);
        }
        exchange.accepted().await.map(|_| ())
    }

    /// A file or folder of the guest as a tar stream, names relative to the parent of `path`.
    pub async fn pack(&self, session: &str, path: &str) -> Result<Download, ClientError> {
        let rest = format!("/fs/tar?path={}", segment(path));
        self.get(&session_path(session, &rest)).download().await
    }
}

fn image_path(rest: &str, name: &str) -> String {
    format!("/v1/fumehood/images{rest}?name={}", segment(name))
}

fn drive_path(name: &str, rest: &str) -> String {
    format!("/v2/sandboxes/drives/{}{rest}", segment(name))
}

fn secret_path(name: &str) -> String {
    format!("/v1/fumehood/secrets/{}", segment(name))
}

fn snapshot_path(id: &str) -> String {
    format!("/v2/sandboxes/snapshots/{}", segment(id))
}

fn session_path(session: &str, rest: &str) -> String {
    format!("/v2/sandboxes/sessions/{}{rest}", segment(session))
}

fn command_path(session: &str, command: &str, rest: &str) -> String {
    session_path(session, &format!("/cmd/{}{rest}", segment(command)))
}

/// Text as one segment of a path or one value of a query, so that none can be two.
fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn query_string(query: &impl Serialize) -> String {
    let fields = serde_json::to_value(query).expect("our own types are always JSON");
    let mut text = String::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mark = if text.is_empty() { '?' } else { '&' };
        text.push_str(&format!("{mark}{name}={}", segment(&value)));
    }
    text
}

#[cfg(test)]
mod tests;
