//! Calls about sessions: their life, their network and what they wrote.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Client, ClientError, FollowMode, attachment,
    exchange::{Download, Lines},
    path::session_path,
};
use crate::network_policy::{Explain, Explanation, NetworkPolicy};
use crate::session::{SessionReply, StopReply, TUNNEL_PROTOCOL};

impl Client {
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

    /// Connects to a port of the guest.
    pub async fn connect_port(
        &self,
        session: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, ClientError> {
        let path = session_path(session, &format!("/tunnel?port={port}"));
        attachment::upgrade(self.get(&path), TUNNEL_PROTOCOL).await
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
}
