//! Secrets that clients stored with the server: sealed in memory as on disk, and opened only for the
//! gateways that need them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use egress::secret::{SecretName, SecretText};

use crate::{
    clock,
    ids::Project,
    limits,
    seal::{Label, Seal, Unopened},
    store::{Change, EgressChange, SecretRecord, Store, StoreError},
};

/// Why a secret is not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error("the value of a secret has 1 to {} bytes", limits::SECRET_BYTES_MAX)]
    Length,
    #[error("the value of a secret holds no control characters: it is to stand in a header")]
    Control,
    #[error("{} secrets are stored already; remove some", limits::SECRETS_MAX)]
    TooMany,
    #[error("the secret could not be stored")]
    Store(#[from] StoreError),
}

type Key = (Project, SecretName);

/// All secrets of one server.
#[derive(Debug)]
pub(crate) struct Secrets {
    seal: Arc<Seal>,
    store: Store,
    known: Mutex<BTreeMap<Key, SecretRecord>>,
    /// Held while one is changed, so that store and memory say the same.
    changing: tokio::sync::Mutex<()>,
}

impl Secrets {
    pub(crate) fn new(seal: Arc<Seal>, store: Store, records: Vec<SecretRecord>) -> Self {
        let keyed = records.into_iter().map(|record| (key(&record.project, &record.name), record));
        let known = Mutex::new(keyed.collect());
        Self { seal, store, known, changing: tokio::sync::Mutex::default() }
    }

    /// Those of a project, by name.
    pub(crate) fn list(&self, project: &Project) -> Vec<SecretRecord> {
        let known = self.known();
        known.values().filter(|record| record.project == *project).cloned().collect()
    }

    pub(crate) fn is_known(&self, project: &Project, name: &SecretName) -> bool {
        self.known().contains_key(&key(project, name))
    }

    /// Stores a value in place of the one before.
    pub(crate) async fn put(
        &self,
        project: &Project,
        name: &SecretName,
        value: &SecretText,
    ) -> Result<SecretRecord, PutError> {
        check(value.expose())?;
        let _one_at_a_time = self.changing.lock().await;
        let now = clock::now_ms();
        let created_at = {
            let known = self.known();
            let before = known.get(&key(project, name)).map(|record| record.created_at);
            if before.is_none() && limits::SECRETS_MAX <= known.len() {
                return Err(PutError::TooMany);
            }
            before.unwrap_or(now)
        };
        let sealed = self.seal.seal(label(&id(project, name)), value.expose().as_bytes());
        let (project, name) = (project.clone(), name.clone());
        let record = SecretRecord { project, name, sealed, created_at, updated_at: now };
        let change = EgressChange::Secret(record.clone());
        self.store.commit(vec![Change::Egress(change)]).await?;
        self.known().insert(key(&record.project, &record.name), record.clone());
        Ok(record)
    }

    /// Forgets a secret and gives what was known of it; none if there was none.
    pub(crate) async fn remove(
        &self,
        project: &Project,
        name: &SecretName,
    ) -> Result<Option<SecretRecord>, StoreError> {
        let _one_at_a_time = self.changing.lock().await;
        let key = key(project, name);
        if !self.known().contains_key(&key) {
            return Ok(None);
        }
        let (project, name) = key.clone();
        let change = EgressChange::RemoveSecret { project, name };
        self.store.commit(vec![Change::Egress(change)]).await?;
        Ok(self.known().remove(&key))
    }

    /// The value, for a gateway; none if there is no such secret.
    pub(crate) fn value(
        &self,
        project: &Project,
        name: &SecretName,
    ) -> Result<Option<SecretText>, Unopened> {
        let sealed = self.known().get(&key(project, name)).map(|record| record.sealed.clone());
        let Some(sealed) = sealed else { return Ok(None) };
        let plain = self.seal.open(label(&id(project, name)), &sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_quoting| Unopened)?;
        Ok(Some(SecretText::new(text.to_owned())))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, SecretRecord>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(project: &Project, name: &SecretName) -> Key {
    (project.clone(), name.clone())
}

/// A secret's name holds no NUL, so this names one secret only.
fn id(project: &Project, name: &SecretName) -> String {
    format!("{name}\0{project}")
}

fn label(id: &str) -> Label<'_> {
    Label { kind: "secret", id }
}

/// A value that can stand in a header, and nothing that would end it there.
fn check(value: &str) -> Result<(), PutError> {
    if value.is_empty() || limits::SECRET_BYTES_MAX < value.len() {
        return Err(PutError::Length);
    }
    if value.chars().any(char::is_control) {
        return Err(PutError::Control);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::KeySource;

    const VALUE: &str = "sk-hunter2-0123456789";

    struct World {
        folder: tempfile::TempDir,
    }

    impl World {
        fn open(&self) -> Secrets {
            let seal = Seal::load(&KeySource::File(self.folder.path().join("seal.key"))).unwrap();
            let (store, stored) = Store::open(&self.folder.path().join("store.db")).unwrap();
            Secrets::new(Arc::new(seal), store, stored.secrets)
        }
    }

    #[tokio::test]
    async fn a_secret_is_kept_sealed_and_per_project() {
        let world = World { folder: tempfile::tempdir().unwrap() };
        let name = SecretName::parse("API_KEY").unwrap();
        let (local, other) = (Project::default(), Project::parse("other").unwrap());
        let value = SecretText::new(VALUE.to_owned());
        {
            let secrets = world.open();
            let first = secrets.put(&local, &name, &value).await.unwrap();
            let again = secrets.put(&local, &name, &value).await.unwrap();
            assert_eq!(first.created_at, again.created_at);
            assert!(secrets.is_known(&local, &name) && !secrets.is_known(&other, &name));
        }
        let secrets = world.open();
        assert_eq!(secrets.value(&local, &name).unwrap(), Some(value));
        assert_eq!(secrets.value(&other, &name).unwrap(), None);
        assert_eq!(secrets.list(&local).len(), 1);
        let shown = format!("{secrets:?}{}", serde_json::to_string(&secrets.list(&local)).unwrap());
        assert!(!shown.contains(VALUE));
        for entry in std::fs::read_dir(world.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(VALUE.len()).any(|at| at == VALUE.as_bytes());
            assert!(!found, "the value is in {}", path.display());
        }
        assert!(secrets.remove(&other, &name).await.unwrap().is_none());
        assert!(secrets.remove(&local, &name).await.unwrap().is_some());
        assert_eq!(secrets.value(&local, &name).unwrap(), None);
        assert!(world.open().list(&local).is_empty());
    }

    #[test]
    fn a_value_can_stand_in_a_header() {
        let most = "x".repeat(limits::SECRET_BYTES_MAX);
        for good in ["x", "a b", "Bearer ü", &most] {
            assert!(check(good).is_ok());
        }
        let too_long = format!("{most}x");
        for bad in ["", &too_long] {
            assert!(matches!(check(bad), Err(PutError::Length)));
        }
        for bad in ["a\r\nx: y", "a\n", "\0", "a\tb", "\u{7f}", "\u{85}"] {
            assert!(matches!(check(bad), Err(PutError::Control)), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn another_key_opens_nothing() {
        let world = World { folder: tempfile::tempdir().unwrap() };
        let name = SecretName::parse("A").unwrap();
        let value = SecretText::new(VALUE.to_owned());
        let local = Project::default();
        world.open().put(&local, &name, &value).await.unwrap();
        std::fs::remove_file(world.folder.path().join("seal.key")).unwrap();
        assert_eq!(world.open().value(&local, &name), Err(Unopened));
    }
}
