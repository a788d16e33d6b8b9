//! Layers of a tree, and what a layer takes away from those below it.

use super::super::path::TreePath;
use super::{Child, Kind, Layer, NodeId, Tree, TreeError};

impl Tree {
    /// What is put from now on is of a further layer, over all that is there.
    pub(in super::super) fn begin_layer(&mut self) -> Result<(), TreeError> {
        let limit = u64::from(u32::MAX);
        let next = self.layer.0.checked_add(1);
        self.layer = Layer(next.ok_or(TreeError::Limit { what: "layers", limit })?);
        Ok(())
    }

    /// Takes away what the layers below have at `path`, with all that is in it. What this layer has
    /// put there stays, whether it came before or comes after.
    pub(in super::super) fn hide(&mut self, path: &TreePath) -> Result<(), TreeError> {
        self.charge(0)?;
        let Some((name, parents)) = path.names().split_last() else { return Ok(()) };
        let Some(parent) = self.walk(parents) else { return Ok(()) };
        let Some(child) = self.child(parent, name) else { return Ok(()) };
        self.empty(child.id);
        if child.layer == self.layer {
            return Ok(());
        }
        if self.is_empty(child.id) {
            if let Some(children) = self.children(parent) {
                children.remove(name);
            }
        } else {
            self.make_implicit(parent, name);
        }
        Ok(())
    }

    /// Takes away what the layers below have in the directory at `path`.
    pub(in super::super) fn hide_below(&mut self, path: &TreePath) -> Result<(), TreeError> {
        self.charge(0)?;
        if let Some(id) = self.find(path) {
            self.empty(id);
        }
        Ok(())
    }

    /// The entry at `path` is of this layer now.
    pub(super) fn restamp(&mut self, path: &TreePath) {
        let layer = self.layer;
        if let Some((name, parents)) = path.names().split_last()
            && let Some(parent) = self.walk(parents)
            && let Some(child) = self.children(parent).and_then(|names| names.get_mut(name))
        {
            child.layer = layer;
        }
    }

    /// Leaves of what is in a directory only what is of this layer. Each directory is looked through
    /// at most once in a layer, however often it is said: afterwards it holds nothing of others.
    fn empty(&mut self, id: NodeId) {
        let mut found = vec![id];
        found.retain(|id| self.holds_others(*id));
        let mut next = 0;
        while let Some(directory) = found.get(next).copied() {
            next += 1;
            let below: Vec<_> = self.entries(directory).map(|(_, child)| child.id).collect();
            found.extend(below.into_iter().filter(|id| self.holds_others(*id)));
        }
        // Those further down come first, so that it is known of each which of its own are left.
        for directory in found.into_iter().rev() {
            self.nodes[directory.0].floor = self.layer;
            let entries = self.entries(directory);
            let others = entries.filter(|(_, child)| child.layer != self.layer);
            let names: Vec<_> = others.map(|(name, child)| (name.clone(), child.id)).collect();
            for (name, child) in names {
                if !self.is_empty(child) {
                    self.make_implicit(directory, &name);
                } else if let Some(children) = self.children(directory) {
                    children.remove(&name);
                }
            }
        }
    }

    /// A directory of a layer below that something of this layer is in: as if it were made for that.
    fn make_implicit(&mut self, parent: NodeId, name: &str) {
        let (meta, layer) = (self.implicit_meta(parent), self.layer);
        let Some(child) = self.children(parent).and_then(|children| children.get_mut(name)) else {
            return;
        };
        child.layer = layer;
        let id = child.id;
        self.nodes[id.0].meta = meta;
    }

    fn child(&self, parent: NodeId, name: &str) -> Option<Child> {
        match &self.node(parent).kind {
            Kind::Directory(children) => children.get(name).copied(),
            Kind::File(_) | Kind::Special(_) => None,
        }
    }

    /// Whether it is a directory that may hold something of a layer below.
    fn holds_others(&self, id: NodeId) -> bool {
        let node = self.node(id);
        matches!(node.kind, Kind::Directory(_)) && node.floor < self.layer
    }

    /// Whether nothing is in it, as nothing is in what is no directory.
    fn is_empty(&self, id: NodeId) -> bool {
        self.entries(id).next().is_none()
    }
}

#[cfg(test)]
mod tests;
