//! Owns the sandboxes: lifecycle, store, templates, limits, and the HTTP server in front of them.

pub mod agent;
pub mod command_log;
