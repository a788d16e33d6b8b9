//! What a machine boots from: the kernel, the disk with its modules, the initramfs and the image.
//!
//! Everything here blocks: callers in async code use `spawn_blocking`. Everything built lands in a
//! [`cache::Cache`], whole or not at all, and is never changed afterwards. This crate knows nothing
//! of sandboxes and machines, and prints nothing: [`progress`] says what a long call is doing.

pub mod architecture;
pub mod cache;
pub mod catalog;
mod debian;
pub mod disk;
pub mod initramfs;
pub mod kernel;
pub mod oci;
mod program;
pub mod progress;
pub mod recipe;
pub mod reference;
pub mod registry;
pub mod volume;
