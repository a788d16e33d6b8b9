//! Files of JSON objects, a line each, that others write while they are read.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
}

impl Lines {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where the file ends now, for [`Self::since`].
    pub(crate) fn mark(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |about| about.len())
    }

    /// The whole lines that were written after the mark.
    pub(crate) fn since(&self, mark: u64) -> Vec<Value> {
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        file.seek(SeekFrom::Start(mark)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
