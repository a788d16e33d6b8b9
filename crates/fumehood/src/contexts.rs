//! Servers by name: what `fumehood context` keeps, in one file that only its owner can read.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::SecretValue;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::folders;

/// The name of the user's own server.
pub(crate) const LOCAL: &str = "local";
const NAME_MAX: usize = 64;

/// A server, and what to use it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<SecretValue>,
}

/// All contexts of a user.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contexts {
    /// The one in use; none for the user's own server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Remembered>,
}

impl Contexts {
    pub(crate) fn load() -> Result<Self, Failure> {
        Self::read(&path()?)
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(fault) => {
                return Err(Failure::host(format!("reading {}", path.display()), fault));
            }
        };
        // What is wrong with it could quote a token.
        serde_json::from_slice(&text).map_err(|_quoting| {
            let text = format!("{} is not as `fumehood context` writes it", path.display());
            Failure::new(Exit::Usage, text)
        })
    }

    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = path()?;
        let failed = |fault| Failure::host(format!("writing {}", path.display()), fault);
        self.write(&path).map_err(failed)
    }

    /// Whole or not at all, and never to be read by others.
    fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(path);
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        match fs::remove_file(&draft) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }

    /// The context of this name; none for the user's own server.
    pub(crate) fn named(&self, name: &str) -> Result<Option<&Remembered>, Failure> {
        if name == LOCAL {
            return Ok(None);
        }
        let found = self
            .contexts
            .get(name)
            .ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no context {name:?}")));
        found.map(Some)
    }

    /// The one that is used when nothing says otherwise.
    pub(crate) fn in_use(&self) -> Result<Option<&Remembered>, Failure> {
        self.current.as_deref().map_or(Ok(None), |name| self.named(name))
    }
}

/// Whether a context can be called this.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let fits = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match fits && name != LOCAL {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Usage,
            format!(
                "a context's name is 1 to {NAME_MAX} letters, digits, - or _, and not {LOCAL:?}"
            ),
        )),
    }
}

fn path() -> Result<PathBuf, Failure> {
    Ok(folders::config()?.join("contexts.json"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn contexts_are_kept_and_shown_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/contexts.json");
        assert_eq!(Contexts::read(&path).unwrap(), Contexts::default());
        let lab = Remembered {
            server: "https://lab.example.com".into(),
            project: Some("web".into()),
            ca_file: None,
            token: Some(SecretValue::new("sk-hunter2".into())),
        };
        let contexts = Contexts {
            current: Some("lab".into()),
            contexts: BTreeMap::from([("lab".to_owned(), lab.clone())]),
        };
        contexts.write(&path).unwrap();
        contexts.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Contexts::read(&path).unwrap();
        assert_eq!(again, contexts);
        assert_eq!(again.in_use().unwrap(), Some(&lab));
        assert_eq!(again.named(LOCAL).unwrap(), None);
        assert!(again.named("other").is_err());
        assert!(!format!("{again:?}").contains("hunter2"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

        fs::write(&path, r#"{"contexts":{"lab":{"token":"sk-hunter2"}}}"#).unwrap();
        let fault = Contexts::read(&path).unwrap_err();
        assert!(!fault.message().unwrap_or_default().contains("hunter2"));
    }

    #[test]
    fn names_are_held_to_their_grammar() {
        for good in ["lab", "A-b_9", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "local", "a b", "a/b", "..", "ä", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
