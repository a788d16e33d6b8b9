//! A sandbox's disk as an image, in the hands of others.

use std::{collections::BTreeMap, path::Path, process::Command};

use crate::{
    images::{SMALL, hood_of_its_own},
    registry::{Registry, run},
};

/// All that can be done to a file, by a busybox that is the image's only program.
const CHANGES: &str = "set -e; cd /; B=/busybox; \
    $B mkdir -p /data/deep/er /gone2; echo hello > /data/hello; $B ln /data/hello /data/deep/again; \
    $B ln -s ../hello /data/deep/link; $B cp /busybox /data/copy; $B chmod 6755 /data/copy; \
    $B chown 1000:70000 /data/copy; $B mknod /data/null c 1 3; $B mkfifo /data/pipe; \
    $B dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=9000000 2>/dev/null; \
    $B rm -r /base/gone; echo more >> /base/grows; $B touch -d '2001-02-03 04:05:06' /data/hello; \
    for i in $($B seq 40); do echo $i > /data/deep/er/some-longer-name-$i; done";

/// One line for each entry: mode, owner, links, kind, time, device, and of files size and content.
const LIST: &str = "cd $1; $B find . -xdev | while read -r f; do \
    s=$($B stat -c '%f %u:%g %Y %t:%T' \"$f\"); \
    if [ -L \"$f\" ]; then s=\"$s $($B readlink \"$f\")\"; \
    elif [ -f \"$f\" ]; then s=\"$s $($B stat -c '%h %s' \"$f\") $($B md5sum < \"$f\")\"; fi; \
    echo \"$f $s\"; done";

/// What the agent makes or mounts, whatever the image has.
fn is_of_the_claim(path: &str) -> bool {
    let below = ["./proc", "./sys", "./dev", "./run", "./lib", "./usr", "./etc", "./lost+found"];
    path == "." || below.iter().any(|place| path.starts_with(place))
}

fn entries(listing: &str) -> BTreeMap<String, String> {
    let lines = listing.lines().filter_map(|line| line.split_once(' '));
    let of_image = lines.filter(|(path, _)| !is_of_the_claim(path));
    of_image.map(|(path, facts)| (path.to_owned(), facts.to_owned())).collect()
}

#[test]
fn what_a_sandbox_has_become_is_an_image_that_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let (hood, registry) = (hood_of_its_own(folder.path()), Registry::start());
    let image = registry.push_with("app", &["--config.env=FROM=image"], |root| {
        std::fs::create_dir_all(root.join("base")).unwrap();
        for name in ["gone", "grows", "stays"] {
            let file = root.join("base").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, name).unwrap();
        }
    });
    let name = hood.create(&[&["--image", &image], &SMALL[..]].concat());
    let sh = |script: &str| {
        hood.ok(&["exec", "--sudo", &name, "--", "/busybox", "sh", "-c", script, "sh", "/"])
    };
    sh(CHANGES);
    let expected = entries(&sh(&format!("B=/busybox; {LIST}")));
    assert!(expected.len() > 50, "{expected:?}");

    let options = ["--env", "MADE=here", "--workdir", "/data", "--user", "1000:1000"];
    let command = ["--cmd", r#"["/busybox","sh","-c","/busybox cat hello; echo $FROM $MADE"]"#];
    hood.ok(&[&["commit", &name, "me/made:1"], &options[..], &command].concat());
    sh("echo 'it goes on' > /data/after && /busybox sync");
    let ran = hood.ok(&[&["run", "--pull", "never", "--image", "me/made:1"], &SMALL[..]].concat());
    assert_eq!(ran, "hello\nimage here");
    let by_us =
        [&["run", "--pull", "never", "--image", "me/made:1", "-u", "0"], &SMALL[..]].concat();
    let script = format!("B=/busybox; {LIST}");
    let found =
        hood.ok(&[&by_us[..], &["--", "/busybox", "sh", "-c", &script, "sh", "/"]].concat());
    assert_eq!(entries(&found), expected);

    // Beside the base that it came from, whose layer stays as it is.
    let target = format!("{}/test/app:2", registry.place);
    let pushed = hood.ok(&["image", "push", "--json", "me/made:1", &target]);
    let pushed: serde_json::Value = serde_json::from_str(&pushed).unwrap();
    assert_eq!((&pushed["present"], &pushed["sent"]), (&1.into(), &2.into()), "{pushed}");
    let layout = format!("{}:it", folder.path().join("pulled").display());
    let (from, to) = (format!("docker://{target}"), format!("oci:{layout}"));
    run("skopeo", &["copy", "-q", "--src-tls-verify=false", &from, &to]);
    let bundle = folder.path().join("bundle");
    run("umoci", &["unpack", "--image", &layout, bundle.to_str().unwrap()]);
    let root = bundle.join("rootfs");
    let script = format!("B=/bin/busybox; {LIST}");
    let listed = Command::new("/bin/busybox").args(["sh", "-c", &script, "sh"]).arg(&root).output();
    assert_eq!(entries(&String::from_utf8(listed.unwrap().stdout).unwrap()), expected);
    // Nothing of who the machine was.
    let left = |path: &str| root.join(path).exists();
    let own = ["etc/machine-id", "etc/hosts", "etc/resolv.conf", "etc/ssl", "usr", "lib", "proc"];
    assert_eq!(own.map(left), [false; 7]);
    for entry in walk(&root) {
        let content = std::fs::read(&entry).unwrap_or_default();
        let text = b"BEGIN CERTIFICATE";
        assert!(!content.windows(text.len()).any(|part| part == text), "{}", entry.display());
    }

    let fault = |words: &[&str], expected: &str| {
        let ran = hood.run(words);
        assert!(ran.code != Some(0) && ran.stderr.contains(expected), "{words:?}: {ran:?}");
    };
    fault(&["commit", &name, "default"], "a name that no registry could have");
    fault(&["commit", &name, "me/x", "--user", "a\nb"], "is not a name or a number");
    fault(&["commit", "nobody", "me/x"], "nobody");
    hood.ok(&["stop", &name]);
    fault(&["commit", &name, "me/x"], "no longer available");
    hood.ok(&["rm", "-f", &name]);
    hood.assert_nothing_left();
}

fn walk(root: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => todo.push(entry.path()),
                // The only program has certificates of no one in it.
                kind if kind.is_file() && entry.metadata().unwrap().len() < 500_000 => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found
}
