//! Calls about the commands of a session.

use super::{
    AttachReceiver, AttachSender, Client, ClientError, FollowMode, attachment,
    exchange::Lines,
    path::{segment, session_path},
};
use crate::attach::ClientMessage;
use crate::command::{Command, CommandList, CommandReply, Kill, StartCommand};

impl Client {
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
}

fn command_path(session: &str, command: &str, rest: &str) -> String {
    session_path(session, &format!("/cmd/{}{rest}", segment(command)))
}
