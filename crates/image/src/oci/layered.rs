//! The layers of any image: those that it was made of, or one out of the disk of an image that was made
//! of packages.

use std::fs::File;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::blob::{BlobError, Blobs, Hashed};
use super::convert::{self, ConvertError};
use super::descriptor::Descriptor;
use super::digest::Digest;
use super::manifest::Manifest;
use super::media;
use super::platform::Platform;
use crate::cache::Cache;
use crate::catalog::{self, Image};
use crate::progress::{Event, Progress, Step};
use crate::volume::{
    LayerFault, Own, Stack, StackError, Volume, VolumeError, Written, write_layer,
};

/// Half the time of the usual 6, for a twentieth more bytes.
const LEVEL: Compression = Compression::new(4);

/// A config, or an object in it.
pub(super) type Fields = Map<String, Value>;

#[derive(Debug, thiserror::Error)]
pub enum LayeredError {
    #[error("not all blobs of {name} are kept; pull or import it again")]
    NotKept { name: String, source: BlobError },
    #[error("the disk of {name}")]
    Stack { name: String, source: StackError },
    #[error("the disk of {name}")]
    Volume { name: String, source: VolumeError },
    #[error(transparent)]
    Layer(#[from] LayerFault),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("the layer could not be noted")]
    Note(#[source] io::Error),
}

/// A layer that was made here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) diff_id: Digest,
    pub(super) written: Written,
}

/// The manifest of the image, with all of its blobs here. The same disk gives the same one.
pub fn layered(
    cache: &Cache,
    blobs: &Blobs,
    image: &Image,
    progress: Progress<'_>,
) -> Result<Digest, LayeredError> {
    if let Some(manifest) = image.manifest() {
        let name = || image.name().to_owned();
        return match check(blobs, &manifest) {
            Err(ConvertError::Blob(source @ BlobError::Missing { .. })) => {
                Err(LayeredError::NotKept { name: name(), source })
            }
            checked => Ok(checked.map(|()| manifest)?),
        };
    }
    if let Some(manifest) = catalog::layered(cache, image)
        && check(blobs, &manifest).is_ok()
    {
        return Ok(manifest);
    }
    progress(Event::Began(Step::ReadDisk));
    let layer = write(blobs, None, &disk(image, Vec::new())?)?;
    let created = rfc3339(image.created());
    let mut config = config_of(cache, image);
    add_layer(&mut config, &layer, (&created, &format!("fumehood: {}", image.name())));
    let manifest =
        put(blobs, &config, Manifest::new(empty(), vec![descriptor(&layer, media::LAYER_GZIP)]))?;
    catalog::set_layered(cache, image, &manifest).map_err(LayeredError::Note)?;
    Ok(manifest)
}

/// The manifest of those layers, if they were made already.
pub fn known(cache: &Cache, image: &Image) -> Option<Digest> {
    image.manifest().or_else(|| catalog::layered(cache, image))
}

fn check(blobs: &Blobs, manifest: &Digest) -> Result<(), ConvertError> {
    for blob in convert::manifest(blobs, manifest)?.blobs() {
        if blobs.size(&blob.digest)? != Some(blob.size) {
            return Err(BlobError::Missing { digest: blob.digest }.into());
        }
    }
    Ok(())
}

/// The file system on an image's disk, with what machines have written on top, the uppermost first.
pub(super) fn disk(image: &Image, layers: Vec<File>) -> Result<Volume, LayeredError> {
    let name = || image.name().to_owned();
    let fault = |source| LayeredError::Stack { name: name(), source };
    let base = File::open(image.disk()).map_err(|source| fault(source.into()))?;
    let stack = Stack::new(layers, base).map_err(fault)?;
    Volume::open(stack).map_err(|source| LayeredError::Volume { name: name(), source })
}

/// Files a compressed layer.
pub(super) fn write(
    blobs: &Blobs,
    base: Option<(&Volume, &Own)>,
    now: &Volume,
) -> Result<Layer, LayeredError> {
    let written = blobs.write(|out: &mut dyn Write| {
        let out = Hashed::<_>::new(GzEncoder::new(out, LEVEL));
        let (written, out) = write_layer(base, now, out)?;
        let Hashed { out, hash, .. } = out;
        out.finish().map_err(LayerFault::Write)?;
        Ok::<_, LayeredError>((written, hash))
    });
    let ((written, hash), digest, bytes): ((Written, Sha256), _, _) = written?;
    Ok(Layer { digest, bytes, diff_id: Digest::finish(hash), written })
}

/// Of OCI's form, for an image that has no config.
fn config_of(cache: &Cache, image: &Image) -> Fields {
    let Platform { os, architecture, .. } = Platform::of(cache.architecture());
    let run = image.config();
    let env: Vec<String> = run.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut config = Fields::new();
    for (key, value) in [
        ("os", json!(os)),
        ("architecture", json!(architecture)),
        ("config", json!({"User": run.user, "WorkingDir": run.cwd, "Env": env})),
        ("rootfs", json!({"type": "layers", "diff_ids": []})),
    ] {
        config.insert(key.to_owned(), value);
    }
    config
}

/// Says in a config that there is one more layer.
pub(super) fn add_layer(config: &mut Fields, layer: &Layer, (created, by): (&str, &str)) {
    config.insert("created".to_owned(), created.into());
    if layer.written.entries > 0 {
        change_object(config, "rootfs", |rootfs| {
            push(rootfs, "diff_ids", layer.diff_id.to_string().into());
        });
    }
    let mut step = json!({"created": created, "created_by": by});
    if layer.written.entries == 0 {
        step["empty_layer"] = true.into();
    }
    push(config, "history", step);
}

/// Changes the object of this name. Whatever else is there is none: what a config says is its maker's.
pub(super) fn change_object(of: &mut Fields, key: &str, change: impl FnOnce(&mut Fields)) {
    let place = of.entry(key).or_insert(Value::Null);
    let mut fields = if let Value::Object(fields) = place.take() { fields } else { Fields::new() };
    change(&mut fields);
    *place = fields.into();
}

/// To the list of this name, likewise.
fn push(of: &mut Fields, key: &str, item: Value) {
    let list = of.entry(key).or_insert(Value::Null);
    match list.as_array_mut() {
        Some(items) => items.push(item),
        None => *list = vec![item].into(),
    }
}

pub(super) fn descriptor(layer: &Layer, media_type: &str) -> Descriptor {
    Descriptor::new(media_type, layer.digest, layer.bytes)
}

/// In place of the config's, until that is filed.
fn empty() -> Descriptor {
    Descriptor::new(media::CONFIG, Digest::of(b""), 0)
}

/// Files a config and the manifest that it is of.
pub(super) fn put(
    blobs: &Blobs,
    config: &Fields,
    mut manifest: Manifest,
) -> Result<Digest, BlobError> {
    let config = serde_json::to_vec(config).unwrap_or_default();
    let media_type = manifest.config.media_type.clone();
    manifest.config = Descriptor::new(&media_type, blobs.put(&config)?, config.len() as u64);
    blobs.put(&manifest.to_json())
}

/// `2026-01-31T07:08:09Z`
pub(super) fn rfc3339(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Years begin in March, so that the day that not all have is the last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_added_whatever_the_config_is() {
        let [digest, diff_id] = [Digest::of(b"layer"), Digest::of(b"tar")];
        let layer = Layer { digest, bytes: 5, diff_id, written: Written { entries: 1, bytes: 3 } };
        let list = format!(r#"["layers",["{digest}"]]"#);
        for (rootfs, expected) in [
            (list.as_str(), json!({"diff_ids": [diff_id.to_string()]})),
            ("1", json!({"diff_ids": [diff_id.to_string()]})),
            (
                r#"{"type":"layers","diff_ids":["x"]}"#,
                json!({"type": "layers", "diff_ids": ["x", diff_id.to_string()]}),
            ),
            (r#"{"diff_ids":{"x":1}}"#, json!({"diff_ids": [diff_id.to_string()]})),
        ] {
            let config = format!(
                r#"{{"os":"linux","architecture":"amd64","config":{{}},"rootfs":{rootfs},"history":"x"}}"#
            );
            let mut config: Fields = serde_json::from_str(&config).unwrap();
            add_layer(&mut config, &layer, ("now", "a test"));
            assert_eq!(config["rootfs"], expected, "{rootfs}");
            assert_eq!(config["history"], json!([{"created": "now", "created_by": "a test"}]));
        }
    }

    #[test]
    fn times() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_782_864_000, "2026-07-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }
}
