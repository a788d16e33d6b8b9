//! What is put into a new sandbox before it is anybody's: a repository or an archive.
//!
//! The guest fetches it itself, with its image's own programs, through its gateway. A credential never
//! comes into the guest: the gateway puts it into requests for the repository while it is fetched,
//! and forgets it before the sandbox's first command.

use std::{path::Path, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine};
use egress::{
    host::Host,
    policy::{Action, Domain, Edits, HeaderEdit, HostPattern, Match, Pin, Policy, Rule, TextMatch},
    secret::SecretText,
};
use protocol::{CommandId, Refusal, StartCommand};

use crate::{
    agent::{Agent, AgentError},
    command_log::{CommandLog, Follow, LogError, LogItem, Offsets},
};

/// A guest may take long to start a process.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Until a source is there. Clients wait so long for the sandbox.
const FETCH_DEADLINE: Duration = Duration::from_secs(600);
/// Commands of users are counted from 1.
const COMMAND: CommandId = CommandId(0);
/// Of what the guest's programs say, the end.
const COMPLAINT_BYTES: usize = 1024;

const GIT: &str = include_str!("source/git.sh");
const TARBALL: &str = include_str!("source/tarball.sh");

/// Where a new sandbox's files come from, beyond its image.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) url: Address,
    pub(crate) kind: Kind,
    pub(crate) credential: Option<Credential>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Git {
        /// A branch, a tag or a commit; the repository's own branch when absent.
        revision: Option<String>,
        /// How many commits of it; all of the repository when absent.
        depth: Option<u32>,
    },
    Tarball,
}

/// An `http` or `https` URL without credentials.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) text: String,
    pub(crate) host: Host,
    /// None for the scheme's own.
    pub(crate) port: Option<u16>,
    pub(crate) path: String,
}

/// For HTTP's `Basic`.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) username: String,
    pub(crate) password: SecretText,
}

/// Why a source is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the source could not be fetched: {0}")]
    Refused(Refusal),
    #[error("the source could not be fetched: {complaint}")]
    Failed { complaint: String },
    #[error("the source was not there after {} seconds", FETCH_DEADLINE.as_secs())]
    TooLong,
    #[error("the guest agent did not fetch the source")]
    Agent(#[source] AgentError),
    #[error("what the guest said while it fetched the source cannot be kept")]
    Log(#[from] LogError),
}

impl From<AgentError> for FetchError {
    fn from(error: AgentError) -> Self {
        if let AgentError::Refused(refusal) = error {
            return Self::Refused(refusal);
        }
        Self::Agent(error)
    }
}

impl Source {
    /// What holds while it is fetched: the sandbox's own policy, and the source's host beside.
    pub(crate) fn policy(&self, own: &Policy) -> Policy {
        let (pattern, port) = (HostPattern::Exact(self.url.host.clone()), self.url.port);
        let mut policy = own.clone();
        policy.domains.retain(|domain| (&domain.pattern, domain.port) != (&pattern, port));
        let rules = self.credential.iter().map(|credential| Rule {
            when: Match {
                path: Some(TextMatch::StartsWith(self.url.path.clone())),
                ..Match::default()
            },
            then: Action::Send(Edits {
                headers: vec![credential.header()],
                pin: Pin::On { headers: [].into(), query: [].into() },
                ..Edits::default()
            }),
        });
        policy.domains.push(Domain { pattern, port, rules: rules.collect(), preset: None });
        policy
    }

    /// Has the guest fetch it into its working folder, and waits until it is there. What the guest
    /// says meanwhile goes into a log in `folder`.
    pub(crate) async fn fetch(&self, agent: &Agent, folder: &Path) -> Result<(), FetchError> {
        let (log, writer) = CommandLog::create(folder).await?;
        let started = agent.start(self.command(), writer, START_DEADLINE).await;
        let command = started.map_err(FetchError::from)?;
        let exit = match tokio::time::timeout(FETCH_DEADLINE, command.exit()).await {
            Ok(Ok(exit)) => exit,
            Ok(Err(_lost)) => return Err(FetchError::Agent(AgentError::Gone)),
            Err(_elapsed) => return Err(FetchError::TooLong),
        };
        match exit.code {
            0 => Ok(()),
            _ => Err(FetchError::Failed { complaint: complaint(&log).await? }),
        }
    }

    fn command(&self) -> StartCommand {
        let (script, more) = match &self.kind {
            Kind::Git { revision, depth } => {
                let depth = depth.map(|depth| depth.to_string());
                (GIT, vec![revision.clone().unwrap_or_default(), depth.unwrap_or_default()])
            }
            Kind::Tarball => (TARBALL, Vec::new()),
        };
        let words = ["sh", "-c", script, "sh", &self.url.text].map(str::to_owned);
        let argv = words.into_iter().chain(more).collect();
        let env = vec![("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned())];
        StartCommand { env, ..StartCommand::plain(COMMAND, argv) }
    }
}

impl Credential {
    fn header(&self) -> HeaderEdit {
        let pair = format!("{}:{}", self.username, self.password.expose());
        let value = SecretText::new(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        HeaderEdit { name: "authorization".to_owned(), value }
    }
}

/// The end of what the guest's programs said.
async fn complaint(log: &CommandLog) -> Result<String, LogError> {
    let mut said = Vec::new();
    let mut reader = log.reader(Offsets::default(), Follow::No);
    while let Some(item) = reader.next().await? {
        if let LogItem::Output { bytes, .. } = item {
            said.extend_from_slice(&bytes);
            let over = said.len().saturating_sub(COMPLAINT_BYTES);
            said.drain(..over);
        }
    }
    let text = String::from_utf8_lossy(&said);
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use egress::policy::Reach;

    use super::*;

    fn source() -> Source {
        Source {
            url: Address {
                text: "https://git.example.com/team/project.git".to_owned(),
                host: Host::parse("git.example.com").unwrap(),
                port: None,
                path: "/team/project.git".to_owned(),
            },
            kind: Kind::Git { revision: None, depth: None },
            credential: Some(Credential {
                username: "user".to_owned(),
                password: SecretText::new("pass".to_owned()),
            }),
        }
    }

    #[test]
    fn its_host_is_let_in_with_the_credential_and_nothing_else_is() {
        let policy = source().policy(&Policy::default());
        assert_eq!(policy.reach, Reach::Listed);
        let [domain] = policy.domains.as_slice() else { unreachable!("one domain") };
        assert_eq!(domain.to_string(), "git.example.com");
        let [rule] = domain.rules.as_slice() else { unreachable!("one rule") };
        let Action::Send(edits) = &rule.then else { unreachable!("it sends") };
        assert_eq!(edits.headers[0].value.expose(), "Basic dXNlcjpwYXNz");
        assert!(matches!(edits.pin, Pin::On { .. }));
        assert_eq!(rule.when.path, Some(TextMatch::StartsWith("/team/project.git".to_owned())));
    }

    #[test]
    fn what_the_policy_says_of_the_host_stands_back() {
        let pattern = HostPattern::Exact(Host::parse("git.example.com").unwrap());
        let deny = Rule { when: Match::default(), then: Action::Deny };
        let domain = Domain { pattern, port: None, rules: vec![deny], preset: None };
        let own = Policy { domains: vec![domain], ..Policy::default() };
        assert_eq!(source().policy(&own), source().policy(&Policy::default()));
    }

    #[test]
    fn nothing_shows_the_password() {
        let source = source();
        assert!(!format!("{source:?} {:?}", source.command()).contains("pass\""));
        assert!(!source.command().argv.iter().any(|word| word.contains("pass")));
    }
}
