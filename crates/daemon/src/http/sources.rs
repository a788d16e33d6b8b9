//! Sources of new sandboxes: from the API's form, checked.

use api::Source as Asked;
use axum::http::{Uri, uri::Scheme};
use egress::{address::HOST_NAME, host::Host, secret::SecretText};

use super::error::{Failure, Reply};
use crate::sandbox::{Address, Credential, Kind, Source};

const TEXT_BYTES_MAX: usize = 2048;

/// What is to be fetched into a new sandbox; nothing for a snapshot, which is a disk.
pub(super) fn parse(asked: &Asked) -> Reply<Option<Source>> {
    Ok(Some(match asked {
        Asked::Snapshot { .. } => return Ok(None),
        Asked::Tarball { url } => {
            let (url, credential) = address(url)?;
            checked(Source { url, kind: Kind::Tarball, credential })?
        }
        Asked::Git { url, depth, revision, username, password } => {
            let (url, of_url) = address(url)?;
            let credential = match (username, password) {
                (None, None) => of_url,
                (username, Some(password)) => Some(Credential {
                    username: username.clone().unwrap_or_default(),
                    password: SecretText::new(password.expose().to_owned()),
                }),
                (Some(_), None) => return fault("`source.username` needs a `source.password`"),
            };
            if *depth == Some(0) {
                return fault("`source.depth` must be at least 1");
            }
            if let Some(revision) = revision {
                short("source.revision", revision)?;
                if revision.starts_with('-') {
                    return fault("`source.revision` cannot begin with `-`");
                }
            }
            let revision = revision.clone().filter(|revision| !revision.is_empty());
            let kind = Kind::Git { revision, depth: *depth };
            checked(Source { url, kind, credential })?
        }
    }))
}

/// A credential is for one host, and not to be read on the way to it.
fn checked(source: Source) -> Reply<Source> {
    let Some(credential) = &source.credential else { return Ok(source) };
    if !source.url.text.starts_with("https://") || source.url.host.as_str() == HOST_NAME {
        return fault(
            "`source.url` must be an https URL of another host, since a password goes there",
        );
    }
    let bad = |text: &str| text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control);
    if credential.username.contains(':') || bad(&credential.username) {
        return fault("`source.username` has a colon or a control character, or is too long");
    }
    if bad(credential.password.expose()) {
        return fault("`source.password` has a control character or is too long");
    }
    Ok(source)
}

/// The address without its user, and the user.
fn address(text: &str) -> Reply<(Address, Option<Credential>)> {
    short("source.url", text)?;
    let not = || Failure::bad_request("Invalid request: `source.url` is no http or https URL");
    let url: Uri = text.parse().map_err(|_error| not())?;
    let secure = match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(_) | None => return Err(not()),
    };
    let authority = url.authority().ok_or_else(not)?;
    let (user, place) = match authority.as_str().rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority.as_str()),
    };
    let host = Host::parse(authority.host()).map_err(|error| {
        Failure::bad_request(format!("Invalid request: `source.url`: {}", crate::causes(&error)))
    })?;
    let usual = if secure { 443 } else { 80 };
    let address = Address {
        text: format!(
            "{}://{place}{}",
            if secure { "https" } else { "http" },
            url.path_and_query().map_or("/", |path| path.as_str())
        ),
        host,
        port: authority.port_u16().filter(|port| *port != usual),
        path: url.path().to_owned(),
    };
    Ok((address, user.map(of_user).transpose()?))
}

fn of_user(user: &str) -> Reply<Credential> {
    if user.contains('%') {
        return fault(
            "`source.url` has an escaped user; use `source.username` and `source.password`",
        );
    }
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let password = SecretText::new(password.to_owned());
    Ok(Credential { username: username.to_owned(), password })
}

fn short(field: &str, text: &str) -> Reply<()> {
    if TEXT_BYTES_MAX < text.len() || text.chars().any(char::is_control) {
        return fault(&format!("`{field}` has a control character or over {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn fault<T>(text: &str) -> Reply<T> {
    Err(Failure::bad_request(format!("Invalid request: {text}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(asked: Value) -> Result<Source, String> {
        let asked: Asked = serde_json::from_value(asked).unwrap();
        parse(&asked).map(Option::unwrap).map_err(|Failure(refusal)| refusal.message)
    }

    #[test]
    fn what_is_fetched_from_where() {
        let source =
            parsed(json!({"type": "git", "url": "https://u:p@git.example.com:8443/a/b.git?x=y",
            "revision": "main", "depth": 1}))
            .unwrap();
        assert_eq!(source.url.text, "https://git.example.com:8443/a/b.git?x=y");
        assert_eq!((source.url.port, source.url.path.as_str()), (Some(8443), "/a/b.git"));
        let credential = source.credential.unwrap();
        assert_eq!((credential.username.as_str(), credential.password.expose()), ("u", "p"));
        assert!(matches!(source.kind, Kind::Git { depth: Some(1), .. }));

        let plain = parsed(json!({"type": "tarball", "url": "http://example.com/a.tgz"})).unwrap();
        assert!(plain.credential.is_none() && plain.url.port.is_none());
    }

    #[test]
    fn what_is_refused() {
        let git = |more: Value| {
            let mut asked = json!({"type": "git", "url": "https://git.example.com/a"});
            asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            asked
        };
        let table = [
            (json!({"url": "git@github.com:a/b"}), "no http or https URL"),
            (json!({"url": "ssh://git.example.com/a"}), "no http or https URL"),
            (json!({"url": "file:///etc"}), "no http or https URL"),
            (json!({"url": "https://a\nb"}), "control character"),
            (json!({"url": "http://git.example.com/a", "password": "x"}), "must be an https URL"),
            (json!({"url": "https://a%40b:c@git.example.com/a"}), "escaped user"),
            (json!({"username": "u"}), "needs a `source.password`"),
            (json!({"username": "a:b", "password": "x"}), "has a colon"),
            (json!({"revision": "--upload-pack=x"}), "cannot begin with"),
            (json!({"depth": 0}), "at least 1"),
        ];
        for (more, expected) in table {
            let error = parsed(git(more.clone())).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
        }
    }
}
