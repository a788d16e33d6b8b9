//! Images in the form that registries and archives have them: from blobs on this machine to a disk.
//!
//! [`blob::Blobs`] holds what was fetched, under its digest. [`import`] puts an archive's blobs
//! there, [`convert`] makes a disk of a manifest whose blobs are all there, [`save`] writes them out
//! again. Nothing here speaks to a network, and no byte of a blob is trusted: sizes and counts are
//! bounded, digests are checked, and no layer touches the host's file system under a name of its own.

pub mod blob;
pub mod commit;
pub mod config;
pub mod convert;
pub mod descriptor;
pub mod digest;
pub mod import;
pub mod layer;
pub mod layered;
pub mod manifest;
pub mod media;
pub mod platform;
pub mod save;

#[cfg(test)]
mod tests;
