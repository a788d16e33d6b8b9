//! Images that tools of others have made, and what these tools make of ours: `umoci`, `skopeo` and
//! `buildah`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::tar::EntryType;

use super::*;
use crate::catalog;
use crate::disk::tests::mounted::{Facts, Mounted, can_mount, facts, make_source};
use crate::oci::import::{Imported, import};
use crate::oci::save::save;

#[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
fn is_able(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() || !can_mount() {
        eprintln!("skipped: it needs root, loop devices and {missing:?}");
    }
    missing.is_empty() && can_mount()
}

/// What another tool has unpacked, and what is on our disk. `timeless` have the time of unpacking
/// in theirs.
#[track_caller]
fn compare(unpacked: &Path, disk: &Path, timeless: &[&str]) {
    crate::disk::tests::check(disk);
    let mounted = Mounted::new(disk);
    let (mut expected, mut found) = (facts(unpacked), facts(mounted.path()));
    for path in timeless {
        for facts in [&mut expected, &mut found] {
            facts.get_mut(Path::new(path)).unwrap().mtime = (0, 0);
        }
    }
    let paths = |facts: &BTreeMap<PathBuf, Facts>| facts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(&expected));
    let differs = |(path, expected): &(&PathBuf, &Facts)| found[*path] != **expected;
    let differences: Vec<_> = expected.iter().filter(differs).collect();
    let shown = |(path, expected): &(&PathBuf, &Facts)| {
        format!("{}\n  ours: {:?}\nothers: {expected:?}\n", path.display(), found[*path])
    };
    let shown: String = differences.iter().map(shown).collect();
    assert!(shown.is_empty(), "{shown}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image of four layers, with all that is odd: two by `umoci` from folders, two by hand.
fn make_odd(folder: &Path) -> PathBuf {
    let layout = folder.join("layout");
    let image = format!("{}:odd", layout.display());
    let bundle = folder.join("bundle");
    run("umoci", &["init", "--layout", text(&layout)]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, text(&bundle)]);
    let root = bundle.join("rootfs");
    make_source(&root);
    // It has a time that `umoci` does not bring back.
    fs::remove_file(root.join("after")).unwrap();
    for folder in ["kept", "emptied/below", "gone/below", "changes"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join("old"), folder).unwrap();
    }
    fs::write(root.join("becomes-folder"), "f").unwrap();
    fs::write(root.join("linked-later"), "shared").unwrap();
    run("umoci", &["repack", "--image", &image, "--refresh-bundle", text(&bundle)]);

    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_file(root.join("before")).unwrap();
    fs::remove_file(root.join("short-link")).unwrap();
    fs::remove_file(root.join("becomes-folder")).unwrap();
    fs::create_dir(root.join("becomes-folder")).unwrap();
    fs::remove_dir_all(root.join("changes")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("changes")).unwrap();
    fs::write(root.join("kept/new"), "n").unwrap();
    run("umoci", &["repack", "--image", &image, text(&bundle)]);

    let add = |name: &str, stream: &Stream| {
        let path = folder.join(name);
        fs::write(&path, stream.end()).unwrap();
        run("umoci", &["raw", "add-layer", "--image", &image, text(&path)]);
    };
    add("third.tar", &third_layer());
    let mut fourth = Stream::default();
    fourth
        .add(EntryType::Directory, "./kept/", b"")
        .add(EntryType::Regular, "kept/.wh.new", b"")
        .add(EntryType::Regular, "/absolute", b"a")
        .add(EntryType::Regular, ".wh.also-setuid", b"");
    add("fourth.tar", &fourth);
    // Holes, as GNU tar writes them.
    let sparse = folder.join("sparse-source");
    fs::create_dir(&sparse).unwrap();
    let file = fs::File::create(sparse.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", 5 << 20).unwrap();
    for version in ["0.0", "0.1", "1.0"] {
        let path = folder.join(version);
        let version = format!("--sparse-version={version}");
        let options =
            ["--format=pax", &version, "-S", "-C", text(&sparse), "-c", "-f", text(&path)];
        run("tar", &[&options[..], &["sparse"]].concat());
        run("umoci", &["raw", "add-layer", "--image", &image, text(&path)]);
    }
    let path = folder.join("last.tar");
    let mut last = Stream::default();
    // What `umoci` takes away leaves the folder that it was in with the time of that.
    for folder in ["emptied", "kept", "."] {
        last.add(EntryType::Directory, folder, b"");
    }
    fs::write(&path, last.end()).unwrap();
    run("umoci", &["raw", "add-layer", "--image", &image, text(&path)]);
    layout
}

fn third_layer() -> Stream {
    let mut stream = Stream::default();
    let long = "l".repeat(120);
    stream
        .add(EntryType::Directory, "emptied", b"")
        .add(EntryType::Regular, "emptied/new", b"n")
        .add(EntryType::Regular, "emptied/.wh..wh..opq", b"")
        .link(EntryType::Link, "link-to-lower", "linked-later")
        .add_with(EntryType::Regular, "odd-owner", b"o", |header| {
            header.as_mut_bytes()[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0, 0, 1]);
            header.set_mode(0o6711);
        })
        .pax(&[
            ("path", format!("{long}/{long}/{long}").as_bytes()),
            ("mtime", b"1234567890.123456789"),
            ("SCHILY.xattr.user.note", b"of a long one"),
        ])
        .add(EntryType::Directory, "in-pax", b"");
    stream
}

#[test]
fn the_disk_of_an_odd_image_is_what_umoci_unpacks() {
    if !is_able(&["umoci", "skopeo"]) {
        return;
    }
    let place = Place::new();
    let layout = make_odd(place.path());
    let unpacked = place.path().join("unpacked");
    run("umoci", &["unpack", "--image", &format!("{}:odd", layout.display()), text(&unpacked)]);
    let image = import_as(&place, &layout, "odd");
    // Folders that no layer has an entry for.
    let long = "l".repeat(120);
    let timeless = [long.as_str(), &format!("{long}/{long}")];
    compare(&unpacked.join("rootfs"), &image.disk(), &timeless);

    // The same image in other clothes is the same disk.
    let source = format!("oci:{}:odd", layout.display());
    let at = |name: &str| place.path().join(name);
    let docker = format!("docker-archive:{}:example.com/odd:odd", at("docker.tar").display());
    copy(&[&source, &docker]);
    let from_docker = import_as(&place, &at("docker.tar"), "example.com/odd:odd");
    let zstd = format!("oci-archive:{}:odd", at("zstd.tar").display());
    copy(&["--dest-compress-format", "zstd", &source, &zstd]);
    let from_zstd = import_as(&place, &at("zstd.tar"), "odd");
    for other in [&from_docker, &from_zstd] {
        assert_eq!(other.digest(), image.digest());
        assert_ne!(other.manifest(), image.manifest());
    }

    // And what we write is read by others.
    catalog::name(&place.cache, &image, "example.com/odd:odd").unwrap();
    let image = catalog::open(&place.cache, "example.com/odd:odd").unwrap();
    let mut out = fs::File::create(at("saved.tar")).unwrap();
    save(&place.cache, &place.blobs, &image, &mut out, &silent).unwrap();
    let again = format!("oci:{}:again", at("again").display());
    copy(&[&format!("oci-archive:{}:odd", at("saved.tar").display()), &again]);
    let raw = run("skopeo", &["inspect", "--raw", &again]);
    assert_eq!(Digest::of(raw.as_bytes()), image.manifest().unwrap());
    let again = format!("docker-archive:{}:example.com/odd:odd", at("saved.tar").display());
    let layers = run("skopeo", &["inspect", "--format", "{{len .Layers}}", &again]);
    assert_eq!(layers.trim(), "8");
}

fn import_as(place: &Place, path: &Path, wanted: &str) -> catalog::Image {
    let imported = import(&place.cache, &place.blobs, path, Some(wanted), &silent);
    let Imported { image, names } = imported.map_err(|error| causes(&error)).unwrap();
    assert!(names.iter().any(|name| name == wanted), "{names:?}");
    image
}

fn copy(arguments: &[&str]) {
    run("skopeo", &[&["--insecure-policy", "copy", "--quiet"], arguments].concat());
}

#[test]
fn what_buildah_builds_is_run_as_it_says() {
    if !is_able(&["buildah"]) {
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.path().join(name);
    let storage = ["root", "run"].map(|name| text(&at(name)).to_owned());
    let buildah = |arguments: &[&str]| {
        let common = ["--storage-driver", "vfs", "--root", &storage[0], "--runroot", &storage[1]];
        run("buildah", &[&common[..], arguments].concat()).trim().to_owned()
    };
    let container = buildah(&["from", "--pull-never", "scratch"]);
    for (name, content) in [
        ("passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n"),
        ("group", "web:x:34:\nmore:x:35:web\n"),
    ] {
        fs::write(at(name), content).unwrap();
        buildah(&["copy", "--chmod", "0640", &container, text(&at(name)), &format!("/etc/{name}")]);
    }
    buildah(&[
        "config",
        "--user",
        "web",
        "--workingdir",
        "/var/www/site",
        "--env",
        "B=2",
        "--env",
        "A=1",
        "--entrypoint",
        r#"["/bin/serve"]"#,
        "--cmd",
        "--now",
        &container,
    ]);
    for (format, transport) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        let path = at(transport);
        let target = format!("{transport}:{}:example.com/web:1", path.display());
        let policy = format!("--signature-policy={}", text(&at("policy.json")));
        fs::write(at("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)
            .unwrap();
        buildah(&["commit", &policy, "--quiet", "--format", format, &container, &target]);
        let imported = import(&place.cache, &place.blobs, &path, None, &silent);
        runs_as_it_says(&imported.map_err(|error| causes(&error)).unwrap().image);
    }
}

fn runs_as_it_says(image: &catalog::Image) {
    let config = image.config();
    assert_eq!((config.user.as_str(), config.cwd.as_str()), ("web", "/var/www/site"));
    let env: Vec<_> = config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let has = |start: &str| env.iter().any(|item| item.starts_with(start));
    assert!(has("B=2") && has("A=1") && has("PATH=/"), "{env:?}");
    assert_eq!(
        (&config.entrypoint[..], &config.cmd[..]),
        (&["/bin/serve".to_owned()][..], &["--now".to_owned()][..])
    );
    crate::disk::tests::check(&image.disk());
    let mounted = Mounted::new(&image.disk());
    let facts = facts(mounted.path());
    assert!(facts.contains_key(Path::new("var/www/site")));
    assert!(fs::read_to_string(mounted.path().join("etc/group")).unwrap().contains("web:x:34"));
}
