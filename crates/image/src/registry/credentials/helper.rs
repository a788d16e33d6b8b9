//! Programs that keep logins, `docker-credential-NAME`: a registry goes in, a login comes out.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::{CredentialsError, Login};
use crate::registry::secret::Secret;

/// One may ask its user for a password first.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// What helpers say of a registry that they do not know, in the words of Docker's library.
const UNKNOWN: &str = "credentials not found";
/// As a user's name: the password is an identity token.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What the helper knows of the registry.
pub(super) async fn ask(name: &str, registry: &str) -> Result<Option<Login>, CredentialsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !name.bytes().all(is_plain) {
        return Err(CredentialsError::HelperName(name.to_owned()));
    }
    let fault = |fault| CredentialsError::Helper { name: name.to_owned(), fault };
    match timeout(PATIENCE, exchange(name, registry)).await {
        Err(_elapsed) => Err(fault("gave no answer in time")),
        Ok(Err(source)) => Err(CredentialsError::HelperStart { name: name.to_owned(), source }),
        Ok(Ok(Said::Login(answer))) => {
            // Neither the answer nor what is wrong with it is shown: it holds a password.
            let answer: Result<Answer, _> = serde_json::from_slice(&answer);
            let Answer { username, secret } = answer.map_err(|_fault| fault("gave no login"))?;
            Ok((!secret.is_empty()).then(|| login(username, secret)))
        }
        Ok(Ok(Said::Unknown)) => Ok(None),
        Ok(Ok(Said::Failed)) => Err(fault("failed")),
    }
}

fn login(user: String, secret: String) -> Login {
    let secret = Secret::new(secret);
    if user == TOKEN { Login::Identity(secret) } else { Login::Password { user, password: secret } }
}

enum Said {
    Login(Vec<u8>),
    Unknown,
    Failed,
}

async fn exchange(name: &str, registry: &str) -> io::Result<Said> {
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // One that ends without reading says by its exit what is wrong.
    drop(stdin.write_all(registry.as_bytes()).await);
    drop(stdin);
    let mut answer = Vec::new();
    stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let status = child.wait().await?;
    let is_unknown = || String::from_utf8_lossy(&answer).contains(UNKNOWN);
    Ok(match status.success() {
        true => Said::Login(answer),
        false if is_unknown() => Said::Unknown,
        false => Said::Failed,
    })
}
