//! Benchmarks: like beside like, in one run.

pub(crate) mod api;
pub(crate) mod egress;
pub(crate) mod fork;
pub(crate) mod image;
mod place;
pub(crate) mod start;
mod table;
