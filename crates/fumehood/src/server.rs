//! The server this command line speaks to: a named one, or one of this user's own.

mod launch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::SecretValue;
use api::client::{Client, ClientError, Endpoint, EndpointError, Token, Trust};

use tokio::time::{Instant, sleep};

use crate::cli::ServerOptions;
use crate::contexts::{Contexts, Remembered};
use crate::failure::{Exit, Failure};
use crate::folders;

/// For a server to be back that was there before.
pub(crate) const ABSENCE_MAX: Duration = Duration::from_secs(60);

/// Where to ask. One of ours has answered already.
#[derive(Debug)]
pub(crate) struct Server {
    client: Client,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Ours to start and to replace.
    Own { state: PathBuf },
    /// Somebody else's.
    Elsewhere { token: Option<SecretValue>, ca_file: Option<PathBuf> },
}

impl Server {
    /// Finds the server that was asked for; the user's own is started when none answers, and
    /// replaced when it is older than we are.
    pub(crate) async fn reach(options: &ServerOptions) -> Result<Self, Failure> {
        if let Some(remembered) = asked_for(options)? {
            return Self::of(&remembered, options);
        }
        let state = folders::state()?;
        let client = Client::new(Endpoint::Unix(folders::socket(&state)));
        let client = client.in_project(options.project.as_deref());
        launch::ensure(&client, &state).await?;
        Ok(Self { client, place: Place::Own { state } })
    }

    /// A server elsewhere. What the options say goes before what is remembered.
    pub(crate) fn of(remembered: &Remembered, options: &ServerOptions) -> Result<Self, Failure> {
        let Remembered { server, project, ca_file, token } = remembered;
        let text = match (&options.token_file, token) {
            // The variable may be for another server than the context's.
            (None, Some(token)) => Some(token.expose().to_owned()),
            (Some(_), _) | (None, None) => token_text(options)?,
        };
        let kept = text.as_deref().map(|text| SecretValue::new(text.trim().to_owned()));
        let token = text.map(|text| Token::new(&text)).transpose();
        let token = token.map_err(|fault| Failure::new(Exit::Usage, fault))?;
        let ca_file = options.ca_file.as_ref().or(ca_file.as_ref()).cloned();
        let trust = ca_file.clone().map_or(Trust::System, Trust::File);
        let endpoint = Endpoint::from_url(server, token, &trust).map_err(misnamed)?;
        let project = options.project.as_deref().or(project.as_deref());
        let client = Client::new(endpoint).in_project(project);
        Ok(Self { client, place: Place::Elsewhere { token: kept, ca_file } })
    }

    /// One that is not ours to start.
    #[cfg(test)]
    pub(crate) fn elsewhere(client: Client) -> Self {
        Self { client, place: Place::Elsewhere { token: None, ca_file: None } }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The token that it is used with. Who calls this answers for where it goes.
    pub(crate) fn token(&self) -> Option<&str> {
        match &self.place {
            Place::Own { .. } => None,
            Place::Elsewhere { token, .. } => token.as_ref().map(SecretValue::expose),
        }
    }

    pub(crate) fn ca_file(&self) -> Option<&Path> {
        match &self.place {
            Place::Own { .. } => None,
            Place::Elsewhere { ca_file, .. } => ca_file.as_deref(),
        }
    }

    /// Whether it is this user's own, which runs or is about to.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.place, Place::Own { .. })
    }

    /// After a lost connection: waits until the server answers, no longer than is sensible, and
    /// starts it if it is ours.
    pub(crate) async fn reach_again(&self) -> Result<(), Failure> {
        match &self.place {
            Place::Own { state } => launch::ensure(&self.client, state).await,
            Place::Elsewhere { .. } => self.wait_for_it().await,
        }
    }

    /// A server that is being replaced is away for a moment.
    async fn wait_for_it(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + ABSENCE_MAX;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.client.version().await {
                Ok(_) => return Ok(()),
                Err(ClientError::Unreachable { .. } | ClientError::Broken { .. })
                    if Instant::now() < deadline => {}
                Err(fault) => return Err(fault.into()),
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

fn misnamed(fault: EndpointError) -> Failure {
    Failure::new(Exit::Usage, format_args!("{:#}", anyhow::Error::from(fault))).about("--server")
}

/// The server that options, variables or the context in use name; none for the user's own.
fn asked_for(options: &ServerOptions) -> Result<Option<Remembered>, Failure> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (filled(&options.server), filled(&options.context)) {
        (Some(_), Some(_)) => Err(Failure::new(
            Exit::Usage,
            "--server (or FUMEHOOD_SERVER) and --context (or FUMEHOOD_CONTEXT) each name a server: \
             use one of them",
        )),
        (Some(server), None) => {
            Ok(Some(Remembered { server, project: None, ca_file: None, token: None }))
        }
        (None, Some(name)) => Ok(Contexts::load()?.named(&name)?.cloned()),
        (None, None) => Ok(Contexts::load()?.in_use()?.cloned()),
    }
}

/// The token that the options or the variable give.
pub(crate) fn token_text(options: &ServerOptions) -> Result<Option<String>, Failure> {
    match (&options.token_file, &options.token) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map(Some)
            .map_err(|fault| Failure::host(format!("reading {}", file.display()), fault)),
        (None, Some(token)) => Ok(Some(token.expose().to_owned())),
        (None, None) => Ok(None),
    }
}
