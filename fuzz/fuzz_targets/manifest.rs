//! Manifests, indexes and configs: a document of a kind that reads the same again, or an error; then
//! an image or an error, and nothing left of one that failed.

#![no_main]

use std::sync::OnceLock;

use arbitrary::Arbitrary;
use image::architecture::Architecture;
use image::cache::Cache;
use image::oci::blob::Blobs;
use image::oci::convert::convert;
use image::oci::digest::Digest;
use image::oci::manifest::{Document, LAYER_BYTES_MAX, LAYERS_MAX};
use image::oci::{media, platform};
use image::progress::silent;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    /// As the document, byte for byte.
    raw: Option<Vec<u8>>,
    fields: Vec<Field>,
    config: Vec<Word>,
    said: Option<Kind>,
}

#[derive(Arbitrary, Debug)]
enum Field {
    Version(u8),
    Kind(Kind),
    Config(Blob),
    Layers(Vec<Blob>),
    Manifests(Vec<(Blob, Option<[Word; 3]>)>),
    Other(Word, Word),
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Manifest,
    Index,
    DockerManifest,
    DockerIndex,
    Config,
    Layer,
    Any(String),
}

#[derive(Arbitrary, Debug)]
struct Blob {
    kind: Kind,
    digest: Named,
    size: i64,
}

#[derive(Arbitrary, Debug)]
enum Named {
    Config,
    Layer,
    Any(String),
}

/// Text of JSON that meets what is looked for.
#[derive(Arbitrary, Debug)]
enum Word {
    Known(u8),
    Text(String),
    Raw(String),
}

impl Kind {
    fn text(&self) -> &str {
        match self {
            Self::Manifest => media::MANIFEST,
            Self::Index => media::INDEX,
            Self::DockerManifest => media::DOCKER_MANIFEST,
            Self::DockerIndex => media::DOCKER_INDEX,
            Self::Config => "application/vnd.oci.image.config.v1+json",
            Self::Layer => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Any(text) => text,
        }
    }
}

impl Word {
    fn json(&self) -> String {
        const KNOWN: [&str; 24] = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "\"linux\"",
            "\"amd64\"",
            "\"os\"",
            "\"architecture\"",
            "\"variant\"",
            "\"config\"",
            "\"rootfs\"",
            "\"type\"",
            "\"layers\"",
            "\"diff_ids\"",
            "\"User\"",
            "\"Env\"",
            "\"A=1\"",
            "\"Entrypoint\"",
            "\"Cmd\"",
            "\"WorkingDir\"",
            "\"/../a\"",
        ];
        match self {
            Self::Known(n) => KNOWN[usize::from(*n) % KNOWN.len()].to_owned(),
            Self::Text(text) => quoted(text),
            Self::Raw(text) => text.clone(),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("any text can be written")
}

impl Blob {
    fn json(&self, config: &[u8], more: &str) -> String {
        let (digest, size) = match &self.digest {
            Named::Config => (Digest::of(config).to_string(), config.len().to_string()),
            Named::Layer => (Digest::of(b"").to_string(), "0".to_owned()),
            Named::Any(text) => (text.clone(), self.size.to_string()),
        };
        let (kind, digest) = (quoted(self.kind.text()), quoted(&digest));
        format!(r#"{{"mediaType": {kind}, "digest": {digest}, "size": {size}{more}}}"#)
    }
}

impl Field {
    fn json(&self, config: &[u8]) -> String {
        let list = |items: Vec<String>| format!("[{}]", items.join(","));
        match self {
            Self::Version(n) => format!("\"schemaVersion\": {}", n % 4),
            Self::Kind(kind) => format!("\"mediaType\": {}", quoted(kind.text())),
            Self::Config(blob) => format!("\"config\": {}", blob.json(config, "")),
            Self::Layers(blobs) => {
                let blobs = blobs.iter().map(|blob| blob.json(config, "")).collect();
                format!("\"layers\": {}", list(blobs))
            }
            Self::Manifests(blobs) => {
                let entry = |(blob, platform): &(Blob, Option<[Word; 3]>)| {
                    let platform = platform.as_ref().map(|words| {
                        let [os, architecture, variant] = words.each_ref().map(Word::json);
                        format!(
                            r#", "platform": {{"os": {os}, "architecture": {architecture},
                                "variant": {variant}}}"#
                        )
                    });
                    blob.json(config, &platform.unwrap_or_default())
                };
                format!("\"manifests\": {}", list(blobs.iter().map(entry).collect()))
            }
            Self::Other(key, value) => format!("{}: {}", key.json(), value.json()),
        }
    }
}

fn place() -> &'static (tempfile::TempDir, Cache, Blobs) {
    static PLACE: OnceLock<(tempfile::TempDir, Cache, Blobs)> = OnceLock::new();
    PLACE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path()).expect("a cache");
        let blobs = Blobs::of(&cache);
        blobs.put(b"").expect("an empty layer");
        (folder, cache, blobs)
    })
}

fuzz_target!(|input: Input| {
    let config: String = input.config.iter().map(Word::json).collect();
    let text = input.raw.unwrap_or_else(|| {
        let fields: Vec<_> =
            input.fields.iter().map(|field| field.json(config.as_bytes())).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    let said = input.said.as_ref().map(Kind::text);
    let manifest = match Document::parse(&text, said) {
        Err(error) => {
            assert!(error.to_string().len() < 2000, "an error is no longer than a person reads");
            return;
        }
        Ok(Document::Index(index)) => {
            if let Ok(chosen) = platform::choose(&index, Architecture::X86_64) {
                assert!(index.manifests.contains(chosen));
            }
            return;
        }
        Ok(Document::Manifest(manifest)) => manifest,
    };
    assert!(manifest.layers.len() <= LAYERS_MAX);
    assert!(manifest.layers.iter().map(|layer| layer.size).sum::<u64>() <= LAYER_BYTES_MAX);
    let (folder, cache, blobs) = place();
    let files = [config.as_bytes(), &text].map(|bytes| blobs.put(bytes).expect("a blob"));
    if let Ok(image) = convert(cache, blobs, &files[1], None, &silent) {
        let config = image.config();
        assert!(config.cwd.starts_with('/') && !config.cwd.contains('\0'));
        assert!(config.env.iter().any(|(name, _)| name == "PATH"));
        image::catalog::remove(cache, &image, &silent).expect("it is there");
    }
    let images = folder.path().join("x86_64/images");
    for item in std::fs::read_dir(images).into_iter().flatten().flatten() {
        let name = item.file_name();
        assert!(
            name.as_encoded_bytes().starts_with(b".lock")
                || name == ".names.json"
                || name == ".names.lock"
        );
    }
    let empty = Digest::of(b"");
    files.iter().filter(|digest| **digest != empty).for_each(|digest| {
        blobs.remove(digest).expect("it is ours");
    });
});
