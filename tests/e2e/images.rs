//! Images of a registry on this computer, made and pushed by tools of others.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command, thread};

use crate::{
    hood::{Hood, cache},
    pool::wait_for_parked,
    registry::{self, Registry},
    templates::of_another_version,
};

/// With images and templates of its own.
pub(crate) fn hood_of_its_own(folder: &Path) -> Hood {
    let own = folder.join("x86_64");
    fs::create_dir_all(&own).unwrap();
    symlink(cache().join("x86_64/kernels"), own.join("kernels")).unwrap();
    let mut hood = Hood::new();
    hood.set("FUMEHOOD_CACHE_DIR", folder.to_str().unwrap());
    hood
}

pub(crate) const SMALL: [&str; 2] = ["--memory", "256"];

#[test]
fn an_image_without_shell_libc_or_users_is_a_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let (hood, registry) = (hood_of_its_own(folder.path()), Registry::start());
    let image = registry.push(
        "bare",
        &[
            "--config.entrypoint=/busybox",
            "--config.cmd=sh",
            "--config.cmd=-c",
            "--config.cmd=/busybox id; /busybox pwd; echo $FROM $PATH",
            "--config.env=FROM=image",
            "--config.workingdir=/made/for/it",
            "--config.user=1000:1001",
        ],
    );
    let run = |rest: &[&str]| hood.ok(&[&["run", "--image", &image], &SMALL[..], rest].concat());
    assert_eq!(
        run(&[]),
        "uid=1000 gid=1001 groups=1001\n/made/for/it\n\
         image /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    assert_eq!(run(&["--", "/busybox", "echo", "alone"]), "alone");
    assert_eq!(run(&["--entrypoint", "--", "echo", "behind"]), "behind");
    assert_eq!(run(&["-u", "0", "--", "/busybox", "id", "-u"]), "0");
    let name = hood.create(&[&["--image", &image], &SMALL[..]].concat());
    let exec =
        |words: &[&str]| hood.ok(&[&["exec", "--sudo", &name, "--", "/busybox"], words].concat());
    assert_eq!(exec(&["id", "-u"]), "0", "root needs no sudo in the image");
    assert!(exec(&["cat", "/etc/resolv.conf"]).starts_with("nameserver "));
    assert!(exec(&["cat", "/etc/hosts"]).contains("127.0.0.1 localhost"));
    assert!(exec(&["cat", "/etc/ssl/certs/ca-certificates.crt"]).contains("BEGIN CERTIFICATE"));
    let copied = hood.ok(&["exec", &name, "--", "/busybox", "sha256sum", "/busybox"]);
    let own = Command::new("sha256sum").arg("/bin/busybox").output().unwrap().stdout;
    assert_eq!(copied.split(' ').next(), String::from_utf8_lossy(&own).split(' ').next());
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

#[test]
fn two_callers_at_once_pull_once_and_an_image_goes_with_all_that_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hood, registry) = (hood_of_its_own(folder.path()), Registry::start());
    hood.set("FUMEHOOD_POOL", "1");
    let image = registry.push("app", &["--config.cmd=/busybox", "--config.cmd=true"]);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| hood.ok(&["image", "pull", &image]));
        }
    });
    // The configuration and the only layer.
    assert_eq!(registry.given("/blobs/"), 2);
    let manifests = registry.given("/manifests/");
    let name = hood.create(&[&["--image", &image], &SMALL[..]].concat());
    assert_eq!(registry.given("/manifests/"), manifests, "what is here is not asked for");
    let never = hood.run(&["run", "--pull", "never", "--image", "127.0.0.1:1/x", "--", "true"]);
    assert_eq!(never.code, Some(242), "{never:?}");

    let listed = || {
        let listed = hood.ok(&["image", "ls", "--json"]);
        serde_json::from_str::<serde_json::Value>(&listed).unwrap()
    };
    let found = listed();
    assert_eq!((&found[0]["name"], &found[0]["inUse"]), (&image.as_str().into(), &true.into()));
    assert!(found[0]["templatesBytes"].as_u64() > Some(1 << 20), "{found}");
    let kept = hood.run(&["image", "rm", &image]);
    assert_eq!(kept.code, Some(246), "{kept:?}");
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    let templates = folder.path().join("templates");
    let (old, _kept) =
        (of_another_version(&templates, hours(2)), of_another_version(&templates, hours(0)));
    hood.ok(&["image", "prune", "--keep-bytes", "0"]);
    assert_eq!(listed().as_array().unwrap().len(), 1, "a sandbox stands on it");
    assert!(!old.exists(), "nobody can ask for it");

    let saved = folder.path().join("saved.tar");
    hood.ok(&["image", "save", &image, "-o", saved.to_str().unwrap()]);
    hood.ok(&["rm", "-f", &name]);
    // What is ready for nobody yet does not keep it.
    wait_for_parked(&hood, 1);
    hood.ok(&["image", "rm", &image]);
    assert_eq!(listed().as_array().unwrap().len(), 0);
    let left = |place: &str| fs::read_dir(folder.path().join(place)).unwrap().count();
    assert_eq!((left("blobs/sha256"), left("templates")), (0, 2), "no template of its own");

    hood.ok(&["image", "import", saved.to_str().unwrap(), "me/app:2"]);
    assert_eq!(listed()[0]["name"], "me/app:2");
    let target = format!("{}/pushed/app:3", registry.place);
    let pushed = hood.ok(&["image", "push", "--json", "me/app:2", &target]);
    let pushed: serde_json::Value = serde_json::from_str(&pushed).unwrap();
    assert_eq!((&pushed["sent"], &pushed["digest"]), (&2.into(), &listed()[0]["manifest"]));
    assert_eq!(hood.ok(&["image", "pull", &target]), pushed["digest"]);
    // It has two names by now, of which others want to be told one.
    let again = folder.path().join("again.tar").display().to_string();
    hood.ok(&["image", "save", "me/app:2", "-o", &again]);
    let twin = folder.path().join("twin.tar").display().to_string();
    let (from, to) = (format!("oci-archive:{again}"), format!("docker-archive:{twin}:me/twin:1"));
    registry::run("skopeo", &["copy", "-q", &from, &to]);
    // The same disk, and another manifest.
    let imported = hood.ok(&["image", "import", &twin, "me/twin:1"]);
    let inspected = hood.ok(&["image", "inspect", "me/twin:1"]);
    assert!(inspected.contains(&imported), "{imported} {inspected}");
    hood.ok(&["image", "rm", "me/twin:1"]);
    let nowhere = hood.run(&["image", "push", "me/app:2", "./a-file"]);
    assert!(nowhere.stderr.contains("is not the name of a registry's image"), "{nowhere:?}");
    let by_name = ["run", "--pull", "never", "--image", "me/app:2"];
    assert_eq!(hood.ok(&[&by_name[..], &SMALL[..]].concat()), "");
    let by_file = ["run", "--image", saved.to_str().unwrap()];
    assert_eq!(hood.ok(&[&by_file[..], &SMALL[..]].concat()), "");
    // It takes along what the pool has made meanwhile.
    hood.stop_server();
    hood.assert_nothing_left();
}

#[test]
fn of_images_with_one_disk_a_sandbox_has_the_environment_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (hood, registry) = (hood_of_its_own(folder.path()), Registry::start());
    let own = registry.push("own", &["--config.env=FROM=own"]);
    hood.ok(&["image", "pull", &own]);
    let twin = registry.push_twin("twin", "own", &["--config.env=FROM=twin"]);
    hood.ok(&["image", "pull", &twin]);
    let digest = |image: &str| {
        let listed: serde_json::Value =
            serde_json::from_str(&hood.ok(&["image", "ls", "--json"])).unwrap();
        let found = listed.as_array().unwrap().iter().find(|one| one["name"] == image);
        found.unwrap()["digest"].clone()
    };
    assert_eq!(digest(&own), digest(&twin), "the same disk");
    for (image, expected) in [(&own, "own"), (&twin, "twin")] {
        let run = ["run", "--pull", "never", "--image", image];
        let told = ["--", "/busybox", "sh", "-c", "echo $FROM"];
        assert_eq!(hood.ok(&[&run[..], &SMALL[..], &told[..]].concat()), expected);
    }
    hood.assert_nothing_left();
}

#[test]
fn what_is_wrong_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (hood, registry) = (hood_of_its_own(folder.path()), Registry::start());
    registry.push("app", &[]);
    let place = &registry.place;
    let table = [
        (format!("{place}/test/app:2"), 242, "has no 2 of test/app"),
        (format!("{place}/test/other"), 242, "has no latest of test/other"),
        ("127.0.0.1:1/x".to_owned(), 246, "127.0.0.1:1 cannot be reached"),
        ("Not/A name".to_owned(), 246, "names no image"),
        ("./no-such-file.tar".to_owned(), 242, "no-such-file.tar"),
        ("vercel/sandbox/arch".to_owned(), 242, "an image of Vercel's own"),
    ];
    for (image, code, said) in table {
        let ran = hood.run(&["run", "--image", &image, "--", "true"]);
        assert!(ran.code == Some(code) && ran.stderr.contains(said), "{image}: {ran:?}");
    }
    // An image without a command of its own.
    let ran = hood.run(&["run", "--image", &format!("{place}/test/app:1")]);
    assert!(ran.code == Some(241) && ran.stderr.contains("no command of its own"), "{ran:?}");
    hood.assert_nothing_left();
}
