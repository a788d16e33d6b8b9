//! Tar streams between this computer and a guest.

mod pack;
mod unpack;

pub(crate) use pack::{Content, Pick, pack, pack_some};
pub(crate) use unpack::{Rename, unpack};

#[cfg(test)]
mod tests;
