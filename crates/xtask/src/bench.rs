//! Benchmarks: like beside like, in one run.

pub(crate) mod start;
mod table;
