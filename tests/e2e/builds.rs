//! Images built of a Dockerfile, in a sandbox, on a base of a registry on this computer.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
};

use crate::{
    hood::{Hood, Ran},
    registry::Registry,
};

/// A context with what is to stay here beside what goes in.
fn context(folder: &Path, dockerfile: &str) {
    for (name, text) in [
        ("Dockerfile", dockerfile),
        (".dockerignore", "*.log\nnode_modules\n!node_modules/kept\nDockerfile\n"),
        ("hello", "hello\n"),
        ("a.log", "secret\n"),
        ("node_modules/left/out", "secret\n"),
        ("node_modules/kept", "kept\n"),
    ] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn build(hood: &Hood, folder: &Path, options: &[&str]) -> Ran {
    let folder = folder.to_str().unwrap();
    hood.run(&[&["image", "build"], options, &[folder]].concat())
}

#[test]
fn an_image_is_built_in_a_sandbox_and_the_cache_is_kept() {
    let hood = Hood::new();
    let registry = Registry::start();
    registry.push("base", &["--config.env", "PATH=/"]);
    let port = registry.place.rsplit_once(':').unwrap().1.to_owned();
    let base = format!("host.fumehood.internal:{port}/test/base:1");
    let folder = tempfile::tempdir().unwrap();
    let list = "busybox find /app -type f | busybox sort";
    let make = "echo $GREETING $WHO > /app/made; echo built by $(busybox id -u)";
    context(
        folder.path(),
        &format!(
            "FROM {base}\nARG WHO=nobody\nENV GREETING=hi\nCOPY . /app/\n\
             RUN [\"/busybox\", \"sh\", \"-c\", \"{list}; {make}\"]\nUSER 1000:1000\nWORKDIR /app\n\
             CMD [\"/busybox\", \"sh\", \"-c\", \"busybox cat made hello; busybox id -u\"]\n"
        ),
    );
    let tag = format!("test/built-{port}:1");
    let network = ["--allow-host-port", &port, "--deny", "0.0.0.0/0"];
    let options = [&["-t", &tag, "--build-arg", "WHO=world"], &network[..]].concat();
    let first = build(&hood, folder.path(), &options);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stdout.starts_with("sha256:"), "{first:?}");
    let listed = "/app/.dockerignore\n/app/hello\n/app/node_modules/kept\nbuilt by 0\n";
    assert!(first.stderr.contains(listed), "{first:?}");
    assert_eq!(hood.ok(&["run", "--memory", "256", "--image", &tag]), "hi world\nhello\n1000");

    // What did not change is not done again, and the image is the same.
    let again = build(&hood, folder.path(), &options);
    assert_eq!((again.code, &again.stdout), (Some(0), &first.stdout), "{again:?}");
    assert!(
        again.stderr.contains("Using cache") && !again.stderr.contains("\nbuilt by 0\n"),
        "{again:?}"
    );
    let listed = hood.ok(&["drive", "ls"]);
    assert!(listed.contains("image-build"), "{listed}");

    // What is here is a base too, and needs no network.
    let above = folder.path().join("above");
    let more = "[\"/busybox\", \"sh\", \"-c\", \"echo more >> /app/made\"]";
    fs::write(&above, format!("FROM {tag} AS it\nUSER 0\nRUN {more}\nFROM it\nUSER 5\n")).unwrap();
    let second = format!("test/above-{port}:1");
    let options = ["-t", &second, "--deny-all", "-f", above.to_str().unwrap()];
    let built = build(&hood, folder.path(), &options);
    assert_eq!(built.code, Some(0), "{built:?}");
    let ran = hood.ok(&["run", "--memory", "256", "--image", &second]);
    assert_eq!(ran, "hi world\nmore\nhello\n5");
    hood.ok(&["image", "rm", &second]);

    // Nothing is taken from the cache where none is wanted; what fails says why.
    let failing = format!(
        "FROM {base}\nRUN [\"/busybox\", \"sh\", \"-c\", \"echo told; echo why >&2; exit 7\"]\n"
    );
    let file = folder.path().join("failing");
    fs::write(&file, failing).unwrap();
    let file = file.to_str().unwrap();
    let options = [&["-t", &tag, "--no-cache", "-f", file], &network[..]].concat();
    let failed = build(&hood, folder.path(), &options);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(248), ""), "{failed:?}");
    for told in ["told", "why", "buildah ended with 7"] {
        assert!(failed.stderr.contains(told), "{failed:?}");
    }
    // The base is in reach of who was given its port.
    let options = ["-t", &tag, "--no-cache", "-f", file, "--deny-all"];
    let denied = build(&hood, folder.path(), &options);
    assert_eq!(denied.code, Some(248), "{denied:?}");
    assert!(denied.stderr.contains("denied"), "{denied:?}");
    for wrong in [["-t", "Not A Name"], ["-f", "/nowhere"]] {
        let ran = build(&hood, folder.path(), &wrong);
        assert!(matches!(ran.code, Some(241 | 242)), "{ran:?}");
    }
    hood.ok(&["image", "rm", &tag]);
    hood.assert_nothing_left();
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let hood = Hood::new();
    let registry = Registry::start();
    registry.push("base", &[]);
    let port = registry.place.rsplit_once(':').unwrap().1.to_owned();
    let folder = tempfile::tempdir().unwrap();
    let base = format!("host.fumehood.internal:{port}/test/base:1");
    context(folder.path(), &format!("FROM {base}\nRUN [\"/busybox\", \"sleep\", \"1000\"]\n"));
    let place = folder.path().to_str().unwrap().to_owned();
    let arguments = ["image", "build", "-t", "never", "--allow-host-port", &port, &place];
    let mut child = hood.spawn(&arguments);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("STEP 2/2")), "the step was not reached");
    let pid = i32::try_from(child.id()).unwrap();
    crate::hood::kill(pid, rustix::process::Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    hood.assert_nothing_left();
    assert_eq!(hood.ok(&["ls", "-a", "--json"]), "[]");
    hood.ok(&["drive", "rm", "image-build"]);
}
