use super::*;

fn image() -> Remote {
    "example.com/app:1".parse().unwrap()
}

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn step(text: &str) -> Result<Step, String> {
    let text = ["a", "b", "c"].iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("@{name}"), &digest(name).to_string())
    });
    read(text.as_bytes(), &image(), Architecture::X86_64).map_err(|error| error.to_string())
}

#[test]
fn the_manifest_for_this_computer_is_chosen() {
    let entry = |name: &str, platform: &str| {
        format!(r#"{{"digest":"@{name}","size":1,"platform":{{"os":"linux",{platform}}}}}"#)
    };
    let index = |entries: &[String]| {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))
    };
    let arm = entry("a", r#""architecture":"arm64","variant":"v8""#);
    let amd = entry("b", r#""architecture":"amd64""#);
    let amd_v3 = entry("c", r#""architecture":"amd64","variant":"v3""#);
    let amd_v1 = entry("c", r#""architecture":"amd64","variant":"v1""#);
    let windows =
        r#"{"digest":"@c","platform":{"os":"windows","architecture":"amd64"}}"#.to_owned();
    let attestation =
        r#"{"digest":"@c","platform":{"os":"unknown","architecture":"unknown"}}"#.to_owned();
    let nobody = r#"{"digest":"@a","size":1}"#.to_owned();
    let wrong = |offered: &str| {
        Err(format!("example.com/app:1 is for {offered}, and this computer is linux/amd64"))
    };
    let table = [
        (vec![arm.clone(), amd.clone(), attestation.clone()], Ok("b")),
        (vec![amd_v3.clone(), amd.clone()], Ok("b")),
        (vec![arm.clone(), amd_v1], Ok("c")),
        (vec![nobody.clone()], Ok("a")),
        (vec![nobody.clone(), nobody], wrong("another platform")),
        (vec![arm.clone(), windows, attestation], wrong("linux/arm64, windows/amd64")),
        (vec![amd_v3], wrong("linux/amd64")),
        (vec![], wrong("another platform")),
    ];
    for (entries, expected) in table {
        let found = step(&index(&entries)).map(|step| match step {
            Step::Further(digest) => digest,
            Step::Here { .. } => panic!("an index is no manifest"),
        });
        assert_eq!(found, expected.map(digest), "{entries:?}");
    }
}

#[test]
fn manifests_are_bounded() {
    let layer = |size: u64| format!(r#"{{"digest":"@b","size":{size}}}"#);
    let manifest = |config: u64, layers: &[String]| {
        let layers = layers.join(",");
        format!(r#"{{"config":{{"digest":"@a","size":{config}}},"layers":[{layers}]}}"#)
    };
    let Ok(Step::Here { config, layers }) = step(&manifest(7, &[layer(5), layer(5)])) else {
        panic!("a manifest");
    };
    assert_eq!(config, Descriptor { digest: digest("a"), size: 7 });
    assert_eq!(layers, [Descriptor { digest: digest("b"), size: 5 }], "each blob once");
    let many: Vec<String> = (0..300)
        .map(|n| format!(r#"{{"digest":"{}","size":1}}"#, digest(&format!("{n}"))))
        .collect();
    for (text, fault) in [
        (manifest(5 << 20, &[]), "its configuration is too large"),
        (
            manifest(1, &[layer(u64::MAX), format!(r#"{{"digest":"@c","size":{}}}"#, u64::MAX)]),
            "larger than a disk",
        ),
        (manifest(1, &[layer(1 << 40)]), "larger than a disk"),
        (manifest(1, &many), "too many layers"),
        (manifest(1, &[r#"{"digest":"md5:1","size":1}"#.to_owned()]), "its manifest:"),
        (manifest(1, &[r#"{"digest":"@b","size":-1}"#.to_owned()]), "its manifest:"),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "Docker's first form"),
        ("{}".to_owned(), "is no image"),
        ("[]".to_owned(), "its manifest:"),
        (String::new(), "its manifest:"),
    ] {
        let error = step(&text).unwrap_err();
        assert!(error.contains(fault), "{error}");
    }
}

#[test]
fn a_configuration_says_whom_the_image_is_for() {
    for (config, ok) in [
        (r#"{"os":"linux","architecture":"amd64"}"#, true),
        ("{}", true),
        (r#"{"os":"linux","architecture":"arm64"}"#, false),
        (r#"{"os":"windows","architecture":"amd64"}"#, false),
        ("x", false),
    ] {
        let found = check_config(config.as_bytes(), &image(), Architecture::X86_64);
        assert_eq!(found.is_ok(), ok, "{config}");
    }
}
