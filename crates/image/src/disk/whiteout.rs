//! Names by which a layer takes away what the layers below it have.

use super::path::TreePath;

const PREFIX: &str = ".wh.";
/// Of what the first storage driver of Docker's kept for itself, and of one name that all use.
const OWN_PREFIX: &str = ".wh..wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// What an entry's name says beside being a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is an entry like any other.
    Entry,
    /// What is at this path goes.
    Hide(TreePath),
    /// What is in this directory goes.
    HideBelow(TreePath),
    /// It is of no concern to anyone.
    Nothing,
    /// It hides nothing that can be, or something would be below what hides.
    Wrong,
}

pub(super) fn said(path: &TreePath) -> Said {
    let Some((name, parents)) = path.names().split_last() else { return Said::Entry };
    let is_own = |name: &String| name.starts_with(OWN_PREFIX);
    if parents.iter().any(is_own) || (is_own(name) && name != OPAQUE) {
        return Said::Nothing;
    }
    if parents.iter().any(|parent| parent.starts_with(PREFIX)) {
        return Said::Wrong;
    }
    let below = |name: Option<&str>| {
        let names: Vec<_> = parents.iter().map(String::as_str).chain(name).collect();
        TreePath::from_names(&names)
    };
    match name.strip_prefix(PREFIX) {
        None => Said::Entry,
        Some(_) if name == OPAQUE => Said::HideBelow(below(None)),
        Some("" | "." | "..") => Said::Wrong,
        Some(hidden) => Said::Hide(below(Some(hidden))),
    }
}
