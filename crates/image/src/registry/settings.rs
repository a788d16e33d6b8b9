//! What an administrator may say about registries: mirrors, which may be spoken to without a check of
//! who they are, and which are in networks of their own. In JSON, at `registries.json` of fumehood's
//! configuration folder:
//!
//! ```json
//! {
//!   "mirrors": {"docker.io": ["https://mirror.example.com"]},
//!   "insecure": ["registry.example.com:5000"],
//!   "internal": ["registry.corp.example.com"]
//! }
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::credentials::CredentialFiles;
use super::secret::Secret;
use super::url::{Scheme, Url, UrlError};

const FILE_BYTES_MAX: u64 = 1 << 20;

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub registries: Registries,
    pub credentials: CredentialFiles,
    /// Trusted beside whom the system trusts.
    pub roots: Vec<CertificateDer<'static>>,
    pub proxy: Option<Proxy>,
    pub addresses: Addresses,
    pub patience: Patience,
}

/// Where a registry may be, and whoever it leads to.
#[derive(Debug, Clone, Copy, Default)]
pub enum Addresses {
    #[default]
    Anywhere,
    /// Not at an address that this holds for, by whatever name it is reached. Hosts that the administrator
    /// names may be anywhere. What a proxy is asked for by name is for the proxy to judge.
    NotAt(fn(IpAddr) -> bool),
}

/// The HTTP proxy in front of this computer.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// `USER:PASSWORD`.
    pub credentials: Option<Secret>,
    /// Names that are reached without it, and all below them.
    pub except: Vec<String>,
}

/// How long is waited, and how often tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub connect: Duration,
    /// For a reply to begin, and for each further piece of it.
    pub reply: Duration,
    /// Before the second try; twice as long before each one after it.
    pub pause: Duration,
    /// No longer pause is kept, whatever a registry asks for.
    pub pause_max: Duration,
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            reply: Duration::from_secs(60),
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            tries: 5,
        }
    }
}

/// The file of the administrator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registries {
    /// Asked before the registry of that name, in turn.
    mirrors: BTreeMap<String, Vec<String>>,
    /// HOST[:PORT]: any certificate will do, and so will plain HTTP.
    insecure: Vec<String>,
    /// HOST[:PORT]: everybody may pull from there, though it is in a network of the host's.
    internal: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not of the form that registries are configured in")]
    Form { path: PathBuf, source: serde_json::Error },
    #[error("{path}")]
    Mirror { path: PathBuf, source: UrlError },
}

/// Where an image is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// What `/v2/` comes below.
    pub(super) root: Url,
    pub(super) security: Security,
    pub(super) role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Mirror,
    Registry,
}

/// What is asked of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS with somebody whom we trust.
    Trusted,
    /// That, or plain HTTP where no TLS is spoken: this computer itself.
    TrustedOrPlain,
    /// TLS with anybody, or plain HTTP.
    Anything,
}

impl Registries {
    /// What the file says; nothing where there is none.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let fault = |source| SettingsError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(fault(error)),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(fault)?;
        let form = |source| SettingsError::Form { path: path.to_owned(), source };
        let parsed: Self = serde_json::from_slice(&text).map_err(form)?;
        for mirror in parsed.mirrors.values().flatten() {
            let mirror_fault = |source| SettingsError::Mirror { path: path.to_owned(), source };
            Url::parse(mirror).map_err(mirror_fault)?;
        }
        Ok(parsed)
    }

    /// The mirrors of a registry, and then itself.
    pub(super) fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, UrlError> {
        let mut all = Vec::new();
        for mirror in self.mirrors.get(registry).into_iter().flatten() {
            let root = Url::parse(mirror)?;
            let security = self.security_of(&root);
            all.push(Endpoint { root, security, role: Role::Mirror });
        }
        // The name of Docker Hub is not where it is.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let root = Url::of_registry(host, Scheme::Https)?;
        let security = self.security_of(&root);
        all.push(Endpoint { root, security, role: Role::Registry });
        Ok(all)
    }

    pub(super) fn security_of(&self, url: &Url) -> Security {
        if lists(&self.insecure, url) {
            Security::Anything
        } else if url.is_loopback() {
            Security::TrustedOrPlain
        } else {
            Security::Trusted
        }
    }

    /// Whether the administrator has named the host, in whatever way.
    pub(super) fn names(&self, url: &Url) -> bool {
        let is_it = |mirror: &String| {
            Url::parse(mirror)
                .is_ok_and(|mirror| (mirror.host(), mirror.port()) == (url.host(), url.port()))
        };
        lists(&self.insecure, url)
            || lists(&self.internal, url)
            || self.mirrors.values().flatten().any(is_it)
    }
}

/// Whether a list of HOST[:PORT] has it.
fn lists(names: &[String], url: &Url) -> bool {
    let own = [url.authority(), format!("{}:{}", url.host(), url.port())];
    names.iter().any(|name| own.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

impl Proxy {
    /// Whether a host is reached through it. This computer never is.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let is_below = |name: &String| {
            host.strip_suffix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        !super::url::is_loopback(host) && !self.except.iter().any(is_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn where_an_image_is_asked_for() {
        let configured = registries(
            r#"{"mirrors": {"docker.io": ["https://m.example/hub/", "http://127.0.0.1:5000"]},
                "insecure": ["r.example:5000", "Plain.example"]}"#,
        );
        let found = |name: &str| {
            let all = configured.endpoints(name).unwrap().into_iter();
            all.map(|each| (each.root.to_string(), each.security, each.role)).collect::<Vec<_>>()
        };
        use {Role::*, Security::*};
        let own = |text: &str, security, role| (text.to_owned(), security, role);
        assert_eq!(
            found("docker.io"),
            [
                own("https://m.example/hub/", Trusted, Mirror),
                own("http://127.0.0.1:5000/", TrustedOrPlain, Mirror),
                own("https://registry-1.docker.io/", Trusted, Registry),
            ]
        );
        for (name, root, security) in [
            ("ghcr.io", "https://ghcr.io/", Trusted),
            ("r.example:5000", "https://r.example:5000/", Anything),
            ("r.example", "https://r.example/", Trusted),
            ("plain.example", "https://plain.example/", Anything),
            ("localhost:5000", "https://localhost:5000/", TrustedOrPlain),
            ("[::1]:5000", "https://[::1]:5000/", TrustedOrPlain),
            ("127.0.0.2", "https://127.0.0.2/", TrustedOrPlain),
        ] {
            assert_eq!(found(name), [own(root, security, Registry)], "{name}");
        }
    }

    #[test]
    fn faults_of_the_file_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.json");
        assert_eq!(Registries::read(&path).unwrap(), Registries::default());
        for text in ["{", r#"{"mirror": {}}"#, r#"{"mirrors": {"docker.io": ["m.example"]}}"#] {
            std::fs::write(&path, text).unwrap();
            Registries::read(&path).unwrap_err();
        }
    }

    #[test]
    fn who_is_reached_through_a_proxy() {
        let proxy = Proxy {
            host: "p".into(),
            port: 80,
            credentials: None,
            except: vec!["corp.example".into()],
        };
        for (host, expected) in [
            ("r.example", true),
            ("corp.example", false),
            ("r.corp.example", false),
            ("mycorp.example", true),
            ("127.0.0.1", false),
            ("localhost", false),
        ] {
            assert_eq!(proxy.is_for(host), expected, "{host}");
        }
    }
}
