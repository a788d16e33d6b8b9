//! What a path leads to in a tree, through its symbolic links, as a program in it would find it.

use std::collections::VecDeque;
use std::io::Read;

use super::{Kind, NodeId, ROOT, Special, Tree};

/// As the kernel has it.
const LINKS_MAX: usize = 40;
/// Of a path with all links in it taken apart.
const NAMES_MAX: usize = 4096;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Directory,
    File { bytes: u64 },
    Special,
    Nothing,
}

impl Tree {
    pub(crate) fn look_up(&self, path: &str) -> Found {
        match self.resolve(path).map(|id| &self.node(id).kind) {
            Some(Kind::Directory(_)) => Found::Directory,
            Some(Kind::File(body)) => Found::File { bytes: body.len },
            Some(Kind::Special(_)) => Found::Special,
            None => Found::Nothing,
        }
    }

    /// The content of the regular file that `path` leads to.
    pub(crate) fn open(&self, path: &str) -> Option<impl Read + '_> {
        match &self.node(self.resolve(path)?).kind {
            Kind::File(body) => Some(self.content(*body)),
            Kind::Directory(_) | Kind::Special(_) => None,
        }
    }

    fn resolve(&self, path: &str) -> Option<NodeId> {
        let mut names: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let mut at = vec![ROOT];
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            let here = at.last().copied().unwrap_or(ROOT);
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => {}
            }
            let Kind::Directory(children) = &self.node(here).kind else { return None };
            let id = children.get(&name)?.id;
            let Kind::Special(Special::Symlink(target)) = &self.node(id).kind else {
                at.push(id);
                continue;
            };
            links += 1;
            if links > LINKS_MAX || names.len() > NAMES_MAX {
                return None;
            }
            if target.starts_with('/') {
                at.clear();
            }
            target.split('/').rev().for_each(|name| names.push_front(name.to_owned()));
        }
        Some(at.last().copied().unwrap_or(ROOT))
    }
}
