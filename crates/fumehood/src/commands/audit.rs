//! `fumehood audit`.

use std::time::Duration;

use api::Code;
use api::client::{ClientError, FollowMode, Resume};
use egress::event::{Decision, Event};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::Context;
use crate::cli::Audit;
use crate::decision::line;
use crate::failure::{Exit, Failure};
use crate::say;
use crate::server::Server;

/// How long a server may be away before we give up.
const ABSENCE_MAX: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: Audit, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let session = server.client().sandbox(&args.name, Resume::No).await?.session.id;
    let mut trail = Trail::new(&server, &session);
    let mode = if args.follow { FollowMode::ToTheEnd } else { FollowMode::UntilNow };
    let print = |event: &Event| {
        if args.denied && event.decision != Decision::Deny {
            return Ok(());
        }
        let whole = Whole { sandbox: &args.name, session: &session, event };
        say::out(&if args.json { json_line(&whole)? } else { line(event) })
    };
    trail.tell(mode, print).await?;
    Ok(Exit::Command(0))
}

/// What can be told from other sandboxes' where all come together.
#[derive(Serialize)]
struct Whole<'a> {
    sandbox: &'a str,
    session: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

fn json_line(event: &impl Serialize) -> Result<String, Failure> {
    let line = serde_json::to_string(event);
    Ok(line.map_err(|fault| Failure::new(Exit::Internal, fault))? + "\n")
}

/// The decisions of a session, each told once, over as many connections as it takes.
struct Trail<'a> {
    server: &'a Server,
    session: &'a str,
    /// The last one that was told.
    seq: u64,
    lost_since: Option<Instant>,
}

impl<'a> Trail<'a> {
    fn new(server: &'a Server, session: &'a str) -> Self {
        Self { server, session, seq: 0, lost_since: None }
    }

    async fn tell(
        &mut self,
        mode: FollowMode,
        mut print: impl FnMut(&Event) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            match self.connection(mode, &mut print).await {
                Ok(()) if mode == FollowMode::UntilNow || self.has_ended().await? => return Ok(()),
                // A server that gives way to another ends what it was telling.
                Ok(()) => sleep(RETRY_PAUSE).await,
                Err(Cut::Failed(failure)) => return Err(failure),
                Err(Cut::Lost(lost)) => self.reach_again(lost).await?,
            }
        }
    }

    async fn connection(
        &mut self,
        mode: FollowMode,
        print: &mut impl FnMut(&Event) -> Result<(), Failure>,
    ) -> Result<(), Cut> {
        let mut lines = self.server.client().audit(self.session, mode).await?;
        while let Some(event) = lines.next::<Event>().await? {
            self.lost_since = None;
            if event.seq > self.seq {
                self.seq = event.seq;
                print(&event)?;
            }
        }
        Ok(())
    }

    /// A session that was removed has ended too.
    async fn has_ended(&self) -> Result<bool, Failure> {
        match self.server.client().session(self.session).await {
            Ok(reply) => Ok(reply.session.status.is_ended()),
            Err(fault) if fault.code() == Some(Code::NotFound) => Ok(true),
            // The next connection finds out.
            Err(ClientError::Broken { .. } | ClientError::Unreachable { .. }) => Ok(false),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn reach_again(&mut self, lost: ClientError) -> Result<(), Failure> {
        let now = Instant::now();
        let deadline = *self.lost_since.get_or_insert(now) + ABSENCE_MAX;
        if now >= deadline {
            return Err(lost.into());
        }
        sleep(RETRY_PAUSE).await;
        timeout_at(deadline, self.server.reach_again()).await.unwrap_or_else(|_| Err(lost.into()))
    }
}

/// Why a connection ended before the trail did.
enum Cut {
    Lost(ClientError),
    Failed(Failure),
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ClientError> for Cut {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Broken { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Refused { code: Code::Unavailable, .. } => Self::Lost(error),
            ClientError::Refused { .. }
            | ClientError::Untrusted { .. }
            | ClientError::Nonsense { .. }
            | ClientError::Unsendable { .. } => Self::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
