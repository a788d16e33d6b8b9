//! Archives in and out.

use ::tar::EntryType;

use super::*;
use crate::catalog;
use crate::oci::import::{Imported, import};
use crate::oci::save::save;

fn simple(content: &[u8]) -> Stream {
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, "a", content);
    stream
}

impl Place {
    fn import(&self, path: &Path, wanted: Option<&str>) -> Result<Imported, String> {
        import(&self.cache, &self.blobs, path, wanted, &silent).map_err(|error| causes(&error))
    }

    fn archive(&self, stream: &Stream) -> std::path::PathBuf {
        let path = self.path().join("archive.tar");
        fs::write(&path, stream.end()).unwrap();
        path
    }
}

/// As `docker save` had it: two images that share a layer, one layer behind a symbolic link.
fn docker_archive() -> Stream {
    let (one, two) = (simple(b"1").end(), simple(b"2").end());
    let config = |layers: &[&[u8]]| {
        let ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
        format!(
            r#"{{"os": "linux", "architecture": "amd64",
                "rootfs": {{"type": "layers", "diff_ids": [{}]}}}}"#,
            ids.join(",")
        )
    };
    let mut stream = Stream::default();
    let entries = r#"[{"Config": "1.json", "RepoTags": ["one:latest"], "Layers": ["x/layer.tar"]},
        {"Config": "2.json", "RepoTags": ["r.example/two:1", "two:2"],
         "Layers": ["y/layer.tar", "z/layer.tar"]}]"#;
    stream
        .add(EntryType::Regular, "x/layer.tar", &one)
        .link(EntryType::Symlink, "y/layer.tar", "../x/layer.tar")
        .add(EntryType::Regular, "z/layer.tar", &two)
        .add(EntryType::Regular, "1.json", config(&[&one]).as_bytes())
        .add(EntryType::Regular, "2.json", config(&[&one, &two]).as_bytes())
        .add(EntryType::Regular, "manifest.json", entries.as_bytes());
    stream
}

#[test]
fn of_several_images_one_is_named() {
    let place = Place::new();
    let path = place.archive(&docker_archive());
    let said = place.import(&path, None).unwrap_err();
    assert!(said.contains("name one of one:latest, r.example/two:1, two:2"), "{said}");
    let said = place.import(&path, Some("three")).unwrap_err();
    assert!(said.contains("called \"three\", but one:latest"), "{said}");
    assert!(place.left().is_empty());
    let one = place.import(&path, Some("one:latest")).unwrap();
    assert_eq!(one.names, ["one:latest"]);
    for wanted in ["r.example/two:1", "two:1", "two:2"] {
        let two = place.import(&path, Some(wanted)).unwrap();
        assert_eq!(two.names, ["r.example/two:1", "two:2"]);
        assert_ne!(two.image.digest(), one.image.digest());
    }
    assert_eq!(catalog::list(&place.cache).unwrap().len(), 2);
    assert_eq!(place.blobs.list().unwrap().len(), 6, "the layer that they share once");
}

#[test]
fn what_is_saved_is_the_same_image_again() {
    let place = Place::new();
    let manifest = Made::plain(&[&simple(b"1"), &simple(b"2"), &simple(b"1")]).put(&place.blobs);
    let image = place.convert(&manifest).unwrap();
    catalog::name(&place.cache, &image, "r.example/a:1").unwrap();
    catalog::name(&place.cache, &image, "b:2").unwrap();
    let image = catalog::open(&place.cache, "b:2").unwrap();
    let written = |blobs: &Blobs| {
        let mut out = Vec::new();
        save(&place.cache, blobs, &image, &mut out, &silent)
            .map_err(|error| causes(&error))
            .map(|()| out)
    };
    let first = written(&place.blobs).unwrap();
    assert!(first == written(&place.blobs).unwrap());
    let other = Place::new();
    let path = other.path().join("saved.tar");
    fs::write(&path, &first).unwrap();
    let again = other.import(&path, Some("a:1")).unwrap();
    assert_eq!(again.image.manifest(), Some(manifest));
    assert_eq!(again.image.digest(), image.digest());
    assert_eq!(again.names, ["b:2", "2", "r.example/a:1", "1"]);
    let layout = other.path().join("layout");
    fs::create_dir(&layout).unwrap();
    run("tar", &["-C", layout.to_str().unwrap(), "-xf", path.to_str().unwrap()]);
    let alone = other.import(&layout, None).unwrap();
    assert_eq!((alone.names, alone.image.digest()), (again.names, image.digest()));

    place.blobs.remove(&Digest::of(&simple(b"2").end())).unwrap();
    let said = written(&place.blobs).unwrap_err();
    assert!(said.contains("not all blobs of b:2 are kept"), "{said}");
    place.blobs.remove(&manifest).unwrap();
    assert!(written(&place.blobs).unwrap_err().contains("not all blobs"));
}

#[test]
fn broken_archives_are_refused_and_nothing_of_them_is_kept() {
    let place = Place::new();
    let empty = Stream::default();
    let said = |stream: &Stream| place.import(&place.archive(stream), None).unwrap_err();
    assert!(said(&empty).contains("neither an OCI layout nor"));
    let device = place.import(Path::new("/dev/null"), None).unwrap_err();
    assert!(device.contains("neither an OCI layout nor"), "{device}");
    let only = |name: &str, text: &str| {
        let mut stream = Stream::default();
        stream.add(EntryType::Regular, name, text.as_bytes());
        stream
    };
    assert!(said(&only("manifest.json", "{")).contains("manifest.json is not what"));
    assert!(said(&only("manifest.json", "[]")).contains("no image"));
    assert!(said(&only("manifest.json", r#"[{"Config": "c"}]"#)).contains("no c"));
    assert!(said(&only("index.json", "[]")).contains("index.json cannot be used"));
    let index = |platform: &str| {
        let digest = Digest::of(b"?");
        let entry = format!(r#"{{"digest": "{digest}", "size": 1{platform}}}"#);
        only("index.json", &format!(r#"{{"schemaVersion": 2, "manifests": [{entry}]}}"#))
    };
    assert!(said(&index("")).contains("no blobs/sha256/"));
    // A layer that is another one than the config says: it was filed, and has to go.
    let mut bad = Stream::default();
    let config = r#"{"rootfs": {"type": "layers",
        "diff_ids": ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#;
    let entries = r#"[{"Config": "c", "Layers": ["l"]}]"#;
    bad.add(EntryType::Regular, "c", config.as_bytes())
        .add(EntryType::Regular, "l", &simple(b"1").end())
        .add(EntryType::Regular, "manifest.json", entries.as_bytes());
    let kept = place.blobs.put(&simple(b"1").end()).unwrap();
    assert!(said(&bad).contains("config says sha256:0000"));
    assert_eq!(place.blobs.list().unwrap().len(), 1, "what was there before stays");
    place.blobs.remove(&kept).unwrap();
    said(&bad);
    assert!(place.blobs.list().unwrap().is_empty());
    let mut escaping = Stream::default();
    escaping.add(EntryType::Regular, "../x", b"");
    assert!(said(&escaping).contains("leaves the root"));
    // A folder with names that lead out of it.
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("manifest.json"), r#"[{"Config": "../archive.tar"}]"#).unwrap();
    let said = place.import(&folder, None).unwrap_err();
    assert!(said.contains("neither an OCI layout nor"), "{said}");
    run("mkfifo", &[folder.join("index.json").to_str().unwrap()]);
    assert!(place.import(&folder, None).is_err(), "it does not wait for a pipe");
    assert!(place.import(&folder.join("index.json"), None).is_err());
    assert!(place.import(Path::new("/nonexistent"), None).unwrap_err().contains("look at"));
}
