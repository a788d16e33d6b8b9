//! Images that mean harm, or are broken: an error, and nothing left behind.

use std::io::Write;

use ::tar::EntryType;

use super::*;

#[track_caller]
fn refused(made: &Made<'_>, part: &str) {
    let place = Place::new();
    let manifest = made.put(&place.blobs);
    let before = place.left();
    let said = place.convert(&manifest).unwrap_err();
    assert!(said.contains(part), "{said}");
    assert_eq!(place.left(), before);
    // Nor is a draft left, or anything beside the cache.
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    let images = place.cache.folder().join("images");
    let left = fs::read_dir(images).into_iter().flatten();
    assert!(left.flatten().all(|item| item.file_name() == ".lock"));
}

fn layer(change: impl FnOnce(&mut Stream)) -> Made<'static> {
    let mut base = Stream::default();
    base.add(EntryType::Directory, "etc", b"").link(EntryType::Symlink, "out", "/etc");
    let mut stream = Stream::default();
    change(&mut stream);
    Made::plain(&[&base, &stream])
}

#[test]
fn layers_that_would_escape() {
    for path in ["../x", "etc/../../x", "/../x", "etc/.."] {
        let made = layer(|stream| drop(stream.add(EntryType::Regular, path, b"").end()));
        refused(&made, "leaves the root");
    }
    refused(
        &layer(|stream| drop(stream.add(EntryType::Regular, "out/x", b"").end())),
        "/out is not a directory",
    );
    refused(
        &layer(|stream| drop(stream.link(EntryType::Link, "x", "../../etc/shadow").end())),
        "leaves the root",
    );
    refused(
        &layer(|stream| drop(stream.link(EntryType::Link, "x", "out/shadow").end())),
        "does not exist",
    );
    refused(
        &layer(|stream| drop(stream.add(EntryType::Regular, "etc/.wh...", b"").end())),
        "whiteout",
    );
    // An absolute path is one below the root.
    let place = Place::new();
    let made = layer(|stream| drop(stream.add(EntryType::Regular, "/etc/x", b"").end()));
    assert!(place.convert(&made.put(&place.blobs)).is_ok());
}

#[test]
fn what_is_not_what_the_config_says() {
    let plain = Stream::default().add(EntryType::Regular, "a", b"").end();
    let other = Stream::default().add(EntryType::Regular, "b", b"").end();
    let made = |stored: &[u8], plain: &[u8]| Made {
        run: "{}",
        platform: ("linux", "amd64"),
        layers: vec![(stored.to_vec(), plain.to_vec())],
    };
    refused(&made(&plain, &other), "and the image's config says");
    // What comes after the end of the archive is of the digest too.
    let longer = [plain.as_slice(), &vec![0; 3 << 20], b"x"].concat();
    refused(&made(&longer, &plain), "and the image's config says");
    let place = Place::new();
    assert!(place.convert(&made(&longer, &longer).put(&place.blobs)).is_ok());
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).unwrap();
    let gzip = encoder.finish().unwrap();
    refused(&made(&gzip[..gzip.len() - 9], &plain), "could not decompress");
    refused(&made(&[gzip.as_slice(), b"rubbish"].concat(), &plain), "could not decompress");
    refused(&made(b"BZh91AY&SY", &plain), "could not read the tar stream");
    refused(&made(b"\x28\xb5\x2f\xfdrubbish", &plain), "could not decompress");
}

#[test]
fn images_for_others_and_of_nothing() {
    let stream = Stream::default();
    let made = Made { platform: ("linux", "arm64"), ..Made::plain(&[&stream]) };
    refused(&made, "not made for linux/amd64, but for linux/arm64");
    let made = Made { platform: ("windows", "amd64"), ..Made::plain(&[&stream]) };
    refused(&made, "windows/amd64");
    refused(&Made::plain(&[&stream]).run(r#"{"Env": ["x"]}"#), "NAME=VALUE");
    let place = Place::new();
    let index = place.blobs.put(br#"{"schemaVersion": 2, "manifests": []}"#).unwrap();
    assert!(place.convert(&index).unwrap_err().contains("is an index"));
    assert!(place.convert(&Digest::of(b"?")).unwrap_err().contains("not on this machine"));
}

#[test]
fn damage_on_this_machine_is_told_from_a_bad_image() {
    let place = Place::new();
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, "a", b"x");
    let manifest = Made::plain(&[&stream]).put(&place.blobs);
    let layer = Digest::of(&stream.end());
    let path = place.path().join("cache/blobs/sha256").join(layer.hex());
    let mut bytes = fs::read(&path).unwrap();
    bytes[512] = b'y';
    fs::write(&path, &bytes).unwrap();
    let said = place.convert(&manifest).unwrap_err();
    assert!(said.contains("has other bytes than its digest says"), "{said}");
    assert!(!path.exists(), "so that it is fetched anew");
    assert!(place.convert(&manifest).unwrap_err().contains("not on this machine"));
    fs::write(&path, &bytes[1..]).unwrap();
    assert!(place.convert(&manifest).unwrap_err().contains("should have"));
}
