//! The config blob of an image: what it is made for, which layers it has and how commands run.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::descriptor::{Object, null_is_empty};
use super::digest::Digest;
use super::manifest::CONFIG_BYTES_MAX;
use super::platform::Platform;
use crate::catalog::DEFAULT_PATH;

/// Of variables and arguments: more than fits beside a command's own cannot be used.
const WORDS_BYTES_MAX: usize = 256 << 10;
const NAME_BYTES_MAX: usize = 256;
const CWD_BYTES_MAX: usize = 4095;

/// As far as we have a use for it.
#[derive(Debug, Clone)]
pub(super) struct ImageConfig {
    pub(super) platform: Platform,
    pub(super) diff_ids: Vec<Digest>,
    pub(super) run: Run,
}

/// How commands run, checked, in the image's words.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) user: String,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: String,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
}

impl std::fmt::Debug for Run {
    /// Without the environment and the arguments.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Run").field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("it is not the config of an image")]
    Json(#[from] serde_json::Error),
    #[error("it has a root file system of the kind {found:?}")]
    RootKind { found: String },
    #[error("its {field} {fault}")]
    Field { field: &'static str, fault: &'static str },
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default, deserialize_with = "null_is_empty")]
    architecture: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    config: Object<RawRun>,
    rootfs: Object<RawRoot>,
}

#[derive(Deserialize)]
struct RawRoot {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawRun {
    #[serde(default, deserialize_with = "null_is_empty")]
    user: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    working_dir: String,
}

impl ImageConfig {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() as u64 > CONFIG_BYTES_MAX {
            return Err(ConfigError::Field { field: "text", fault: "is too long" });
        }
        let Object(raw): Object<Raw> = serde_json::from_slice(bytes)?;
        let Raw { architecture, os, variant, config: Object(config), rootfs: Object(rootfs) } = raw;
        if !matches!(rootfs.kind.as_str(), "" | "layers") {
            let found = rootfs.kind.chars().take(NAME_BYTES_MAX).collect();
            return Err(ConfigError::RootKind { found });
        }
        let platform = Platform { os, architecture, variant };
        Ok(Self { platform, diff_ids: rootfs.diff_ids, run: Run::checked(config)? })
    }
}

impl Run {
    fn checked(raw: RawRun) -> Result<Self, ConfigError> {
        let RawRun { user, env, entrypoint, cmd, working_dir } = raw;
        if user.len() > NAME_BYTES_MAX || user.chars().any(char::is_control) {
            return Err(ConfigError::Field { field: "user", fault: "is not a name or a number" });
        }
        words("environment", &env)?;
        words("entrypoint", &entrypoint)?;
        words("command", &cmd)?;
        Ok(Self {
            user: if user.is_empty() { "root".to_owned() } else { user },
            env: variables(env)?,
            cwd: absolute(&working_dir)?,
            entrypoint,
            cmd,
        })
    }
}

fn words(field: &'static str, words: &[String]) -> Result<(), ConfigError> {
    if words.iter().map(|word| word.len() + 1).sum::<usize>() > WORDS_BYTES_MAX {
        return Err(ConfigError::Field { field, fault: "is too long" });
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(ConfigError::Field { field, fault: "holds a zero byte" });
    }
    Ok(())
}

/// In their order, each name once: the last one counts, in the place of the first.
fn variables(env: Vec<String>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut places = BTreeMap::new();
    let mut found: Vec<(String, String)> = Vec::new();
    for item in env {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) if !name.is_empty() => (name.to_owned(), value.to_owned()),
            Some(_) | None => {
                let fault = "has a variable that is not NAME=VALUE";
                return Err(ConfigError::Field { field: "environment", fault });
            }
        };
        let place = *places.entry(name.clone()).or_insert(found.len());
        match found.get_mut(place) {
            Some(present) => present.1 = value,
            None => found.push((name, value)),
        }
    }
    if !places.contains_key("PATH") {
        found.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    Ok(found)
}

/// A relative one is below the root, and `..` goes no further up than that.
fn absolute(cwd: &str) -> Result<String, ConfigError> {
    if cwd.len() > CWD_BYTES_MAX || cwd.contains('\0') {
        return Err(ConfigError::Field { field: "working directory", fault: "is not a path" });
    }
    let mut names = Vec::new();
    for name in cwd.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    Ok(format!("/{}", names.join("/")))
}

#[cfg(test)]
mod tests;
