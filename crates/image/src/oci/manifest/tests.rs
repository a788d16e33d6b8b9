use super::*;
use crate::oci::digest::Digest;

const LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn descriptor(media_type: &str, size: &str) -> String {
    let digest = Digest::of(media_type.as_bytes());
    format!(r#"{{"mediaType": "{media_type}", "digest": "{digest}", "size": {size}, "x": [1]}}"#)
}

fn manifest(media_type: &str, config: &str, layers: &[String]) -> String {
    let (config, layers) = (descriptor(config, "7"), layers.join(","));
    format!(
        r#"{{"schemaVersion": 2, "mediaType": "{media_type}", "config": {config},
            "layers": [{layers}], "annotations": {{"a": "b"}}}}"#
    )
}

#[track_caller]
fn refused(text: &str, media_type: Option<&str>, part_of_message: &str) {
    let error = Document::parse(text.as_bytes(), media_type).unwrap_err().to_string();
    assert!(error.contains(part_of_message), "{error}");
}

#[test]
fn both_families_are_read() {
    let layers = [descriptor(LAYER_GZIP, "5"), descriptor(media::LAYER_ZSTD, "6")];
    for (media_type, said) in [
        (media::MANIFEST, None),
        (media::DOCKER_MANIFEST, Some(media::DOCKER_MANIFEST)),
        ("", Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8")),
        ("", None),
    ] {
        let text = manifest(media_type, media::CONFIG, &layers);
        let Document::Manifest(found) = Document::parse(text.as_bytes(), said).unwrap() else {
            panic!("not a manifest");
        };
        let sizes: Vec<_> = found.blobs().map(|blob| blob.size).collect();
        assert_eq!(sizes, [7, 5, 6]);
        let own = if media_type.is_empty() { media::MANIFEST } else { media_type };
        assert_eq!(found.media_type, own);
        let again = Document::parse(&found.to_json(), Some(own)).unwrap();
        assert_eq!(again, Document::Manifest(found));
    }
    let entry = descriptor(media::MANIFEST, "9").replace(
        r#""x": [1]"#,
        r#""platform": {"os": "linux", "architecture": "arm", "variant": "v7"}, "annotations": null"#,
    );
    for media_type in ["", media::INDEX, media::DOCKER_INDEX] {
        let text = format!(
            r#"{{"schemaVersion": 2, "mediaType": "{media_type}", "manifests": [{entry}]}}"#
        );
        let Document::Index(found) = Document::parse(text.as_bytes(), None).unwrap() else {
            panic!("not an index");
        };
        let platform = found.manifests[0].platform.as_ref().unwrap();
        assert_eq!(platform.to_string(), "linux/arm/v7");
        assert_eq!(Document::parse(&found.to_json(), None).unwrap(), Document::Index(found));
    }
}

#[test]
fn what_is_no_image_says_what_it_is() {
    let layers = [descriptor(LAYER_GZIP, "5")];
    let good = manifest(media::MANIFEST, media::CONFIG, &layers);
    refused("", None, "not a manifest");
    refused("[]", None, "not a manifest");
    refused(r#"{"schemaVersion": 1, "fsLayers": [], "signatures": []}"#, None, "schema 1");
    refused(&good, Some(media::INDEX), "another kind");
    refused(&good, Some("text/html"), "text/html");
    refused(&good.replace("schemaVersion", "manifests\": [], \"schemaVersion"), None, "both");
    let helm = "application/vnd.cncf.helm.config.v1+json";
    refused(&manifest(media::MANIFEST, helm, &layers), None, "helm");
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    let layers = [descriptor(encrypted, "5")];
    refused(&manifest(media::MANIFEST, media::CONFIG, &layers), None, "encrypted");
    refused(&format!(r#"{{"schemaVersion": 2, "mediaType": "{}"}}"#, media::INDEX), None, "fields");
    let layers = [descriptor(LAYER_GZIP, "-5")];
    refused(&manifest(media::MANIFEST, media::CONFIG, &layers), None, "not a manifest");
    let sha512 = good.replace("sha256:", "sha512:");
    refused(&sha512, None, "not a manifest");
    let cause = Document::parse(sha512.as_bytes(), None).unwrap_err();
    let cause = std::error::Error::source(&cause).unwrap().to_string();
    assert!(cause.contains("not a SHA-256"), "{cause}");
}

#[test]
fn sizes_and_counts_are_bounded() {
    let layers = vec![descriptor(LAYER_GZIP, "5"); LAYERS_MAX + 1];
    refused(&manifest(media::MANIFEST, media::CONFIG, &layers), None, "more layers");
    let huge = descriptor(LAYER_GZIP, "18446744073709551615");
    refused(&manifest(media::MANIFEST, media::CONFIG, &[huge.clone(), huge]), None, "more bytes");
    let text = manifest(media::MANIFEST, media::CONFIG, &[]);
    let large = text.replace("\"size\": 7", "\"size\": 70000000");
    refused(&large, None, "config");
    let padded = format!("{text}{}", " ".repeat(4 << 20));
    refused(&padded, None, "more bytes");
    let entries = vec![descriptor(media::MANIFEST, "5"); INDEX_ENTRIES_MAX + 1].join(",");
    refused(&format!(r#"{{"schemaVersion": 2, "manifests": [{entries}]}}"#), None, "more images");
    refused(&"[".repeat(1 << 20), None, "not a manifest");
}
