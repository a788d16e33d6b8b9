use super::*;

fn parse(run: &str) -> Result<ImageConfig, ConfigError> {
    let text = format!(
        r#"{{"architecture": "amd64", "os": "linux", "created": "x", "config": {run},
            "rootfs": {{"type": "layers", "diff_ids": ["{}"]}}, "history": []}}"#,
        Digest::of(b"")
    );
    ImageConfig::parse(text.as_bytes())
}

fn run(text: &str) -> Run {
    parse(text).unwrap().run
}

#[test]
fn what_is_said_is_kept_and_the_rest_has_defaults() {
    let found = parse(
        r#"{"User": "app:1000", "Env": ["B=2", "PATH=/x", "A=1=1", "B="], "Entrypoint": ["/e"],
            "Cmd": ["a", ""], "WorkingDir": "/srv/./app/", "Labels": {"x": "y"}}"#,
    );
    let ImageConfig { platform, diff_ids, run } = found.unwrap();
    assert_eq!(platform.to_string(), "linux/amd64");
    assert_eq!(diff_ids, [Digest::of(b"")]);
    assert_eq!((run.user.as_str(), run.cwd.as_str()), ("app:1000", "/srv/app"));
    let env: Vec<_> = run.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["B=", "PATH=/x", "A=1=1"]);
    assert_eq!((run.entrypoint, run.cmd), (vec!["/e".to_owned()], vec!["a".into(), String::new()]));
    let nothing = self::run(r#"{"Env": null, "Cmd": null, "User": "", "Entrypoint": null}"#);
    assert_eq!(self::run("null"), nothing);
    assert_eq!((nothing.user.as_str(), nothing.cwd.as_str()), ("root", "/"));
    assert_eq!(nothing.env, [("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    assert!(!format!("{run:?}", run = self::run(r#"{"Env": ["K=secret"]}"#)).contains("secret"));
}

#[test]
fn a_working_directory_is_absolute_and_inside() {
    for (cwd, expected) in
        [("", "/"), ("a/b", "/a/b"), ("../../x", "/x"), ("/a/../..//b", "/b"), ("/", "/")]
    {
        assert_eq!(run(&format!(r#"{{"WorkingDir": "{cwd}"}}"#)).cwd, expected);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let long = "x".repeat(300_000);
    let table = [
        (r#"{"User": "a\nb"}"#.to_owned(), "user"),
        (format!(r#"{{"User": "{}"}}"#, "u".repeat(300)), "user"),
        (r#"{"Env": ["A"]}"#.to_owned(), "NAME=VALUE"),
        (r#"{"Env": ["=A"]}"#.to_owned(), "NAME=VALUE"),
        (r#"{"Env": ["A=\u0000"]}"#.to_owned(), "zero byte"),
        (r#"{"Cmd": ["\u0000"]}"#.to_owned(), "zero byte"),
        (format!(r#"{{"Entrypoint": ["{long}"]}}"#), "too long"),
        (r#"{"WorkingDir": "/\u0000"}"#.to_owned(), "path"),
        (r#"{"Cmd": "text"}"#.to_owned(), "not the config"),
        (r#"["root"]"#.to_owned(), "not the config"),
        ("[".repeat(1 << 20), "not the config"),
    ];
    for (text, part) in table {
        let said = parse(&text).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
    let other = r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "wasm"}}"#;
    assert!(ImageConfig::parse(other.as_bytes()).unwrap_err().to_string().contains("wasm"));
    assert!(ImageConfig::parse(&vec![b' '; (4 << 20) + 1]).is_err());
    // Lists of what the fields of an object are.
    let digest = Digest::of(b"");
    for text in [
        format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{}},"rootfs":["layers",["{digest}"]]}}"#
        ),
        format!(r#"["amd64","linux",null,{{}},{{"type":"layers","diff_ids":["{digest}"]}}]"#),
    ] {
        let said = ImageConfig::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains("not the config"), "{said}");
    }
}
