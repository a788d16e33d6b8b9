//! What a sandbox's disk has become, as an image: the layers of the image that it stands on, and one of
//! what is new.

use std::fs::File;

use serde_json::Value;

use super::blob::{BlobError, Blobs};
use super::config::{ConfigError, ImageConfig};
use super::convert::{self, ConvertError};
use super::layered::{self, Fields, LayeredError};
use super::manifest::{CONFIG_BYTES_MAX, LAYERS_MAX};
use super::media;
use crate::cache::Cache;
use crate::catalog::Image;
use crate::progress::{Event, Progress, Step};
use crate::volume::Own;

/// How commands run in the new image; what is not said is as in the old one.
#[derive(Clone, Default)]
pub struct Changes {
    /// Over the old ones.
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub cwd: Option<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
}

impl std::fmt::Debug for Changes {
    /// Without the environment and the arguments: they may hold secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Changes").field("user", &self.user).finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Commit<'a> {
    pub cache: &'a Cache,
    pub blobs: &'a Blobs,
    /// What the disk stands on.
    pub base: &'a Image,
    /// What machines have written on top of it, the uppermost first: as they are, nobody writing.
    pub layers: Vec<File>,
    /// What was put into the guest that is of no image.
    pub own: &'a Own,
    pub changes: &'a Changes,
    pub name: &'a str,
    /// When, in seconds since 1970.
    pub created: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the image would have a config that cannot be used")]
    Changes(#[source] ConfigError),
    #[error("the image has {LAYERS_MAX} layers already")]
    TooManyLayers,
    #[error("the config of the image that the sandbox stands on cannot be read")]
    Config(#[source] serde_json::Error),
    #[error(transparent)]
    Layered(#[from] LayeredError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// The new image, under its name.
pub fn commit(commit: Commit<'_>, progress: Progress<'_>) -> Result<Image, CommitError> {
    let Commit { cache, blobs, base, layers, own, changes, name, created } = commit;
    let of_base = layered::layered(cache, blobs, base, progress)?;
    let mut manifest = convert::manifest(blobs, &of_base)?;
    let config = blobs.read(&manifest.config.digest, CONFIG_BYTES_MAX)?;
    let mut config: Fields = serde_json::from_slice(&config).map_err(CommitError::Config)?;
    layered::change_object(&mut config, "config", |run| change(run, changes));
    // Before anything is done that takes time.
    let text = serde_json::to_vec(&config).unwrap_or_default();
    ImageConfig::parse(&text).map_err(CommitError::Changes)?;
    if manifest.layers.len() >= LAYERS_MAX {
        return Err(CommitError::TooManyLayers);
    }
    progress(Event::Began(Step::ReadDisk));
    let (before, now) = (layered::disk(base, Vec::new())?, layered::disk(base, layers)?);
    let layer = layered::write(blobs, Some((&before, own)), &now)?;
    layered::add_layer(&mut config, &layer, (&layered::rfc3339(created), "fumehood commit"));
    if layer.written.entries > 0 {
        // Each kind of manifest has kinds of layers of its own.
        let is_docker = manifest.media_type == media::DOCKER_MANIFEST;
        let kind = if is_docker { media::DOCKER_LAYER_GZIP } else { media::LAYER_GZIP };
        manifest.layers.push(layered::descriptor(&layer, kind));
    }
    let manifest = layered::put(blobs, &config, manifest)?;
    Ok(convert::convert(cache, blobs, &manifest, Some(name), progress)?)
}

fn change(config: &mut Fields, changes: &Changes) {
    let Changes { env, user, cwd, entrypoint, cmd } = changes;
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(key.to_owned(), value);
        }
    };
    set("User", user.as_deref().map(Value::from));
    set("WorkingDir", cwd.as_deref().map(Value::from));
    set("Entrypoint", entrypoint.clone().map(Value::from));
    // What was given to another entrypoint is not for this one.
    let cmd = cmd.clone().or_else(|| entrypoint.as_ref().map(|_| Vec::new()));
    set("Cmd", cmd.map(Value::from));
    let Some(items) = env_of(config) else { return };
    for (name, value) in env {
        let starts = format!("{name}=");
        items.retain(|item| item.as_str().is_none_or(|item| !item.starts_with(&starts)));
        items.push(format!("{name}={value}").into());
    }
}

fn env_of(config: &mut Fields) -> Option<&mut Vec<Value>> {
    let env = config.entry("Env").or_insert(Value::Null);
    if !env.is_array() {
        *env = Vec::<Value>::new().into();
    }
    env.as_array_mut()
}
