//! The server this command line speaks to: a named one, or one of this user's own.

mod launch;

use std::path::PathBuf;
use std::time::Duration;

use api::client::{Client, ClientError, Endpoint, Token};

use crate::cli::ServerOptions;
use crate::failure::{Exit, Failure};
use crate::folders;

/// A server that answered.
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
    Elsewhere,
}

impl Server {
    /// Finds the server that was asked for; the user's own is started when none answers, and
    /// replaced when it is older than we are.
    pub(crate) async fn reach(options: &ServerOptions) -> Result<Self, Failure> {
        if let Some(url) = options.server.as_ref().filter(|url| !url.is_empty()) {
            let endpoint = Endpoint::from_url(url, token(options)?)
                .map_err(|fault| Failure::new(Exit::Usage, format!("--server: {fault}")))?;
            return Ok(Self::elsewhere(Client::new(endpoint)));
        }
        let state = folders::state()?;
        let client = Client::new(Endpoint::Unix(folders::socket(&state)));
        launch::ensure(&client, &state).await?;
        Ok(Self { client, place: Place::Own { state } })
    }

    /// One that is not ours to start.
    pub(crate) fn elsewhere(client: Client) -> Self {
        Self { client, place: Place::Elsewhere }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// After a lost connection: waits until the server answers, and starts it if it is ours.
    pub(crate) async fn reach_again(&self) -> Result<(), Failure> {
        match &self.place {
            Place::Own { state } => launch::ensure(&self.client, state).await,
            Place::Elsewhere => {
                let mut pause = Duration::from_millis(50);
                loop {
                    match self.client.version().await {
                        Ok(_) => return Ok(()),
                        Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }) => {}
                        Err(fault) => return Err(fault.into()),
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }
}

fn token(options: &ServerOptions) -> Result<Option<Token>, Failure> {
    let text = match (&options.token_file, &options.token) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map_err(|fault| Failure::host(format!("reading {}", file.display()), fault))?,
        (None, Some(token)) => token.expose().to_owned(),
        (None, None) => return Ok(None),
    };
    let token = Token::new(&text);
    Ok(Some(token.map_err(|fault| Failure::new(Exit::Usage, fault))?))
}
