//! Who we are to a registry: what `docker login` and `podman login` have left, and the helpers
//! that they name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::secret::Secret;
use crate::reference::DOCKER_HUB;

mod helper;

/// How Docker's files and helpers know Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
const DOCKER_HUB_HOSTS: [&str; 3] = [DOCKER_HUB, "index.docker.io", "registry-1.docker.io"];
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A name and a password, or a token that stands for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// Exchanged for the tokens that a registry takes.
    Identity(Secret),
}

/// A login and where it is from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub login: Login,
    pub origin: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has more than {FILE_BYTES_MAX} bytes")]
    TooLarge { path: PathBuf },
    // What is wrong with it is not said: it could be a part of a password.
    #[error("{path} is no configuration of Docker's form (line {line})")]
    Form { path: PathBuf, line: usize },
    #[error("{path}: the login for {registry} is no base64 of USER:PASSWORD")]
    Login { path: PathBuf, registry: String },
    #[error("{0:?} cannot be the name of a credential helper")]
    HelperName(String),
    #[error("the credential helper docker-credential-{name} could not be run")]
    HelperStart { name: String, source: io::Error },
    #[error("the credential helper docker-credential-{name} {fault}")]
    Helper { name: String, fault: &'static str },
}

/// The files that are looked at, in turn.
#[derive(Debug, Clone, Default)]
pub struct CredentialFiles(Vec<PathBuf>);

/// What a login is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repository<'a> {
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
}

/// Of Docker's and of podman's form; what else is in it is none of our business.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl CredentialFiles {
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self(files)
    }

    /// Docker's file, and podman's.
    pub fn of_host(variable: impl Fn(&str) -> Option<String>) -> Self {
        let path = |name: &str| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let below = |rest: &str| home.as_ref().map(|home| home.join(rest));
        let docker = path("DOCKER_CONFIG").or_else(|| below(".docker"));
        let podman = path("REGISTRY_AUTH_FILE")
            .or_else(|| path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")));
        let files = [docker.map(|folder| folder.join("config.json")), podman];
        Self(files.into_iter().flatten().collect())
    }

    /// For messages that say where a login belongs.
    pub(super) fn main(&self) -> String {
        let first = self.0.first();
        first.map_or_else(|| "~/.docker/config.json".to_owned(), |path| path.display().to_string())
    }

    /// Who we are to a registry; none where nobody has logged in.
    pub(super) async fn find(
        &self,
        image: Repository<'_>,
    ) -> Result<Option<Credentials>, CredentialsError> {
        for path in &self.0 {
            let Some(config) = Config::read(path)? else { continue };
            if let Some(found) = config.find(path, image).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Config {
    fn read(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let fault = |source| CredentialsError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error)),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(fault)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(CredentialsError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text, path).map(Some)
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self, CredentialsError> {
        serde_json::from_slice(text)
            .map_err(|error| CredentialsError::Form { path: path.to_owned(), line: error.line() })
    }

    /// Helpers come before what the file itself holds, as with Docker.
    async fn find(
        &self,
        path: &Path,
        image: Repository<'_>,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let registry = image.registry;
        let named = self.cred_helpers.iter().find(|(key, _)| is_of_registry(key, registry));
        let (name, key) = match named {
            Some((key, name)) => (name.as_str(), key.as_str()),
            None if registry == DOCKER_HUB => (self.creds_store.as_str(), DOCKER_HUB_KEY),
            None => (self.creds_store.as_str(), registry),
        };
        if !name.is_empty()
            && let Some(login) = helper::ask(name, key).await?
        {
            let origin = format!("docker-credential-{name}");
            return Ok(Some(Credentials { login, origin }));
        }
        let login = self.entry(image).map(|entry| entry.login(path, registry)).transpose()?;
        let origin = path.display().to_string();
        Ok(login.flatten().map(|login| Credentials { login, origin }))
    }

    /// The entry that says most about the image: podman knows logins for a part of a registry.
    fn entry(&self, image: Repository<'_>) -> Option<&Entry> {
        let Repository { registry, repository } = image;
        let fitting = self.auths.iter().filter_map(|(key, entry)| {
            if is_of_registry(key, registry) {
                return Some((0, entry));
            }
            let (host, rest) = key.split_once('/')?;
            let begins = repository.strip_prefix(rest)?;
            let is_prefix = begins.is_empty() || begins.starts_with('/');
            (is_of_registry(host, registry) && is_prefix).then_some((rest.len(), entry))
        });
        fitting.max_by_key(|(length, _)| *length).map(|(_, entry)| entry)
    }
}

/// Keys are hosts, or the addresses that old versions have written.
fn is_of_registry(key: &str, registry: &str) -> bool {
    let address = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = match address {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => key,
    };
    let host = host.to_ascii_lowercase();
    host == registry || (registry == DOCKER_HUB && DOCKER_HUB_HOSTS.contains(&host.as_str()))
}

impl Entry {
    /// Docker leaves entries without anything where a helper has the login.
    fn login(&self, path: &Path, registry: &str) -> Result<Option<Login>, CredentialsError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::Identity(Secret::new(self.identitytoken.clone()))));
        }
        if self.auth.is_empty() {
            let password = || Secret::new(self.password.clone());
            let user = Some(&self.username).filter(|user| !user.is_empty());
            return Ok(
                user.map(|user| Login::Password { user: user.clone(), password: password() })
            );
        }
        let fault =
            || CredentialsError::Login { path: path.to_owned(), registry: registry.to_owned() };
        let decoded =
            STANDARD.decode(self.auth.trim()).ok().and_then(|it| String::from_utf8(it).ok());
        let decoded = decoded.ok_or_else(fault)?;
        let (user, password) = decoded.split_once(':').ok_or_else(fault)?;
        // Some tools have filled passwords up with zero bytes.
        let password = Secret::new(password.trim_end_matches('\0').to_owned());
        Ok(Some(Login::Password { user: user.to_owned(), password }))
    }
}

#[cfg(test)]
mod tests;
