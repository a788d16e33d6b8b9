//! From a tar stream to a disk: [`tar`] reads it into a [`tree::Tree`], [`ext4`] writes the tree.
//!
//! The tree holds names and metadata in memory and file contents in one spool file, so that several
//! streams can be laid over one another before anything is written. No entry ever touches the
//! host's file system under its own name: a hostile stream has nowhere to escape to.

pub(crate) mod acl;
pub mod ext4;
pub(crate) mod neighbours;
pub mod path;
mod pax;
mod sink;
mod sparse;
mod spool;
pub mod tar;
pub mod tree;
mod whiteout;

#[cfg(test)]
pub(crate) mod tests;
