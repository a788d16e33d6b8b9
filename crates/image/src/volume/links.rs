//! Which files have several names.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Volume, VolumeError, damaged};

/// The names of each file that has more than one, by its number, in their order.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<u32, Vec<String>>);

impl Links {
    /// Looks at all that there is. What is found sound here is so when it is looked at again: no folder
    /// is in itself.
    pub(super) fn of(volume: &Volume) -> Result<Self, VolumeError> {
        volume.begin();
        let mut links: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        let root = volume.root()?;
        if root.kind != Kind::Directory {
            return Err(damaged("/", "its root is no folder"));
        }
        let mut entered = BTreeSet::from([root.ino]);
        let mut todo = vec![(String::new(), root)];
        while let Some((folder, node)) = todo.pop() {
            for (name, ino) in volume.children(&node, &folder)? {
                let path = super::below(&folder, &name);
                let node = volume.node(ino, &path)?;
                match node.kind {
                    Kind::Directory if !entered.insert(ino) => {
                        return Err(damaged(&path, "a folder with two names"));
                    }
                    Kind::Directory => todo.push((path, node)),
                    _ if node.inode.links_count > 1 => links.entry(ino).or_default().push(path),
                    Kind::File | Kind::Special(_) | Kind::Socket => {}
                }
            }
        }
        links.retain(|_, paths| paths.len() > 1);
        links.values_mut().for_each(|paths| paths.sort_unstable());
        volume.begin();
        Ok(Self(links))
    }

    /// All names of a file that has several.
    pub(super) fn names(&self, ino: u32) -> Option<&[String]> {
        self.0.get(&ino).map(Vec::as_slice)
    }
}
