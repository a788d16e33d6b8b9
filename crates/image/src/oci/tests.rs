//! Images made by hand and by tools of others, from their blobs to a disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::blob::Blobs;
use super::digest::Digest;
use crate::cache::Cache;
use crate::disk::tests::Stream;
use crate::progress::silent;

mod archives;
mod converted;
mod hostile;
mod others;
mod shared;

/// A cache of its own.
struct Place {
    root: tempfile::TempDir,
    cache: Cache,
    blobs: Blobs,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(&root.path().join("cache")).unwrap();
        let blobs = Blobs::of(&cache);
        Self { root, cache, blobs }
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn convert(&self, manifest: &Digest) -> Result<crate::catalog::Image, String> {
        super::convert::convert(&self.cache, &self.blobs, manifest, None, &silent)
            .map_err(|error| causes(&error))
    }

    /// Everything below the cache but what is locked by name, as paths.
    fn left(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut todo = vec![self.path().join("cache")];
        while let Some(folder) = todo.pop() {
            for item in fs::read_dir(folder).into_iter().flatten() {
                let path = item.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else if !path.ends_with(".lock") {
                    found.push(path.strip_prefix(self.path()).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }
}

/// An error with all that it came from.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// An image of layers as they are to be stored, with what they are when decompressed.
struct Made<'a> {
    run: &'a str,
    platform: (&'a str, &'a str),
    layers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Made<'a> {
    fn plain(streams: &[&Stream]) -> Self {
        let layers = streams.iter().map(|stream| (stream.end(), stream.end())).collect();
        Self { run: "{}", platform: ("linux", "amd64"), layers }
    }

    fn run(self, run: &'a str) -> Self {
        Self { run, ..self }
    }

    /// The manifest's digest, all blobs filed.
    fn put(&self, blobs: &Blobs) -> Digest {
        let diff_ids: Vec<_> =
            self.layers.iter().map(|(_, plain)| format!("\"{}\"", Digest::of(plain))).collect();
        let (os, architecture) = self.platform;
        let config = format!(
            r#"{{"os": "{os}", "architecture": "{architecture}", "config": {},
                "rootfs": {{"type": "layers", "diff_ids": [{}]}}}}"#,
            self.run,
            diff_ids.join(",")
        );
        let descriptor = |kind: &str, bytes: &[u8]| {
            let digest = blobs.put(bytes).unwrap();
            let size = bytes.len();
            format!(r#"{{"mediaType": "{kind}", "digest": "{digest}", "size": {size}}}"#)
        };
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|(stored, _)| descriptor(super::media::LAYER_GZIP, stored))
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion": 2, "config": {}, "layers": [{}]}}"#,
            descriptor(super::media::CONFIG, config.as_bytes()),
            layers.join(",")
        );
        blobs.put(manifest.as_bytes()).unwrap()
    }
}

/// Runs a program that has to succeed, and gives what it wrote.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}
