//! What images are called: names that lead to entries of the shelf, in one file beside them.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const FILE: &str = ".names.json";
const DRAFT: &str = ".names.new";
const LOCK: &str = ".names.lock";

/// Of one name; references have at most 255 characters before tag and digest.
const NAME_BYTES_MAX: usize = 512;
const NAMES_MAX: usize = 20_000;
const FILE_BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Names(BTreeMap<String, String>);

#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    #[error("{name:?} cannot be the name of an image")]
    Name { name: String },
    #[error("there are {NAMES_MAX} names of images already")]
    TooMany,
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Names {
    pub(super) fn read(folder: &Path) -> Result<Self, NamesError> {
        let path = folder.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(fault("open", &path, error)),
        };
        let mut text = Vec::new();
        let read = file.take(FILE_BYTES_MAX).read_to_end(&mut text);
        read.and_then(|_| serde_json::from_slice(&text).map_err(io::Error::from))
            .map_err(|error| fault("read", &path, error))
    }

    /// Changes what is there, one caller at a time; readers see all of a change or none.
    pub(super) fn change(
        folder: &Path,
        change: impl FnOnce(&mut Self) -> Result<(), NamesError>,
    ) -> Result<(), NamesError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(folder).map_err(|error| fault("make", folder, error))?;
        let path = folder.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| fault("open", &path, error))?;
        lock.lock().map_err(|error| fault("lock", &path, error))?;
        let mut names = Self::read(folder)?;
        change(&mut names)?;
        let path = folder.join(DRAFT);
        names.write(&path).map_err(|error| fault("write", &path, error))?;
        fs::rename(&path, folder.join(FILE)).map_err(|error| fault("rename", &path, error))?;
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| fault("write out", folder, error))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()
    }

    /// All names of an entry.
    pub(super) fn of(&self, entry: &str) -> Vec<String> {
        let names = self.0.iter().filter(|(_, other)| *other == entry);
        names.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn set(&mut self, name: &str, entry: String) -> Result<(), NamesError> {
        let is_bad = name.is_empty() || name.chars().any(char::is_control);
        if is_bad || name.len() > NAME_BYTES_MAX {
            let shown = name.chars().take(NAME_BYTES_MAX).collect();
            return Err(NamesError::Name { name: shown });
        }
        if self.0.len() >= NAMES_MAX && !self.0.contains_key(name) {
            return Err(NamesError::TooMany);
        }
        self.0.insert(name.to_owned(), entry);
        Ok(())
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn forget_all(&mut self, entry: &str) {
        self.0.retain(|_, other| other != entry);
    }
}

fn fault(action: &'static str, path: &Path, source: io::Error) -> NamesError {
    NamesError::Io { action, path: path.to_owned(), source }
}
