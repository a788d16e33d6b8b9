//! Calls about sandboxes by name.

use http::Method;

use super::{
    Client, ClientError,
    exchange::Exchange,
    path::{query_string, segment},
};
use crate::sandbox::{CreateSandbox, DeleteReply, SandboxList, SandboxQuery, SandboxReply};
use crate::session::{MakePass, Pass};
use crate::update::{ForkLive, ForkLiveReply, PauseReply};

/// Whether to start a new session of a sandbox that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    Yes,
    No,
}

impl Client {
    /// Makes a sandbox; it runs when this returns.
    pub async fn create(&self, spec: &CreateSandbox) -> Result<SandboxReply, ClientError> {
        self.post("/v3/sandboxes").json(spec).reply().await
    }

    pub async fn sandbox(&self, name: &str, resume: Resume) -> Result<SandboxReply, ClientError> {
        let resume = resume == Resume::Yes;
        self.get(&format!("/v2/sandboxes/{}?resume={resume}", segment(name))).reply().await
    }

    /// Makes so many sandboxes with what this one has in memory; they run when this returns.
    pub async fn fork_live(&self, name: &str, count: u32) -> Result<ForkLiveReply, ClientError> {
        let path = format!("/v1/fumehood/sandboxes/{}/fork", segment(name));
        self.post(&path).json(&ForkLive { count: Some(count) }).reply().await
    }

    /// Pauses a sandbox, if it is not paused already.
    pub async fn pause(&self, name: &str) -> Result<PauseReply, ClientError> {
        self.post(&format!("/v1/fumehood/sandboxes/{}/pause", segment(name))).reply().await
    }

    pub async fn sandboxes(&self, query: &SandboxQuery) -> Result<SandboxList, ClientError> {
        self.get(&format!("/v2/sandboxes{}", query_string(query))).reply().await
    }

    /// Ends a sandbox's session, if one runs, and removes the sandbox with its automatic snapshots.
    pub async fn delete(&self, name: &str) -> Result<DeleteReply, ClientError> {
        let path = format!("/v2/sandboxes/{}?deleteOrphanSnapshots=automatic", segment(name));
        Exchange::new(self, Method::DELETE, &path).reply().await
    }

    /// A pass for a private port.
    pub async fn make_pass(&self, name: &str, asked: &MakePass) -> Result<Pass, ClientError> {
        let path = format!("/v2/sandboxes/{}/pass", segment(name));
        self.post(&path).json(asked).reply().await
    }
}
