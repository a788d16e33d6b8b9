use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Result<Reference, ReferenceError> {
    text.replace("HEX", HEX).parse()
}

#[test]
fn our_own_have_names_that_no_registry_has() {
    for (text, expected) in
        [("default", Reference::Default), ("fumehood:builder", Reference::Builder)]
    {
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn names_of_registries_as_docker_reads_them() {
    // What is typed, what it stands for, what a registry is asked for, how people write it.
    let table = [
        ("python", "docker.io/library/python:latest", "latest", "python:latest"),
        ("python:3.13", "docker.io/library/python:3.13", "3.13", "python:3.13"),
        ("me/app", "docker.io/me/app:latest", "latest", "me/app:latest"),
        ("a/b/c", "docker.io/a/b/c:latest", "latest", "a/b/c:latest"),
        // A capital letter makes a registry, and stays where it is all that does.
        ("J/q", "J/q:latest", "latest", "J/q:latest"),
        ("Reg.example.com/q", "reg.example.com/q:latest", "latest", "reg.example.com/q:latest"),
        ("Docker.IO/python:3", "docker.io/library/python:3", "3", "python:3"),
        ("docker.io/python:3", "docker.io/library/python:3", "3", "python:3"),
        ("index.docker.io/python:3", "docker.io/library/python:3", "3", "python:3"),
        ("docker.io/me/app:v1", "docker.io/me/app:v1", "v1", "me/app:v1"),
        ("localhost/x", "localhost/x:latest", "latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "latest", "localhost:5000/x:latest"),
        ("127.0.0.1:5000/x:y", "127.0.0.1:5000/x:y", "y", "127.0.0.1:5000/x:y"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y", "y", "[::1]:5000/x:y"),
        ("[fe80::1]/x:y", "[fe80::1]/x:y", "y", "[fe80::1]/x:y"),
        ("GHCR.io/Org/app", "!", "", ""),
        ("GHCR.io/org/app", "ghcr.io/org/app:latest", "latest", "ghcr.io/org/app:latest"),
        (
            "ghcr.io/org/app@sha256:HEX",
            "ghcr.io/org/app@sha256:HEX",
            "sha256:HEX",
            "ghcr.io/org/app@sha256:HEX",
        ),
        (
            "python:3.13@sha256:HEX",
            "docker.io/library/python:3.13@sha256:HEX",
            "sha256:HEX",
            "python:3.13@sha256:HEX",
        ),
        (
            "a.b_c__d---e:T_1.-x",
            "docker.io/library/a.b_c__d---e:T_1.-x",
            "T_1.-x",
            "a.b_c__d---e:T_1.-x",
        ),
        // What Debian's code names are not.
        ("debian", "docker.io/library/debian:latest", "latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "12", "debian:12"),
        (
            "debian:trixie-slim",
            "docker.io/library/debian:trixie-slim",
            "trixie-slim",
            "debian:trixie-slim",
        ),
        (
            "docker.io/library/debian:trixie",
            "docker.io/library/debian:trixie",
            "trixie",
            "docker.io/library/debian:trixie",
        ),
        ("default:latest", "docker.io/library/default:latest", "latest", "default:latest"),
        // A name that begins like a scheme of ours.
        ("oci/app", "docker.io/oci/app:latest", "latest", "oci/app:latest"),
    ];
    for (text, whole, wanted, familiar) in table {
        let parsed = parse(text);
        if whole == "!" {
            assert!(parsed.is_err(), "{text}");
            continue;
        }
        let Ok(Reference::Registry(remote)) = parsed else { panic!("{text}: {parsed:?}") };
        assert_eq!(remote.to_string(), whole.replace("HEX", HEX), "{text}");
        assert_eq!(remote.wanted(), wanted.replace("HEX", HEX), "{text}");
        assert_eq!(remote.familiar(), familiar.replace("HEX", HEX), "{text}");
    }
}

#[test]
fn other_images() {
    let local = |form, path: &str, tag: Option<&str>| {
        Reference::Local(Local { form, path: path.into(), tag: tag.map(str::to_owned) })
    };
    let table = [
        ("default", Reference::Default),
        ("debian:trixie", Reference::Debian(Suite::Trixie)),
        ("debian:sid", Reference::Debian(Suite::Sid)),
        ("./saved.tar", local(LocalForm::Found, "./saved.tar", None)),
        ("../a:b/saved.tar", local(LocalForm::Found, "../a:b/saved.tar", None)),
        ("/tmp/x", local(LocalForm::Found, "/tmp/x", None)),
        ("oci:./layout", local(LocalForm::Layout, "./layout", None)),
        ("oci:layout:v1", local(LocalForm::Layout, "layout", Some("v1"))),
        ("oci:/a:b/layout", local(LocalForm::Layout, "/a:b/layout", None)),
        ("oci-archive:x.tar", local(LocalForm::LayoutArchive, "x.tar", None)),
        ("docker-archive:x.tar:v2", local(LocalForm::DockerArchive, "x.tar", Some("v2"))),
    ];
    for (text, expected) in table {
        assert_eq!(parse(text), Ok(expected.clone()), "{text}");
        assert_eq!(expected.to_string(), text);
    }
}

#[test]
fn paths_are_made_whole() {
    for (text, expected) in [
        ("./saved.tar", "/here/saved.tar"),
        ("oci:layout:v1", "oci:/here/layout:v1"),
        ("../a/./b", "/here/../a/b"),
        ("/tmp//x/", "/tmp/x"),
    ] {
        let Ok(Reference::Local(local)) = parse(text) else { panic!("{text}") };
        assert_eq!(local.from_folder(Path::new("/here")).to_string(), expected);
    }
}

#[test]
fn what_names_no_image() {
    let digest = |text: &str| ReferenceError::Digest(text.into());
    let name = |text: &str| ReferenceError::Name(text.into());
    let table = [
        ("", ReferenceError::Empty),
        ("oci:", ReferenceError::NoPath("oci:")),
        ("Python", ReferenceError::Uppercase("library/Python".into())),
        ("a b", name("a b")),
        ("a//b", name("a//b")),
        ("a/", name("a/")),
        ("-a", name("-a")),
        ("a..b", name("a..b")),
        ("a___b", name("a___b")),
        ("a:", ReferenceError::Tag(String::new())),
        ("a:-x", ReferenceError::Tag("-x".into())),
        ("a:b:c", name("a:b:c")),
        ("a@sha256:1", digest("sha256:1")),
        ("a@md5:HEX", digest("md5:HEX")),
        ("a@sha256:HEX@sha256:HEX", digest("sha256:HEX@sha256:HEX")),
        ("HEX", ReferenceError::BareDigest("HEX".into())),
        ("x.y:99999/a", ReferenceError::Registry("x.y:99999".into())),
        ("x.y:0/a", ReferenceError::Registry("x.y:0".into())),
        ("x.y:+5/a", ReferenceError::Registry("x.y:+5".into())),
        ("[::1/a", ReferenceError::Registry("[::1".into())),
        ("-x.y/a", ReferenceError::Registry("-x.y".into())),
        ("x.y@z/a", digest("z/a")),
        ("x.y/../a", name("x.y/../a")),
        ("http://x.y/a", ReferenceError::Registry("http:".into())),
    ];
    for (text, expected) in table {
        let found = parse(text).unwrap_err();
        let shown = format!("{found:?}").replace(HEX, "HEX");
        assert_eq!(shown, format!("{expected:?}"), "{text}");
    }
    let long = format!("x.y/{}", "a".repeat(300));
    assert_eq!(parse(&long), Err(ReferenceError::TooLong));
    assert_eq!(
        parse(&format!("a:{}", "b".repeat(129))).unwrap_err(),
        ReferenceError::Tag("b".repeat(129))
    );
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_and_what_is_parsed_stays_itself(text in "\\PC{0,60}") {
        if let Ok(parsed) = text.parse::<Reference>() {
            prop_assert_eq!(parsed.to_string().parse::<Reference>(), Ok(parsed));
        }
    }

    #[test]
    fn names_survive_being_spelt_out(text in "([a-z]{1,5}(\\.[a-z]{1,5})?(:[1-9][0-9]{0,3})?/)?[a-z0-9]{1,6}([._/-][a-z0-9]{1,6}){0,3}(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,9})?") {
        if let Ok(Reference::Registry(remote)) = text.parse::<Reference>() {
            let again = remote.to_string().parse::<Remote>();
            prop_assert_eq!(again.as_ref(), Ok(&remote));
            let short = remote.familiar().parse::<Reference>();
            prop_assert_eq!(short, Ok(Reference::Registry(remote)));
        }
    }
}
