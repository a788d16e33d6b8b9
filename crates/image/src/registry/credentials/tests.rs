use std::fs;

use super::*;
use crate::reference::Remote;

fn password(user: &str, password: &str) -> Login {
    Login::Password { user: user.into(), password: Secret::new(password.into()) }
}

async fn find(config: &str, name: &str) -> Result<Option<Login>, CredentialsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, config).unwrap();
    let image: Remote = name.parse().unwrap();
    let image = Repository { registry: image.registry(), repository: image.repository() };
    let found = CredentialFiles::new(vec![path]).find(image).await;
    found.map(|found| found.map(|found| found.login))
}

#[tokio::test]
async fn logins_of_a_file() {
    // "u:p", "v:q:r", "w:x\0".
    let config = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "ghcr.io": {"auth": "djpxOnI="},
            "ghcr.io/org/app": {"auth": "dzp4AA=="},
            "localhost:5000": {"username": "a", "password": "b"},
            "https://old.example/v2/": {"auth": "dTpw"},
            "token.example": {"auth": "dTpw", "identitytoken": "t"},
            "empty.example": {}
        },
        "HttpHeaders": {"x": "y"}, "psFormat": "z"
    }"#;
    let table = [
        ("python", Some(password("u", "p"))),
        ("me/app", Some(password("u", "p"))),
        ("ghcr.io/a/b", Some(password("v", "q:r"))),
        ("ghcr.io/org/app", Some(password("w", "x"))),
        ("ghcr.io/org/app/more", Some(password("w", "x"))),
        ("ghcr.io/org/apple", Some(password("v", "q:r"))),
        ("localhost:5000/x", Some(password("a", "b"))),
        ("localhost:5001/x", None),
        ("old.example/x", Some(password("u", "p"))),
        ("token.example/x", Some(Login::Identity(Secret::new("t".into())))),
        ("empty.example/x", None),
        ("quay.io/x", None),
    ];
    for (name, login) in table {
        assert_eq!(find(config, name).await.unwrap(), login, "{name}");
    }
}

#[tokio::test]
async fn faults_say_no_secret() {
    for config in [
        r#"{"auths": {"r.example": {"auth": "!hunter2!"}}}"#,
        r#"{"auths": {"r.example": {"auth": "aHVudGVyMg=="}}}"#,
        r#"{"auths": {"r.example": {"password": ["hunter2"]}}}"#,
        r#"{"auths": {"r.example": "hunter2"}}"#,
        r#"{"credsStore": "../hunter"}"#,
        r#"{"credHelpers": {"r.example": "no-such-helper-of-ours"}}"#,
    ] {
        let fault = find(config, "r.example/x").await.unwrap_err();
        let shown = format!("{fault} {fault:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let missing = CredentialFiles::new(vec!["/no/such/file".into()]);
    assert_eq!(missing.find(Repository { registry: "r", repository: "x" }).await.unwrap(), None);
}

#[test]
fn files_by_the_environment() {
    let files = |all: &[(&str, &str)]| {
        let all: Vec<(String, String)> =
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = CredentialFiles::of_host(|name| {
            all.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        });
        found.0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(files(&[("HOME", "/h")]), ["/h/.docker/config.json"]);
    assert_eq!(
        files(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r")]),
        ["/d/config.json", "/r/containers/auth.json"]
    );
    assert_eq!(files(&[("REGISTRY_AUTH_FILE", "/a")]), ["/a"]);
    assert!(files(&[]).is_empty());
}
