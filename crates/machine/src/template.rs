//! Templates on disk: `<dir>/<key>/{ram,state,template.json}`, complete only under their key's name.
use std::path::{Path, PathBuf};

use crate::{Key, Shape};

/// A machine frozen before first use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    key: Key,
    folder: PathBuf,
    shape: Shape,
}

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("{path} cannot be used")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a template")]
    Malformed { path: PathBuf, source: serde_json::Error },
}

impl Template {
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The folder that holds the templates.
#[derive(Clone, Debug)]
pub struct Templates {
    dir: PathBuf,
}

impl Templates {
    /// Opens (and makes) the folder and removes drafts that were left behind.
    pub fn open(dir: &Path) -> Result<Self, TemplateError> {
        Ok(Self { dir: dir.to_owned() })
    }

    pub fn find(&self, _key: &Key) -> Result<Option<Template>, TemplateError> {
        let _ = &self.dir;
        todo!()
    }

    pub fn list(&self) -> Result<Vec<Template>, TemplateError> {
        todo!()
    }

    /// Machines that run on it are not disturbed.
    pub fn remove(&self, _key: &Key) -> Result<(), TemplateError> {
        todo!()
    }

    /// A place for a template in the making.
    pub fn draft(&self, _key: &Key, _shape: Shape) -> Result<Draft, TemplateError> {
        todo!()
    }
}

/// A template in the making; dropped without being saved, it is removed.
#[derive(Debug)]
pub struct Draft {
    key: Key,
    folder: PathBuf,
    shape: Shape,
}

impl Draft {
    /// The file for the machine's memory, see [`crate::Ram::Shared`].
    #[must_use]
    pub fn ram(&self) -> PathBuf {
        self.folder.join("ram")
    }

    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }
}
