//! Placeholder until the other branch is merged.
pub mod digest;
