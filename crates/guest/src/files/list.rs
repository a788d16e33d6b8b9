//! A folder's entries, a page at a time.

use std::{collections::BTreeMap, fs, path::Path};

use protocol::{Entry, Refusal};

use super::paths;
use crate::refusal::refuse_io;

/// A page of names of the greatest length stays well below the longest message.
const PAGE_MAX: u16 = 1000;

/// The first `limit` entries after the name `after`. However large the folder is, only one page of
/// it is held.
pub(super) fn list(path: &Path, after: Option<&str>, limit: u16) -> Result<Vec<Entry>, Refusal> {
    let refused = |error: &std::io::Error| refuse_io(error, &path.display().to_string());
    let limit = usize::from(limit.clamp(1, PAGE_MAX));
    let mut page = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(|error| refused(&error))? {
        let entry = entry.map_err(|error| refused(&error))?;
        // Ordered by the name as it is told, or a page could come twice.
        let name = entry.file_name().to_string_lossy().into_owned();
        if after.is_some_and(|after| name.as_str() <= after) {
            continue;
        }
        page.insert(name, entry.file_name());
        if page.len() > limit {
            page.pop_last();
        }
    }
    let entries = page.into_iter().filter_map(|(name, file)| {
        // One that is gone meanwhile is none.
        let metadata = fs::symlink_metadata(path.join(file)).ok()?;
        Some(Entry { name, stat: paths::stat_of_metadata(&metadata) })
    });
    Ok(entries.collect())
}
